//! Selecting series: posting lists and activity, intersected.

use roaring::RoaringBitmap;

use super::{Index, id_set};
use crate::error::Error;
use crate::key::{self, Family, Key, PostingKind};
use crate::model::{DimensionMatcher, Selector, SeriesId, TenantId, ValueMatcher};

impl Index {
    /// The series that satisfy metric and dimensions of `selector`, whenever they had samples.
    pub(crate) fn select(
        &self,
        tenant: TenantId,
        selector: &Selector,
    ) -> Result<RoaringBitmap, Error> {
        let mut found: Option<RoaringBitmap> = None;
        if let Some(metric) = &selector.metric {
            found = Some(self.posting(tenant, PostingKind::Metric, "", metric)?);
        }
        // Conditions with the fewest values first: they are the cheapest to read.
        let mut matchers: Vec<&DimensionMatcher> = selector.dimensions.iter().collect();
        matchers.sort_by_key(|matcher| match &matcher.value {
            ValueMatcher::Equals(_) => 1,
            ValueMatcher::OneOf(values) => values.len(),
            ValueMatcher::Present => usize::MAX,
        });
        for matcher in matchers {
            if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                break;
            }
            let ids = self.matching(tenant, matcher)?;
            found = Some(match found {
                Some(found) => found & ids,
                None => ids,
            });
        }
        Ok(found.unwrap_or_else(|| self.all_series(tenant)))
    }

    fn all_series(&self, tenant: TenantId) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        if let Some(tenant) = self.tenant_by_id(tenant) {
            let metrics = tenant.metrics.read().expect("no code panics while it holds metrics");
            all.insert_range(0..metrics.series_count());
        }
        all
    }

    fn matching(
        &self,
        tenant: TenantId,
        matcher: &DimensionMatcher,
    ) -> Result<RoaringBitmap, Error> {
        let name = &matcher.name;
        match &matcher.value {
            ValueMatcher::Equals(value) => {
                self.posting(tenant, PostingKind::Dimension, name, value)
            }
            ValueMatcher::OneOf(values) => {
                let mut ids = RoaringBitmap::new();
                for value in values {
                    ids |= self.posting(tenant, PostingKind::Dimension, name, value)?;
                }
                Ok(ids)
            }
            ValueMatcher::Present => {
                let mut ids = RoaringBitmap::new();
                self.each_value(tenant, name, None, |_, value| {
                    ids |= id_set::decode(value)?;
                    Ok(true)
                })?;
                Ok(ids)
            }
        }
    }

    /// Calls `each` with the values of a dimension that are greater than `after`, ascending, and
    /// their stored posting lists, until it answers `false`.
    fn each_value(
        &self,
        tenant: TenantId,
        name: &str,
        after: Option<&str>,
        mut each: impl FnMut(&str, &[u8]) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let prefix = key::posting_prefix(tenant, PostingKind::Dimension, Some(name));
        let mut from = prefix.clone();
        if let Some(after) = after {
            from.extend_from_slice(after.as_bytes());
            from.push(0);
        }
        self.kv.scan(Family::Posting, &prefix, &from, |key, value| {
            let text = key.get(prefix.len()..).and_then(|bytes| std::str::from_utf8(bytes).ok());
            each(text.ok_or_else(|| Error::corrupt("key", "posting"))?, value)
        })
    }

    /// Series with samples, as the index knows it, on the days from `first` to `last`, both inside.
    pub(crate) fn active(
        &self,
        tenant: TenantId,
        first: i32,
        last: i32,
    ) -> Result<RoaringBitmap, Error> {
        let mut ids = RoaringBitmap::new();
        if first > last {
            return Ok(ids);
        }
        let prefix = tenant.number().to_be_bytes();
        let end = Key::Activity(tenant, last).encode();
        self.kv.scan(
            Family::Activity,
            &prefix,
            &Key::Activity(tenant, first).encode(),
            |key, value| {
                let inside = key <= end.as_slice();
                if inside {
                    ids |= id_set::decode(value)?;
                }
                Ok::<_, Error>(inside)
            },
        )?;
        Ok(ids)
    }

    /// Names of the metrics of `within` (of all series, if `None`), greater than `after`, ascending.
    pub(crate) fn metric_names(
        &self,
        tenant: TenantId,
        within: Option<&RoaringBitmap>,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<String> {
        let Some(tenant) = self.tenant_by_id(tenant) else { return Vec::new() };
        let metrics = tenant.metrics.read().expect("no code panics while it holds metrics");
        let mut names: Vec<&str> = match within {
            None => metrics.names.iter().map(|name| &**name).collect(),
            Some(ids) => {
                let numbers: RoaringBitmap =
                    ids.iter().map(|id| metrics.of(SeriesId::new(id)).number()).collect();
                let name = |number| metrics.name(crate::model::MetricNo::new(number));
                numbers.iter().filter_map(name).map(|name| &**name).collect()
            }
        };
        names.retain(|name| after.is_none_or(|after| *name > after));
        names.sort_unstable();
        names.into_iter().take(limit).map(str::to_owned).collect()
    }

    /// Names of the dimensions of `within` (of all series, if `None`), greater than `after`.
    pub(crate) fn dimension_names(
        &self,
        tenant: TenantId,
        within: Option<&RoaringBitmap>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let prefix = key::posting_prefix(tenant, PostingKind::Dimension, None);
        let past = |name: &str| {
            // The texts of a key end with two zero bytes, so this is after every value of `name`.
            let mut key = key::posting_prefix(tenant, PostingKind::Dimension, Some(name));
            key.pop();
            key.push(1);
            key
        };
        let mut cursor = self.kv.cursor(Family::Posting, &after.map_or(prefix.clone(), past));
        let mut names = Vec::new();
        while names.len() < limit {
            let Some((key, _)) = cursor.entry()? else { break };
            if !key.starts_with(&prefix) {
                break;
            }
            let (name, _) =
                key::decode_posting(key).ok_or_else(|| Error::corrupt("key", "posting"))?;
            cursor.seek(&past(&name));
            let carried = match within {
                None => true,
                Some(ids) => self.carries(tenant, &name, ids)?,
            };
            if carried {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn carries(&self, tenant: TenantId, name: &str, ids: &RoaringBitmap) -> Result<bool, Error> {
        let mut found = false;
        self.each_value(tenant, name, None, |_, value| {
            found = !id_set::decode(value)?.is_disjoint(ids);
            Ok(!found)
        })?;
        Ok(found)
    }

    /// Values of a dimension that series of `within` (any, if `None`) carry, greater than `after`.
    pub(crate) fn dimension_values(
        &self,
        tenant: TenantId,
        name: &str,
        within: Option<&RoaringBitmap>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let mut values = Vec::new();
        self.each_value(tenant, name, after, |text, stored| {
            if values.len() >= limit {
                return Ok(false);
            }
            let carried = match within {
                None => true,
                Some(ids) => !id_set::decode(stored)?.is_disjoint(ids),
            };
            if carried {
                values.push(text.to_owned());
            }
            Ok(true)
        })?;
        Ok(values)
    }
}

//! Metric names, dimension names and dimension values, of all series or of some.

use super::{Index, id_set};
use crate::error::Error;
use crate::key::{self, Family, PostingKind};
use crate::model::{SeriesId, SeriesKey, TenantId};
use roaring::RoaringBitmap;

/// Of so few series the definitions are read, instead of the lists of all values.
const SERIES_READ_MAX: u64 = 4096;
/// Names or values whose lists are compared with a selection in one go.
const TEXTS_AT_ONCE: usize = 256;

/// The series that names and values are asked for.
pub(crate) trait Within {
    /// Whether any of `ids` is among them.
    fn any_of(&mut self, ids: &RoaringBitmap) -> Result<bool, Error>;

    /// Finds out in one go what is needed to answer [`any_of`](Self::any_of) for most of `sets`.
    fn prepare(&mut self, sets: &[RoaringBitmap]) -> Result<(), Error>;

    /// At most how many they are.
    fn len_at_most(&self) -> u64;

    /// All of them.
    fn all(&mut self) -> Result<RoaringBitmap, Error>;
}

impl Index {
    /// Names of the metrics of `within` (of all series, if `None`), greater than `after`, ascending.
    pub(crate) fn metric_names(
        &self,
        tenant: TenantId,
        within: Option<&mut dyn Within>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let mut names = self.metrics_of(tenant);
        names.retain(|name| after.is_none_or(|after| &**name > after));
        let names = names.into_iter();
        let Some(within) = within else { return Ok(names.take(limit).collect()) };
        let mut found = Vec::new();
        for name in names {
            if found.len() >= limit {
                break;
            }
            if within.any_of(&self.posting(tenant, PostingKind::Metric, "", &name)?)? {
                found.push(name);
            }
        }
        Ok(found)
    }

    /// The names of all metrics that have series, ascending.
    pub(crate) fn metrics_of(&self, tenant: TenantId) -> Vec<String> {
        let Some(tenant) = self.tenant_by_id(tenant) else { return Vec::new() };
        let metrics = tenant.metrics.read().expect("no code panics while it holds metrics");
        let mut names: Vec<String> =
            metrics.with_series().map(|(name, _)| str::to_owned(name)).collect();
        drop(metrics);
        names.sort_unstable();
        names
    }

    /// Names of the dimensions of `within` (of all series, if `None`), greater than `after`.
    pub(crate) fn dimension_names(
        &self,
        tenant: TenantId,
        within: Option<&mut dyn Within>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        self.texts((tenant, PostingKind::Name, ""), within, after, limit)
    }

    /// Values of a dimension that series of `within` (any, if `None`) carry, greater than `after`.
    pub(crate) fn dimension_values(
        &self,
        tenant: TenantId,
        name: &str,
        within: Option<&mut dyn Within>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let list = (tenant, PostingKind::Dimension, name);
        let Some(within) = within else { return self.texts(list, None, after, limit) };
        let carriers = self.posting(tenant, PostingKind::Name, "", name)?;
        if !within.any_of(&carriers)? {
            return Ok(Vec::new());
        }
        if within.len_at_most() > SERIES_READ_MAX {
            return self.texts(list, Some(within), after, limit);
        }
        let mut values = Vec::new();
        self.each_key(tenant, &(within.all()? & carriers), |_, key| {
            values.extend(key.dimensions.get(name).map(str::to_owned));
            true
        })?;
        values.retain(|value| after.is_none_or(|after| value.as_str() > after));
        values.sort_unstable();
        values.dedup();
        values.truncate(limit);
        Ok(values)
    }

    fn texts(
        &self,
        list: (TenantId, PostingKind, &str),
        within: Option<&mut dyn Within>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let mut texts = Vec::new();
        let Some(within) = within else {
            self.each_text(list, "", after, |text, _| {
                let more = texts.len() < limit;
                if more {
                    texts.push(text.to_owned());
                }
                Ok(more)
            })?;
            return Ok(texts);
        };
        let mut waiting: Vec<(String, RoaringBitmap)> = Vec::new();
        self.each_text(list, "", after, |text, stored| {
            waiting.push((text.to_owned(), id_set::decode(stored)?));
            if waiting.len() >= TEXTS_AT_ONCE {
                take_carried(&mut waiting, within, limit, &mut texts)?;
            }
            Ok(texts.len() < limit)
        })?;
        take_carried(&mut waiting, within, limit, &mut texts)?;
        Ok(texts)
    }

    /// Calls `each` with the texts of a kind (and name) of posting lists that begin with `prefix` and
    /// are greater than `after`, ascending, and their stored lists, until it answers `false`.
    pub(crate) fn each_text(
        &self,
        (tenant, kind, name): (TenantId, PostingKind, &str),
        prefix: &str,
        after: Option<&str>,
        mut each: impl FnMut(&str, &[u8]) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let list = key::posting_prefix(tenant, kind, Some(name));
        let mut begin = list.clone();
        begin.extend_from_slice(prefix.as_bytes());
        let mut from = list.clone();
        match after {
            Some(after) => {
                from.extend_from_slice(after.as_bytes());
                from.push(0);
            }
            None => from.clone_from(&begin),
        }
        if from < begin {
            from.clone_from(&begin);
        }
        self.kv.scan(Family::Posting, &begin, &from, |key, stored| {
            let text = key.get(list.len()..).and_then(|bytes| std::str::from_utf8(bytes).ok());
            each(text.ok_or_else(|| Error::corrupt("key", "posting"))?, stored)
        })
    }

    /// Calls `each` with what identifies each of the series, ascending, until it answers `false`.
    /// Ids without a series are passed over.
    pub(crate) fn each_key(
        &self,
        tenant: TenantId,
        ids: &RoaringBitmap,
        mut each: impl FnMut(SeriesId, SeriesKey) -> bool,
    ) -> Result<(), Error> {
        const AT_ONCE: usize = 512;
        let mut ids = ids.iter().map(SeriesId::new);
        loop {
            let some: Vec<SeriesId> = ids.by_ref().take(AT_ONCE).collect();
            if some.is_empty() {
                return Ok(());
            }
            for (&id, canonical) in some.iter().zip(self.canonicals(tenant, &some)?) {
                if let Some(canonical) = canonical
                    && !each(id, SeriesKey::decode(&canonical)?)
                {
                    return Ok(());
                }
            }
        }
    }
}

/// Moves the texts that some of the series carry to `texts`, until those are `limit`.
fn take_carried(
    waiting: &mut Vec<(String, RoaringBitmap)>,
    within: &mut dyn Within,
    limit: usize,
    texts: &mut Vec<String>,
) -> Result<(), Error> {
    let (names, sets): (Vec<String>, Vec<RoaringBitmap>) = waiting.drain(..).unzip();
    within.prepare(&sets)?;
    for (name, set) in names.into_iter().zip(sets) {
        if texts.len() >= limit {
            break;
        }
        if within.any_of(&set)? {
            texts.push(name);
        }
    }
    Ok(())
}

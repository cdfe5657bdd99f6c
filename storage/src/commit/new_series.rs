//! Ids for the new series of a joint batch. They become real only when the batch is durable; a
//! failed batch forgets them.

use foldhash::HashMap;

use crate::error::Error;
use crate::index::{self, Index};
use crate::key::{Key, PostingKind};
use crate::kv::Batch;
use crate::model::{MetricNo, SeriesId, TenantId};
use crate::write::{UnknownSeries, WriteRequest};

#[derive(Default)]
pub(crate) struct NewSeries {
    tenants: HashMap<TenantId, Additions>,
}

#[derive(Default)]
struct Additions {
    first_series: u32,
    /// How often series of the tenant have been removed.
    removals: u64,
    next_series: u32,
    next_metric: u32,
    /// The hour to which the new series count, if they are the first ones of it.
    first_of_hour: Option<i32>,
    metrics: HashMap<String, MetricNo>,
    metric_order: Vec<String>,
    by_hash: HashMap<u128, SameHash>,
    /// In order of their ids.
    series: Vec<MetricNo>,
    /// New ids by the encoded key of their posting list.
    postings: HashMap<Vec<u8>, Vec<u32>>,
    /// Where posting keys are put together.
    posting_key: Vec<u8>,
}

/// Series whose canonical keys have one hash; nearly always a single one.
struct SameHash {
    /// All of them, those of the index first.
    ids: Vec<SeriesId>,
    /// Those that are new, with their canonical keys.
    new: Vec<(SeriesId, Vec<u8>)>,
}

/// What is known of a series that a request did not know.
pub(crate) enum Place {
    /// It has an id.
    Known(SeriesId),
    /// It has none; these are the series of the index that have the same hash.
    New(Vec<SeriesId>),
}

impl NewSeries {
    /// The ids of a request's unknown series: known to the index by now, new in an earlier request
    /// of this batch, or new here. `check` may refuse the request when it is known which.
    pub(crate) fn resolve(
        &mut self,
        index: &Index,
        request: &mut WriteRequest,
        batch: &mut Batch,
        check: impl FnOnce(&WriteRequest, &[Place]) -> Result<(), Error>,
    ) -> Result<Vec<SeriesId>, Error> {
        if request.unknown.is_empty() {
            return check(request, &[]).map(|()| Vec::new());
        }
        let tenant = request.tenant;
        let additions = match self.tenants.entry(tenant) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(Additions::begin(index, tenant)?)
            }
        };
        let mut found = Vec::with_capacity(request.unknown.len());
        for unknown in &request.unknown {
            found.push(additions.look_up(index, request, unknown)?);
        }
        let new = found.iter().filter(|place| matches!(place, Place::New(_))).count();
        // The greatest number marks rows without an id, so it is never one.
        let room = u64::from(u32::MAX - 1).saturating_sub(u64::from(additions.next_series));
        if u64::try_from(new).is_ok_and(|new| new > room) {
            return Err(Error::Limit { limit: "series of a tenant", max: u64::from(u32::MAX - 1) });
        }
        check(request, &found)?;
        // Nothing fails from here on: ids are dense, so one that was given and then not used would
        // shift all that follow.
        let each = request.unknown.iter_mut().zip(found);
        let ids = each.map(|(unknown, place)| match place {
            Place::Known(id) => id,
            Place::New(same) => additions.create(index, tenant, unknown, same, batch),
        });
        Ok(ids.collect())
    }

    /// Adds the collected posting lists and hash lists to the batch. `hour` is when the series are
    /// created.
    pub(crate) fn finish(&mut self, index: &Index, hour: i32, batch: &mut Batch) {
        for (&tenant, additions) in &mut self.tenants {
            additions.begin_hour(index, tenant, hour, batch);
            for (key, ids) in additions.postings.drain() {
                batch.add_to_posting(key, &ids);
            }
            for (&hash, same) in &additions.by_hash {
                if !same.new.is_empty() {
                    batch.put(&Key::SeriesHash(tenant, hash), index::id_list(&same.ids));
                }
            }
        }
    }

    /// Makes the new ids known. Called when the batch is durable.
    pub(crate) fn apply(&self, index: &Index) -> Vec<(TenantId, SeriesId)> {
        let mut created = Vec::new();
        for (&id, additions) in &self.tenants {
            let Some(tenant) = index.tenant_by_id(id) else { continue };
            let mut metrics =
                tenant.metrics.write().expect("no code panics while it holds metrics");
            if let Some(hour) = additions.first_of_hour {
                metrics.begin_hour(hour, additions.first_series);
            }
            for name in &additions.metric_order {
                metrics.add_metric(name);
            }
            for &metric in &additions.series {
                created.push((id, SeriesId::new(metrics.series_count())));
                metrics.add_series(metric);
            }
        }
        created
    }
}

impl Additions {
    fn begin(index: &Index, tenant: TenantId) -> Result<Self, Error> {
        let tenant = index
            .tenant_by_id(tenant)
            .ok_or_else(|| Error::Invalid(format!("there is no tenant {tenant}")))?;
        let metrics = tenant.metrics.read().expect("no code panics while it holds metrics");
        Ok(Additions {
            first_series: metrics.series_count(),
            removals: tenant.removals(),
            next_series: metrics.series_count(),
            next_metric: metrics.metric_count(),
            ..Additions::default()
        })
    }

    fn begin_hour(&mut self, index: &Index, tenant: TenantId, hour: i32, batch: &mut Batch) {
        let Some(known) = index.tenant_by_id(tenant).filter(|_| !self.series.is_empty()) else {
            return;
        };
        let metrics = known.metrics.read().expect("no code panics while it holds metrics");
        let (hour, is_first) = metrics.hour_of_creation(hour);
        if is_first {
            self.first_of_hour = Some(hour);
            let before = index::series_count(self.first_series);
            batch.put(&Key::SeriesHour(tenant, hour), before);
            for old in metrics.hours_before(hour) {
                batch.delete(&Key::SeriesHour(tenant, old));
            }
        }
    }

    fn look_up(
        &self,
        index: &Index,
        request: &WriteRequest,
        unknown: &UnknownSeries,
    ) -> Result<Place, Error> {
        if let Some(same) = self.by_hash.get(&unknown.hash) {
            let new = same.new.iter().find(|(_, canonical)| *canonical == unknown.canonical);
            if let Some((id, _)) = new {
                return Ok(Place::Known(*id));
            }
        }
        // Nothing has been created or removed since the request looked for it.
        if request.series_seen == self.first_series && request.removals == self.removals {
            return Ok(Place::New(unknown.same_hash.clone()));
        }
        let tenant = request.tenant;
        let ids = index.ids_with_hash(tenant, unknown.hash)?;
        let known = index.find_among(tenant, &ids, &unknown.canonical)?;
        Ok(known.map_or(Place::New(ids), Place::Known))
    }

    /// Gives a series an id, and takes its canonical key. `same` are those of the index that have the
    /// same hash.
    fn create(
        &mut self,
        index: &Index,
        tenant: TenantId,
        unknown: &mut UnknownSeries,
        same: Vec<SeriesId>,
        batch: &mut Batch,
    ) -> SeriesId {
        let id = SeriesId::new(self.next_series);
        self.next_series += 1;
        let key = &unknown.key;
        let metric = self.metric(index, tenant, &key.metric, batch);
        batch.put(&Key::Series(tenant, id), index::definition(metric, &unknown.canonical));
        self.post(&Key::Posting(tenant, PostingKind::Metric, "", &key.metric), id);
        for (name, value) in key.dimensions.iter() {
            self.post(&Key::Posting(tenant, PostingKind::Dimension, name, value), id);
            self.post(&Key::Posting(tenant, PostingKind::Name, "", name), id);
        }
        let same = self
            .by_hash
            .entry(unknown.hash)
            .or_insert_with(|| SameHash { ids: same, new: Vec::new() });
        same.ids.push(id);
        same.new.push((id, std::mem::take(&mut unknown.canonical)));
        self.series.push(metric);
        id
    }

    fn post(&mut self, key: &Key<'_>, id: SeriesId) {
        self.posting_key.clear();
        key.encode_to(&mut self.posting_key);
        match self.postings.get_mut(self.posting_key.as_slice()) {
            Some(ids) => ids.push(id.number()),
            None => {
                self.postings.insert(self.posting_key.clone(), vec![id.number()]);
            }
        }
    }

    fn metric(
        &mut self,
        index: &Index,
        tenant: TenantId,
        name: &str,
        batch: &mut Batch,
    ) -> MetricNo {
        if let Some(&metric) = self.metrics.get(name) {
            return metric;
        }
        let known = index.tenant_by_id(tenant).and_then(|tenant| {
            tenant.metrics.read().expect("no code panics while it holds metrics").number(name)
        });
        let metric = known.unwrap_or_else(|| {
            let metric = MetricNo::new(self.next_metric);
            self.next_metric += 1;
            self.metric_order.push(name.to_owned());
            batch.put(&Key::Metric(tenant, metric), index::versioned(name.as_bytes()));
            metric
        });
        self.metrics.insert(name.to_owned(), metric);
        metric
    }
}

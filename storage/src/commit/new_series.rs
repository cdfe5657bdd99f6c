//! Ids for the new series of a joint batch. They become real only when the batch is durable; a
//! failed batch forgets them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

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
    next_series: u32,
    next_metric: u32,
    metrics: BTreeMap<String, MetricNo>,
    metric_order: Vec<String>,
    by_canonical: HashMap<Vec<u8>, SeriesId>,
    /// In order of their ids.
    series: Vec<MetricNo>,
    by_hash: HashMap<u128, Vec<SeriesId>>,
    postings: BTreeMap<(bool, String, String), Vec<u32>>,
}

impl NewSeries {
    /// The ids of a request's unknown series: known to the index by now, new in an earlier request
    /// of this batch, or new here.
    pub(crate) fn resolve(
        &mut self,
        index: &Index,
        request: &WriteRequest,
        batch: &mut Batch,
    ) -> Result<Vec<SeriesId>, Error> {
        if request.unknown.is_empty() {
            return Ok(Vec::new());
        }
        let additions = match self.tenants.entry(request.tenant) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Additions::begin(index, request.tenant)?),
        };
        request
            .unknown
            .iter()
            .map(|unknown| additions.resolve(index, request.tenant, unknown, batch))
            .collect()
    }

    /// Adds the collected posting lists and hash lists to the batch.
    pub(crate) fn finish(&self, batch: &mut Batch) {
        for (&tenant, additions) in &self.tenants {
            for ((is_metric, name, value), ids) in &additions.postings {
                let kind = if *is_metric { PostingKind::Metric } else { PostingKind::Dimension };
                batch.add_ids(&Key::Posting(tenant, kind, name, value), ids);
            }
            for (&hash, ids) in &additions.by_hash {
                batch.put(&Key::SeriesHash(tenant, hash), index::id_list(ids));
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
            next_series: metrics.series_count(),
            next_metric: metrics.metric_count(),
            ..Additions::default()
        })
    }

    fn resolve(
        &mut self,
        index: &Index,
        tenant: TenantId,
        unknown: &UnknownSeries,
        batch: &mut Batch,
    ) -> Result<SeriesId, Error> {
        if let Some(&id) = self.by_canonical.get(&unknown.canonical) {
            return Ok(id);
        }
        if let Some(id) = index.find(tenant, &unknown.canonical, unknown.hash)? {
            return Ok(id);
        }
        // The greatest number marks rows without an id, so it is never one.
        if self.next_series >= u32::MAX - 1 {
            return Err(Error::Limit { limit: "series of a tenant", max: u64::from(u32::MAX - 1) });
        }
        // Everything that can fail comes before anything is changed: ids are dense, so one that was
        // given and then not used would shift all that follow.
        if let Entry::Vacant(entry) = self.by_hash.entry(unknown.hash) {
            entry.insert(index.ids_with_hash(tenant, unknown.hash)?);
        }
        let id = SeriesId::new(self.next_series);
        self.next_series += 1;
        let key = &unknown.key;
        let metric = self.metric(index, tenant, &key.metric, batch);
        batch.put(&Key::Series(tenant, id), index::definition(metric, &unknown.canonical));
        self.by_hash.entry(unknown.hash).or_default().push(id);
        let mut post = |is_metric, name: &str, value: &str| {
            let key = (is_metric, name.to_owned(), value.to_owned());
            self.postings.entry(key).or_default().push(id.number());
        };
        post(true, "", &key.metric);
        for (name, value) in key.dimensions.iter() {
            post(false, name, value);
        }
        self.by_canonical.insert(unknown.canonical.clone(), id);
        self.series.push(metric);
        Ok(id)
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

//! What operators do with retention: read it, change it, see beforehand what a change would remove.

use std::collections::{BTreeMap, BTreeSet};

use roaring::RoaringBitmap;

use super::{Policies, Policy, RollupStep, generation};
use crate::census::{self, Stretch};
use crate::error::Error;
use crate::model::{Keep, MetricNo, TenantId, TimeRange, Timestamp};
use crate::output::metric_lookup;
use crate::rollup;
use crate::store::Store;
use crate::sweep::{Order, Swept};

/// What policies say about one metric that is there, and what they would remove of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricRetention {
    /// Name of the tenant.
    pub tenant: String,
    /// Name of the metric.
    pub metric: String,
    /// How long its samples are kept.
    pub keep: Keep,
    /// The policy that says so; `None`: no policy is about it.
    pub policy: Option<Policy>,
    /// Series that would lose samples.
    pub series: u64,
    /// Samples that would go and are seen today.
    pub samples: u64,
    /// Bytes of segments that they take, about.
    pub bytes: u64,
    /// Days of its rollups, each step for itself, that would go and of which samples have gone.
    pub rollup_days: u64,
}

/// What policies would remove at this moment, beyond what is hidden already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionPlan {
    /// Metrics that would lose samples or rollups, by tenant and name.
    pub metrics: Vec<MetricRetention>,
}

/// Losses of a metric.
#[derive(Default)]
struct Loss {
    series: RoaringBitmap,
    samples: u64,
    bytes: u64,
    /// Tier and day.
    rollups: BTreeSet<rollup::Home>,
}

impl Store {
    /// The policies in force.
    #[must_use]
    pub fn retention(&self) -> Policies {
        self.shared().retention.rules().policies().clone()
    }

    /// Replaces all policies. In force at once: what they do not keep is no longer seen, for good; its
    /// space comes back in the background.
    ///
    /// # Errors
    /// `Stopped` if the store can no longer write; the old policies then stay.
    pub fn set_retention(&self, policies: Policies) -> Result<(), Error> {
        let shared = self.shared();
        if let Some(reason) = shared.stopped() {
            return Err(Error::Stopped { reason });
        }
        let now = shared.clock.now();
        let number = policies.as_slice().len();
        shared
            .retention
            .set(policies, &shared.index, &shared.kv, now, |rules| {
                rollup::pending(shared, rules, now)
            })
            .inspect_err(|error| shared.stop(error))?;
        tracing::info!(policies = number, "retention policies were replaced");
        shared.sweeper.nudge();
        Ok(())
    }

    /// Removes what has expired or was deleted, now. Believes the clock, also after a leap: the sweeper
    /// by itself waits for an hour then.
    ///
    /// # Errors
    /// `Stopped` or an I/O error if files cannot be written. What should be gone stays hidden.
    pub fn sweep(&self) -> Result<Swept, Error> {
        self.shared().sweeper.ask(Order::Sweep)
    }

    /// What `policies` would remove now of what is seen today.
    ///
    /// # Errors
    /// `Corrupt` names the file and offset.
    pub fn plan_retention(&self, policies: &Policies) -> Result<RetentionPlan, Error> {
        let shared = self.shared();
        let now = shared.retention.hidden_by(shared.clock.now()).millis();
        let metric_of = metric_lookup(&shared.index);
        let mut seen: BTreeMap<(TenantId, MetricNo), Option<TimeRange>> = BTreeMap::new();
        let mut losses: BTreeMap<(TenantId, MetricNo), Loss> = BTreeMap::new();
        let mut would_go = |stretch: &Stretch<'_>| -> Result<u64, Error> {
            let metric = (stretch.place.tenant, stretch.place.metric);
            let range =
                *seen.entry(metric).or_insert_with(|| self.newly_hidden(metric, policies, now));
            let Some(range) = range else { return Ok(0) };
            let rows = stretch.rows_in(range)?;
            if rows > 0 {
                let loss = losses.entry(metric).or_default();
                loss.samples += rows;
                loss.series.insert(stretch.place.series.number());
            }
            Ok(rows)
        };
        let moment = shared.live.moment();
        census::of_head(&moment, &metric_of, |stretch| would_go(stretch).map(|_| ()))?;
        let mut bytes: Vec<((TenantId, MetricNo), u64)> = Vec::new();
        for segment in moment.segments.iter() {
            let mut here: BTreeMap<(TenantId, MetricNo), u64> = BTreeMap::new();
            census::of_segment(segment, census::Scope::ALL, &metric_of, |stretch| {
                let rows = would_go(stretch)?;
                *here.entry((stretch.place.tenant, stretch.place.metric)).or_default() += rows;
                Ok(())
            })?;
            bytes.extend(
                here.into_iter().map(|(metric, rows)| (metric, census::share(segment, rows))),
            );
        }
        for (metric, bytes) in bytes {
            if let Some(loss) = losses.get_mut(&metric) {
                loss.bytes += bytes;
            }
        }
        self.rollups_that_would_go(policies, now, |metric, home| {
            losses.entry(metric).or_default().rollups.insert(home);
        })?;
        let metrics = losses.into_iter().filter_map(|((tenant, metric), loss)| {
            let (tenant, metric) = self.names(tenant, metric)?;
            let policy = policies.of(&tenant, &metric).cloned();
            Some(MetricRetention {
                keep: policy.as_ref().map_or(Keep::Forever, |policy| policy.raw),
                policy,
                tenant,
                metric,
                series: loss.series.len(),
                samples: loss.samples,
                bytes: loss.bytes,
                rollup_days: u64::try_from(loss.rollups.len()).unwrap_or(u64::MAX),
            })
        });
        let mut metrics: Vec<MetricRetention> = metrics.collect();
        metrics.sort_by(|a, b| (&a.tenant, &a.metric).cmp(&(&b.tenant, &b.metric)));
        Ok(RetentionPlan { metrics })
    }

    /// Calls `each` with metrics and days of rollups that are seen today and would not be by `policies`,
    /// and that cannot be made again.
    fn rollups_that_would_go(
        &self,
        policies: &Policies,
        now: i64,
        mut each: impl FnMut((TenantId, MetricNo), rollup::Home),
    ) -> Result<(), Error> {
        // Rollups are read only if the change is about them.
        if generation(policies) == self.shared().retention.rules().generation() {
            return Ok(());
        }
        let moment = self.shared().live.moment();
        let metric_of = metric_lookup(&self.shared().index);
        let mut lost: BTreeMap<((TenantId, MetricNo), RollupStep), Option<TimeRange>> =
            BTreeMap::new();
        for segment in moment.rollups.iter() {
            let home = (segment.address.tier, segment.address.partition);
            let Some(step) = RollupStep::of_tier(home.0) else { continue };
            let day = rollup::span_of(home.1);
            census::of_segment(segment, census::Scope::ALL, &metric_of, |stretch| {
                let metric = (stretch.place.tenant, stretch.place.metric);
                let span = *lost
                    .entry((metric, step))
                    .or_insert_with(|| self.rollups_newly_hidden(metric, step, policies, now));
                if span.is_some_and(|span| day.start < span.end && span.start < day.end) {
                    each(metric, home);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The span of a metric's rollup that is seen today, would not be by `policies`, and has no samples.
    fn rollups_newly_hidden(
        &self,
        (tenant, metric): (TenantId, MetricNo),
        step: RollupStep,
        policies: &Policies,
        now: i64,
    ) -> Option<TimeRange> {
        let shared = self.shared();
        let today =
            shared.retention.rules().floors(tenant, &shared.index, Timestamp::from_millis(now))?;
        let from = today.of_rollup(metric, step)?;
        let (tenant, name) = self.names(tenant, metric)?;
        let keep = policies.of(&tenant, &name).and_then(|policy| policy.rollup(step));
        let floor = match keep {
            None => i64::MAX,
            Some(i64::MAX) => i64::MIN,
            Some(keep) => now.saturating_sub(keep),
        };
        let upto = floor.min(today.of(metric));
        (from < upto)
            .then(|| TimeRange::new(Timestamp::from_millis(from), Timestamp::from_millis(upto)))
    }

    /// The span of a metric that is seen today and would not be by `policies`.
    fn newly_hidden(
        &self,
        (tenant, metric): (TenantId, MetricNo),
        policies: &Policies,
        now: i64,
    ) -> Option<TimeRange> {
        let shared = self.shared();
        let today =
            shared.retention.rules().floors(tenant, &shared.index, Timestamp::from_millis(now))?;
        let (tenant, name) = self.names(tenant, metric)?;
        let keep = policies.of(&tenant, &name).map_or(i64::MAX, |policy| policy.raw.millis());
        let floor = if keep == i64::MAX { i64::MIN } else { now.saturating_sub(keep) };
        let from = today.of(metric);
        (from < floor)
            .then(|| TimeRange::new(Timestamp::from_millis(from), Timestamp::from_millis(floor)))
    }

    fn names(&self, tenant: TenantId, metric: MetricNo) -> Option<(String, String)> {
        let tenant = self.shared().index.tenant_by_id(tenant)?;
        let metrics = tenant.metrics.read().expect("no code panics while it holds metrics");
        Some((tenant.name.to_string(), metrics.name(metric)?.to_string()))
    }
}

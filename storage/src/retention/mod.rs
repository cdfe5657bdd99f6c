//! Retention: until when samples may be seen, by tenant and metric.
//!
//! A *floor* is the instant before which samples of a metric have expired: now less what its policy
//! keeps. Reads hide what lies before it, at once; flushes and merges leave it out, and
//! [`sweep`](crate::sweep) removes files. What has expired stays expired: when policies change, the
//! floors so far are stored, so that a longer policy never brings back a part of what is already
//! half removed.

mod check;
mod plan;
mod policy;
mod stored;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, RwLock};

pub(crate) use check::{are_floors, are_policies};
pub use plan::{MetricRetention, RetentionPlan};
pub use policy::{MetricPattern, POLICIES_MAX, Policies, Policy};

use crate::error::Error;
use crate::index::Index;
use crate::key::{self, Family, Key};
use crate::kv::{Batch, Kv, Sync};
use crate::model::{MetricNo, TenantId, Timestamp};

/// The policies in force and the floors of earlier ones.
pub(crate) struct Retention {
    rules: RwLock<Arc<Rules>>,
    /// Held while policies change.
    changing: Mutex<()>,
}

/// What holds until policies change.
#[derive(Default)]
pub(crate) struct Rules {
    policies: Policies,
    /// By metric number.
    floors: HashMap<TenantId, Arc<Vec<i64>>>,
    /// How long to keep, by metric number, of the tenants that were asked for.
    keeps: Mutex<HashMap<TenantId, Arc<Vec<i64>>>>,
    /// The different spans, ms, that are not for ever.
    spans: Vec<i64>,
}

/// Floors of a tenant's metrics at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Floors {
    now: i64,
    keeps: Arc<Vec<i64>>,
    floors: Arc<Vec<i64>>,
}

impl Floors {
    /// Samples of the metric before this instant have expired.
    pub(crate) fn of(&self, metric: MetricNo) -> i64 {
        let at = usize::try_from(metric.number()).unwrap_or(usize::MAX);
        let stored = self.floors.get(at).copied().unwrap_or(i64::MIN);
        match self.keeps.get(at) {
            Some(&keep) if keep < i64::MAX => stored.max(self.now.saturating_sub(keep)),
            Some(_) | None => stored,
        }
    }

    /// Whether nothing has ever expired.
    pub(crate) fn are_none(&self) -> bool {
        self.floors.is_empty() && self.keeps.is_empty()
    }
}

impl Retention {
    /// Loads what is stored.
    pub(crate) fn open(kv: &Kv) -> Result<Self, Error> {
        let policies = match kv.get(&Key::Policies)? {
            Some(bytes) => stored::decode_policies(&bytes)
                .ok_or_else(|| Error::corrupt("value", "retention policies"))?,
            None => Policies::default(),
        };
        let mut floors = HashMap::new();
        kv.scan(Family::Meta, &key::FLOORS_PREFIX, &key::FLOORS_PREFIX, |key, value| {
            let corrupt = || Error::corrupt("value", "retention floors");
            let tenant = key::decode_floors(key).ok_or_else(corrupt)?;
            let stored = stored::decode_floors(value).ok_or_else(corrupt)?;
            floors.insert(tenant, Arc::new(stored));
            Ok::<_, Error>(true)
        })?;
        let rules = RwLock::new(Arc::new(Rules::new(policies, floors)));
        Ok(Retention { rules, changing: Mutex::default() })
    }

    /// What is in force.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        self.rules.read().expect("no code panics while it holds the rules").clone()
    }

    /// Replaces the policies. What has expired by the old ones stays expired.
    pub(crate) fn set(
        &self,
        policies: Policies,
        index: &Index,
        kv: &Kv,
        now: Timestamp,
    ) -> Result<(), Error> {
        let _one_at_a_time =
            self.changing.lock().expect("no code panics while policies are changed");
        let old = self.rules();
        let mut batch = Batch::default();
        let mut floors = old.floors.clone();
        for tenant in index.tenants() {
            let Some(before) = old.floors(tenant, index, now) else { continue };
            let count = before.keeps.len().max(before.floors.len());
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            let all: Vec<i64> = (0..count).map(|n| before.of(MetricNo::new(n))).collect();
            batch.put(&Key::Floors(tenant), stored::encode_floors(&all));
            floors.insert(tenant, Arc::new(all));
        }
        batch.put(&Key::Policies, stored::encode_policies(&policies));
        kv.commit(batch, Sync::Disk)?;
        let rules = Rules::new(policies, floors);
        *self.rules.write().expect("no code panics while it holds the rules") = Arc::new(rules);
        Ok(())
    }

    /// Forgets a tenant that was removed.
    pub(crate) fn forget(&self, tenant: TenantId) {
        let _one_at_a_time =
            self.changing.lock().expect("no code panics while policies are changed");
        let old = self.rules();
        let mut floors = old.floors.clone();
        floors.remove(&tenant);
        let rules = Rules::new(old.policies.clone(), floors);
        *self.rules.write().expect("no code panics while it holds the rules") = Arc::new(rules);
    }
}

impl Rules {
    fn new(policies: Policies, floors: HashMap<TenantId, Arc<Vec<i64>>>) -> Self {
        let spans = policies.as_slice().iter().map(|policy| policy.raw.millis());
        let spans: BTreeSet<i64> = spans.filter(|&span| span < i64::MAX).collect();
        let spans = spans.into_iter().collect();
        Rules { policies, floors, keeps: Mutex::default(), spans }
    }

    /// The different spans, ms, for which samples are kept, without "for ever".
    pub(crate) fn spans(&self) -> impl Iterator<Item = i64> {
        self.spans.iter().copied()
    }

    /// Whether something has expired by earlier policies.
    pub(crate) fn has_floors(&self) -> bool {
        !self.floors.is_empty()
    }

    /// In order of precedence.
    pub(crate) fn policies(&self) -> &Policies {
        &self.policies
    }

    /// The floors of a tenant's metrics; `None` if there is no such tenant.
    pub(crate) fn floors(&self, tenant: TenantId, index: &Index, now: Timestamp) -> Option<Floors> {
        let known = index.tenant_by_id(tenant)?;
        let floors = self.floors.get(&tenant).cloned().unwrap_or_default();
        if self.policies.as_slice().is_empty() {
            return Some(Floors { now: now.millis(), keeps: Arc::default(), floors });
        }
        let metrics = known.metrics.read().expect("no code panics while it holds metrics");
        let count = usize::try_from(metrics.metric_count()).unwrap_or(usize::MAX);
        let mut resolved = self.keeps.lock().expect("no code panics while it holds spans");
        let keeps = resolved.entry(tenant).or_default();
        if keeps.len() < count {
            let keep = |number| {
                let name = metrics.name(MetricNo::new(number)).map_or("", |name| &**name);
                self.policies.of(&known.name, name).map_or(i64::MAX, |found| found.raw.millis())
            };
            let missing = u32::try_from(keeps.len()).unwrap_or(u32::MAX)..metrics.metric_count();
            let all = keeps.iter().copied().chain(missing.map(keep)).collect();
            *keeps = Arc::new(all);
        }
        Some(Floors { now: now.millis(), keeps: keeps.clone(), floors })
    }
}

//! Retention: until when samples may be seen, by tenant and metric.
//!
//! A *floor* is the instant before which samples of a metric have expired: now less what its policy
//! keeps. Reads hide what lies before it, at once; flushes and merges leave it out, and
//! the sweeper removes files. What has expired stays expired: when policies change, the
//! floors so far are stored, so that a longer policy never brings back a part of what is already
//! half removed. *Now* is an instant of the store's own, `passed`, since a clock may be wrong.

mod check;
mod passed;
mod plan;
mod policy;
mod stored;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

pub(crate) use check::{are_floors, are_policies};
use passed::{Doubt, Passed};
pub use plan::{MetricRetention, RetentionPlan};
pub use policy::{MetricPattern, POLICIES_MAX, Policies, Policy, RollupPolicy, RollupStep};
use xxhash_rust::xxh3::Xxh3;

use crate::error::Error;
use crate::fail_point::{self, Point};
use crate::index::Index;
use crate::key::{self, Fact, Family, Key};
use crate::kv::{Batch, Kv, Sync};
use crate::model::{MetricNo, TenantId, Timestamp};

/// The policies in force and the floors of earlier ones.
pub(crate) struct Retention {
    rules: RwLock<Arc<Rules>>,
    passed: Passed,
    /// What had passed, ms, when that was last stored for its own sake.
    noted: AtomicI64,
    /// Held while policies change, and while time passes: both decide what has expired.
    changing: Mutex<Doubt>,
}

/// What holds until policies change.
#[derive(Default)]
pub(crate) struct Rules {
    policies: Policies,
    /// By metric number.
    floors: HashMap<TenantId, Arc<Vec<Floor>>>,
    /// How long to keep, by metric number, of the tenants that were asked for.
    keeps: Mutex<HashMap<TenantId, Arc<Vec<Kept>>>>,
    /// The different spans, ms, that are not for ever.
    spans: Vec<i64>,
    /// By name of a tenant with policies of its own, and of all others: the longest span, ms, for which
    /// any of their samples may be kept.
    longest_raw: (HashMap<String, i64>, i64),
    /// By step: the longest span that a rollup is kept.
    longest: [Option<i64>; STEPS],
    /// Of all that decides which rollups are made of what.
    generation: u64,
}

const STEPS: usize = RollupStep::ALL.len();

/// By step: from when on rollups may still have to be made.
pub(crate) type Pending = [i64; STEPS];

/// What of a metric had expired when policies last changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Floor {
    /// Before this nothing is seen.
    pub(crate) seen: i64,
    /// Before this rows may be gone.
    pub(crate) kept: i64,
}

/// How long a metric is kept, ms; the greatest number: for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Kept {
    raw: i64,
    /// By step; `None`: no such rollup is made.
    rollups: [Option<i64>; STEPS],
}

/// Floors of a tenant's metrics at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Floors {
    now: i64,
    keeps: Arc<Vec<Kept>>,
    floors: Arc<Vec<Floor>>,
}

impl Floors {
    /// Samples of the metric before this instant have expired.
    pub(crate) fn of(&self, metric: MetricNo) -> i64 {
        self.stored(metric).seen.max(self.before(self.kept(metric).raw))
    }

    /// Rows of the metric before this instant are to be removed.
    pub(crate) fn removal(&self, metric: MetricNo, pending: &Pending) -> i64 {
        let asked = self.kept(metric).rollups;
        let waits = asked.iter().zip(pending).filter(|(keep, _)| keep.is_some());
        match waits.map(|(_, &from)| from).min() {
            Some(from) => self.gone(metric).max(self.of(metric).min(from)),
            None => self.of(metric),
        }
    }

    /// The greatest of all metrics'.
    pub(crate) fn greatest(&self) -> i64 {
        let shortest = self.keeps.iter().map(|kept| kept.raw).min().unwrap_or(i64::MAX);
        let stored = self.floors.iter().map(|floor| floor.seen).max().unwrap_or(i64::MIN);
        if shortest < i64::MAX { stored.max(self.now.saturating_sub(shortest)) } else { stored }
    }

    /// Rows of the metric before this instant had been removed, or were about to be, when policies last
    /// changed.
    pub(crate) fn gone(&self, metric: MetricNo) -> i64 {
        self.stored(metric).kept
    }

    /// Slots of the metric's rollup before this instant have expired; `None`: none is made.
    pub(crate) fn of_rollup(&self, metric: MetricNo, step: RollupStep) -> Option<i64> {
        let keep = self.kept(metric).rollups.get(step.index()).copied().flatten()?;
        Some(self.before(keep))
    }

    fn before(&self, keep: i64) -> i64 {
        if keep == i64::MAX { i64::MIN } else { self.now.saturating_sub(keep) }
    }

    fn kept(&self, metric: MetricNo) -> Kept {
        let at = usize::try_from(metric.number()).unwrap_or(usize::MAX);
        self.keeps.get(at).copied().unwrap_or(Kept { raw: i64::MAX, rollups: [None; STEPS] })
    }

    fn stored(&self, metric: MetricNo) -> Floor {
        let at = usize::try_from(metric.number()).unwrap_or(usize::MAX);
        self.floors.get(at).copied().unwrap_or(Floor { seen: i64::MIN, kept: i64::MIN })
    }

    /// Whether nothing has ever expired.
    pub(crate) fn are_none(&self) -> bool {
        self.floors.is_empty() && self.keeps.is_empty()
    }
}

impl Retention {
    /// Loads what is stored. `passed` is what had passed when something was last removed.
    pub(crate) fn open(kv: &Kv, passed: Timestamp) -> Result<Self, Error> {
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
        let noted = AtomicI64::new(passed.millis());
        Ok(Retention { rules, passed: Passed::at(passed), noted, changing: Mutex::default() })
    }

    /// What readers are not shown has expired by this instant.
    pub(crate) fn hidden_by(&self, now: Timestamp) -> Timestamp {
        // Who changes policies has its own look.
        if self.passed.get() < now
            && let Ok(_time) = self.changing.try_lock()
        {
            self.passed.follow(now);
        }
        self.passed.for_readers(now)
    }

    /// What is removed has expired by this instant. Asked for before the [`rules`](Self::rules) that it
    /// is used with: when they change, no time has passed since the floors were noted.
    pub(crate) fn removed_by(&self, now: Timestamp) -> Timestamp {
        self.passed.for_removal(now)
    }

    /// What counts as passed, to be stored with every removal.
    pub(crate) fn passed(&self) -> Timestamp {
        self.passed.get()
    }

    /// Stores what counts as passed, when it has moved by more than `span_ms` since that was done. Without it, a store that has had
    /// nothing to write for a day would doubt its clock after a restart.
    pub(crate) fn note(&self, kv: &Kv, span_ms: u64) -> Result<(), Error> {
        // So that policies which change meanwhile do not note less.
        let _time = self.lock();
        let passed = self.passed.get().millis();
        if passed.abs_diff(self.noted.load(Ordering::Relaxed)) <= span_ms {
            return Ok(());
        }
        let mut batch = Batch::default();
        batch.put(&Key::Fact(Fact::Passed), passed.to_le_bytes().to_vec());
        kv.commit(batch, Sync::Disk)?;
        self.noted.store(passed, Ordering::Relaxed);
        Ok(())
    }

    /// What counts as passed, if a clock that shows `now` is in doubt.
    pub(crate) fn doubted(&self, now: Timestamp) -> Option<Timestamp> {
        (!self.passed.trusts(now)).then(|| self.passed())
    }

    /// Lets time pass. An operator's word, `told`, is enough to believe a clock that has leapt.
    pub(crate) fn look(&self, now: Timestamp, told: bool) {
        let mut doubt = self.lock();
        self.look_with(&mut doubt, now, told);
    }

    fn look_with(&self, doubt: &mut Doubt, now: Timestamp, told: bool) {
        if self.passed.follow(now) {
            doubt.clear();
        } else if told || doubt.is_over(now, self.passed.get()) {
            tracing::warn!(clock_ms = now.millis(), "the clock is believed");
            doubt.clear();
            self.passed.believe(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Doubt> {
        self.changing.lock().expect("no code panics while policies are changed")
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
        pending: impl FnOnce(&Rules) -> Pending,
    ) -> Result<(), Error> {
        let mut doubt = self.lock();
        self.look_with(&mut doubt, now, false);
        let now = self.passed.for_removal(now);
        let old = self.rules();
        let pending = pending(&old);
        let mut batch = Batch::default();
        let mut floors = old.floors.clone();
        for tenant in index.tenants() {
            let Some(before) = old.floors(tenant, index, now) else { continue };
            let count = before.keeps.len().max(before.floors.len());
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            let floor = |number| {
                let metric = MetricNo::new(number);
                Floor { seen: before.of(metric), kept: before.removal(metric, &pending) }
            };
            let all: Vec<Floor> = (0..count).map(floor).collect();
            batch.put(&Key::Floors(tenant), stored::encode_floors(&all));
            floors.insert(tenant, Arc::new(all));
        }
        batch.put(&Key::Policies, stored::encode_policies(&policies));
        batch.put(&Key::Fact(Fact::Passed), now.millis().to_le_bytes().to_vec());
        fail_point::pass(Point::PoliciesBefore);
        kv.commit(batch, Sync::Disk)?;
        fail_point::pass(Point::PoliciesAfter);
        let rules = Rules::new(policies, floors);
        *self.rules.write().expect("no code panics while it holds the rules") = Arc::new(rules);
        Ok(())
    }

    /// Forgets a tenant that was removed.
    pub(crate) fn forget(&self, tenant: TenantId) {
        let _one_at_a_time = self.lock();
        let old = self.rules();
        let mut floors = old.floors.clone();
        floors.remove(&tenant);
        let rules = Rules::new(old.policies.clone(), floors);
        *self.rules.write().expect("no code panics while it holds the rules") = Arc::new(rules);
    }
}

impl Rules {
    fn new(policies: Policies, floors: HashMap<TenantId, Arc<Vec<Floor>>>) -> Self {
        let all = policies.as_slice();
        let spans = all.iter().map(|policy| policy.raw.millis());
        let spans: BTreeSet<i64> = spans.filter(|&span| span < i64::MAX).collect();
        let spans = spans.into_iter().collect();
        let own: BTreeSet<&str> =
            all.iter().filter_map(|policy| policy.tenant.as_deref()).collect();
        let own = own.into_iter().map(|name| (name.to_owned(), policies.longest(Some(name))));
        let longest_raw = (own.collect(), policies.longest(None));
        let longest =
            RollupStep::ALL.map(|step| all.iter().filter_map(|policy| policy.rollup(step)).max());
        let generation = generation(&policies);
        let keeps = Mutex::default();
        Rules { policies, floors, keeps, spans, longest_raw, longest, generation }
    }

    /// The instant before which samples of a tenant have expired at `now`, whatever their metric; the
    /// least one if some are kept for ever.
    pub(crate) fn oldest_kept(&self, tenant: &str, now: Timestamp) -> Timestamp {
        let (own, others) = &self.longest_raw;
        match own.get(tenant).copied().unwrap_or(*others) {
            i64::MAX => Timestamp::MIN,
            keep => Timestamp::from_millis(now.millis().saturating_sub(keep)),
        }
    }

    /// How long the rollup of a step is kept at most, ms; `None`: no policy asks for it.
    pub(crate) fn longest(&self, step: RollupStep) -> Option<i64> {
        self.longest.get(step.index()).copied().flatten()
    }

    /// Another one when other rollups are asked for.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
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
                let policy = self.policies.of(&known.name, name);
                Kept {
                    raw: policy.map_or(i64::MAX, |found| found.raw.millis()),
                    rollups: RollupStep::ALL.map(|step| policy?.rollup(step)),
                }
            };
            let missing = u32::try_from(keeps.len()).unwrap_or(u32::MAX)..metrics.metric_count();
            let all = keeps.iter().copied().chain(missing.map(keep)).collect();
            *keeps = Arc::new(all);
        }
        Some(Floors { now: now.millis(), keeps: keeps.clone(), floors })
    }
}

/// Of patterns and rollups in their order: how long samples are kept does not matter.
fn generation(policies: &Policies) -> u64 {
    let mut hash = Xxh3::new();
    for policy in policies.as_slice() {
        hash.update(policy.tenant.as_deref().unwrap_or_default().as_bytes());
        hash.update(&[0xFF, u8::from(policy.tenant.is_some())]);
        hash.update(policy.metric.text().as_bytes());
        hash.update(&[0xFF]);
        for rollup in &policy.rollups {
            hash.update(&[rollup.step.tier()]);
            hash.update(&rollup.keep.millis().to_le_bytes());
        }
    }
    hash.digest()
}

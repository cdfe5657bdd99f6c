//! Retention policies as an operator writes them: how long samples of which tenants and metrics are
//! kept, and which rollups are made of them.

use std::cmp::Reverse;
use std::time::Duration;

use crate::error::Error;
use crate::model::Keep;

/// Most policies of a store.
pub const POLICIES_MAX: usize = 1000;
/// Longest pattern, bytes.
const PATTERN_BYTES_MAX: usize = 1024;
/// Samples are kept at least so long.
const KEEP_MIN: Duration = Duration::from_secs(3600);
/// A longer span is for ever: far above it, instants can no longer be computed with.
const KEEP_MAX: Duration = Duration::from_secs(1000 * 366 * 24 * 3600);

/// Which metrics a policy is about: a name in which `*` stands for any characters, also none.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MetricPattern(String);

impl MetricPattern {
    /// # Errors
    /// `Invalid` if it is empty or longer than a metric's name can be.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "a metric pattern has 1 to {PATTERN_BYTES_MAX} bytes"
            )));
        }
        Ok(MetricPattern(text.to_owned()))
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether it is about this metric.
    #[must_use]
    pub fn accepts(&self, metric: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = metric.strip_prefix(parts.next().unwrap_or_default()) else {
            return false;
        };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else { return rest.is_empty() };
        // The earliest place of each part leaves the most to those that follow.
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = rest.get(at + part.len()..).unwrap_or_default();
        }
        rest.ends_with(last)
    }

    fn accepts_all(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }

    fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    fn literal_bytes(&self) -> usize {
        self.0.bytes().filter(|&byte| byte != b'*').count()
    }
}

/// Length of the slots of a rollup.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum RollupStep {
    /// `5m`
    FiveMinutes = 1,
    /// `1h`
    Hour = 2,
}

impl RollupStep {
    /// Finest first.
    pub const ALL: [RollupStep; 2] = [RollupStep::FiveMinutes, RollupStep::Hour];

    /// Milliseconds of a slot.
    #[must_use]
    pub const fn millis(self) -> i64 {
        match self {
            RollupStep::FiveMinutes => 5 * 60 * 1000,
            RollupStep::Hour => 3600 * 1000,
        }
    }

    /// The tier of its segments.
    pub(crate) const fn tier(self) -> u8 {
        self as u8
    }

    /// Its place in [`ALL`](Self::ALL).
    pub(crate) fn index(self) -> usize {
        usize::from(self.tier() - 1)
    }

    pub(crate) fn of_tier(tier: u8) -> Option<Self> {
        RollupStep::ALL.into_iter().find(|step| step.tier() == tier)
    }
}

/// A rollup that is made of samples.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RollupPolicy {
    /// How long its slots are.
    pub step: RollupStep,
    /// How long they are kept.
    pub keep: Keep,
}

/// How long samples are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Name of the tenant it is about; `None`: every tenant.
    pub tenant: Option<String>,
    /// Which metrics it is about.
    pub metric: MetricPattern,
    /// How long samples are kept.
    pub raw: Keep,
    /// Rollups that are made of them, one of a step at most.
    pub rollups: Vec<RollupPolicy>,
}

impl Policy {
    /// Whether it is about this metric of this tenant.
    #[must_use]
    pub fn accepts(&self, tenant: &str, metric: &str) -> bool {
        self.tenant.as_deref().is_none_or(|own| own == tenant) && self.metric.accepts(metric)
    }

    fn check(&self) -> Result<(), Error> {
        check_keep(self.raw)?;
        self.rollups.iter().try_for_each(|rollup| check_keep(rollup.keep))?;
        let of_step = |step| self.rollups.iter().filter(|rollup| rollup.step == step).count();
        if RollupStep::ALL.into_iter().any(|step| of_step(step) > 1) {
            return Err(Error::Invalid("two rollups of a policy have the same step".into()));
        }
        Ok(())
    }

    /// How long its rollup of a step is kept, ms; `None`: it has none.
    pub(crate) fn rollup(&self, step: RollupStep) -> Option<i64> {
        self.rollups.iter().find(|rollup| rollup.step == step).map(|rollup| rollup.keep.millis())
    }

    /// What decides between two policies about one metric: a tenant's own before everybody's, a
    /// whole name before a pattern, more literal bytes before fewer.
    fn rank(&self) -> (bool, bool, Reverse<usize>) {
        (self.tenant.is_none(), !self.metric.is_exact(), Reverse(self.metric.literal_bytes()))
    }
}

fn check_keep(keep: Keep) -> Result<(), Error> {
    match keep {
        Keep::For(span) if span < KEEP_MIN => {
            Err(Error::Invalid("samples and rollups are kept for an hour at least".into()))
        }
        Keep::For(span) if span > KEEP_MAX => Err(Error::Invalid(
            "samples and rollups are kept for a thousand years at most, or for ever".into(),
        )),
        Keep::For(_) | Keep::Forever => Ok(()),
    }
}

/// The policies of a store, in the order in which they are asked: the first about a metric decides.
/// Metrics that none is about are kept for ever.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policies(Vec<Policy>);

impl Policies {
    /// Sorts `policies` by precedence. Of two with equal rank the lesser pattern comes first.
    ///
    /// # Errors
    /// `Invalid` for a bad one or two with the same tenant and pattern, `Limit` for too many.
    pub fn new(mut policies: Vec<Policy>) -> Result<Self, Error> {
        if policies.len() > POLICIES_MAX {
            return Err(Error::Limit { limit: "retention policies", max: POLICIES_MAX as u64 });
        }
        policies.iter().try_for_each(Policy::check)?;
        policies.iter_mut().for_each(|policy| policy.rollups.sort_by_key(|rollup| rollup.step));
        policies.sort_by(|a, b| {
            (a.rank(), a.metric.text(), &a.tenant).cmp(&(b.rank(), b.metric.text(), &b.tenant))
        });
        let twice = policies
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if a.tenant == b.tenant && a.metric == b.metric));
        if twice {
            return Err(Error::Invalid("two policies have the same tenant and metric".into()));
        }
        Ok(Policies(policies))
    }

    /// In order of precedence.
    #[must_use]
    pub fn as_slice(&self) -> &[Policy] {
        &self.0
    }

    /// The longest span, ms, for which any metric of a tenant is kept (`None`: of a tenant without
    /// policies of its own); the greatest number if some are kept for ever.
    pub(super) fn longest(&self, tenant: Option<&str>) -> i64 {
        // Any policy of its own comes before those for everybody.
        let own = || {
            self.0
                .iter()
                .filter(|policy| policy.tenant.is_some() && policy.tenant.as_deref() == tenant)
        };
        let all = || own().chain(self.0.iter().filter(|policy| policy.tenant.is_none()));
        let longest = |policies: &mut dyn Iterator<Item = &Policy>| {
            policies.map(|policy| policy.raw.millis()).max().unwrap_or(i64::MAX)
        };
        if own().any(|policy| policy.metric.accepts_all()) {
            longest(&mut own())
        } else if all().any(|policy| policy.metric.accepts_all()) {
            longest(&mut all())
        } else {
            i64::MAX
        }
    }

    /// The policy that decides about a metric.
    #[must_use]
    pub fn of(&self, tenant: &str, metric: &str) -> Option<&Policy> {
        self.0.iter().find(|policy| policy.accepts(tenant, metric))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_accept() {
        let check = |pattern: &str, metric: &str, want: bool| {
            let pattern = MetricPattern::parse(pattern).unwrap();
            assert_eq!(pattern.accepts(metric), want, "{pattern:?} {metric}");
        };
        check("cpu.idle", "cpu.idle", true);
        check("cpu.idle", "cpu.idle_perc", false);
        check("cpu.*", "cpu.idle", true);
        check("cpu.*", "cpu.", true);
        check("cpu.*", "cpu", false);
        check("*", "anything", true);
        check("*.idle", "cpu.idle", true);
        check("*.idle", "cpu.idle.x", false);
        check("a*b*c", "abc", true);
        check("a*b*c", "a-b-b-c", true);
        check("a*b*c", "acb", false);
        check("a*a", "a", false);
        check("a**a", "aa", true);
    }

    fn policy(tenant: Option<&str>, metric: &str, days: u64) -> Policy {
        Policy {
            tenant: tenant.map(str::to_owned),
            metric: MetricPattern::parse(metric).unwrap(),
            raw: Keep::For(Duration::from_secs(days * 24 * 3600)),
            rollups: Vec::new(),
        }
    }

    #[test]
    fn the_most_specific_policy_decides() {
        let policies = Policies::new(vec![
            policy(None, "*", 1),
            policy(None, "cpu.*", 2),
            policy(None, "cpu.idle*", 3),
            policy(None, "cpu.idle", 4),
            policy(Some("a"), "*", 5),
            policy(Some("a"), "cpu.idle", 6),
        ])
        .unwrap();
        let check = |tenant: &str, metric: &str, days: u64| {
            let keep = policies.of(tenant, metric).map(|policy| policy.raw);
            let want = Keep::For(Duration::from_secs(days * 24 * 3600));
            assert_eq!(keep, Some(want), "{tenant} {metric}");
        };
        check("b", "mem", 1);
        check("b", "cpu.user", 2);
        check("b", "cpu.idle_perc", 3);
        check("b", "cpu.idle", 4);
        check("a", "cpu.user", 5);
        check("a", "cpu.idle", 6);
        assert_eq!(Policies::default().of("a", "cpu"), None);
    }

    #[test]
    fn the_longest_span_of_a_tenant() {
        let check = |policies: Vec<Policy>, tenant: Option<&str>, days: Option<i64>| {
            let longest = Policies::new(policies).unwrap().longest(tenant);
            assert_eq!(longest, days.map_or(i64::MAX, |days| days * 24 * 3_600_000));
        };
        check(vec![], None, None);
        check(vec![policy(None, "*", 3)], None, Some(3));
        check(vec![policy(None, "*", 3), policy(None, "cpu", 9)], Some("a"), Some(9));
        // Metrics that no policy is about are kept for ever.
        check(vec![policy(None, "c*", 3)], None, None);
        let own = || vec![policy(Some("a"), "**", 5), policy(None, "cpu", 2)];
        check(own(), Some("a"), Some(5));
        check(own(), Some("b"), None);
        check(own(), None, None);
        check(vec![policy(Some("a"), "*", 5), policy(None, "*", 9)], Some("a"), Some(5));
        check(vec![policy(Some("a"), "c*", 5), policy(None, "*", 9)], Some("a"), Some(9));
    }

    #[test]
    fn bad_policies_are_refused() {
        assert!(Policies::new(vec![policy(None, "*", 1), policy(None, "*", 2)]).is_err());
        assert!(Policies::new(vec![policy(None, "*", 0)]).is_err());
        let many = (0..=POLICIES_MAX).map(|n| policy(None, &format!("m{n}"), 1)).collect();
        assert!(Policies::new(many).is_err());
        assert!(MetricPattern::parse("").is_err());
        let rollup = |keep| RollupPolicy { step: RollupStep::Hour, keep };
        let with = |rollups| Policies::new(vec![Policy { rollups, ..policy(None, "*", 1) }]);
        assert!(with(vec![rollup(Keep::Forever)]).is_ok());
        assert!(with(vec![rollup(Keep::Forever); 2]).is_err());
        assert!(with(vec![rollup(Keep::For(Duration::from_secs(1)))]).is_err());
    }
}

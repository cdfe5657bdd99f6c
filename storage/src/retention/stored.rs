//! Policies and floors as they are stored.
//!
//! Policies: version u8 = 2, number u32, then per policy: whether it has a tenant u8, tenant, pattern
//! (each its length u32 and its bytes), milliseconds to keep i64 (the greatest number: for ever),
//! number of rollups u8, per rollup: tier u8, milliseconds to keep i64. Version 1 has no rollups.
//! Floors of a tenant: version u8 = 2, then per metric number two i64: the floor, and that of the rows
//! that may be gone. In version 1 they are one.

use std::time::Duration;

use super::Floor;
use super::policy::{MetricPattern, Policies, Policy, RollupPolicy, RollupStep};
use crate::model::Keep;
use crate::text;

const VERSION: u8 = 2;
/// Without rollups.
const OLD_VERSION: u8 = 1;

pub(super) fn encode_policies(policies: &Policies) -> Vec<u8> {
    let mut out = vec![VERSION];
    let count = u32::try_from(policies.as_slice().len()).expect("policies are bounded");
    out.extend_from_slice(&count.to_le_bytes());
    for policy in policies.as_slice() {
        out.push(u8::from(policy.tenant.is_some()));
        text::put(&mut out, policy.tenant.as_deref().unwrap_or_default());
        text::put(&mut out, policy.metric.text());
        out.extend_from_slice(&policy.raw.millis().to_le_bytes());
        out.push(u8::try_from(policy.rollups.len()).expect("one of a step"));
        for rollup in &policy.rollups {
            out.push(rollup.step.tier());
            out.extend_from_slice(&rollup.keep.millis().to_le_bytes());
        }
    }
    out
}

pub(super) fn decode_policies(bytes: &[u8]) -> Option<Policies> {
    let (&version, rest) = bytes.split_first()?;
    if version != VERSION && version != OLD_VERSION {
        return None;
    }
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let mut policies = Vec::new();
    for _ in 0..u32::from_le_bytes(*count) {
        let has_tenant = take_byte(&mut rest)?;
        let tenant = text::take(&mut rest)?;
        let metric = MetricPattern::parse(&text::take(&mut rest)?).ok()?;
        let raw = take_keep(&mut rest)?;
        let mut rollups = Vec::new();
        let count = if version == OLD_VERSION { 0 } else { take_byte(&mut rest)? };
        for _ in 0..count {
            let step = RollupStep::of_tier(take_byte(&mut rest)?)?;
            rollups.push(RollupPolicy { step, keep: take_keep(&mut rest)? });
        }
        policies.push(Policy { tenant: (has_tenant == 1).then_some(tenant), metric, raw, rollups });
    }
    rest.is_empty().then(|| Policies::new(policies).ok())?
}

fn take_byte(rest: &mut &[u8]) -> Option<u8> {
    let (&byte, tail) = rest.split_first()?;
    *rest = tail;
    Some(byte)
}

fn take_keep(rest: &mut &[u8]) -> Option<Keep> {
    let (keep, tail) = rest.split_first_chunk::<8>()?;
    *rest = tail;
    match i64::from_le_bytes(*keep) {
        i64::MAX => Some(Keep::Forever),
        ms => Some(Keep::For(Duration::from_millis(u64::try_from(ms).ok()?))),
    }
}

pub(super) fn encode_floors(floors: &[Floor]) -> Vec<u8> {
    let mut out = vec![VERSION];
    for floor in floors {
        out.extend_from_slice(&floor.seen.to_le_bytes());
        out.extend_from_slice(&floor.kept.to_le_bytes());
    }
    out
}

pub(super) fn decode_floors(bytes: &[u8]) -> Option<Vec<Floor>> {
    let (&version, numbers) = bytes.split_first()?;
    let (numbers, rest) = numbers.as_chunks::<8>();
    if !rest.is_empty() {
        return None;
    }
    let numbers = numbers.iter().map(|number| i64::from_le_bytes(*number));
    match version {
        OLD_VERSION => Some(numbers.map(|floor| Floor { seen: floor, kept: floor }).collect()),
        VERSION => {
            let numbers: Vec<i64> = numbers.collect();
            let (pairs, rest) = numbers.as_chunks::<2>();
            let floor = |&[seen, kept]: &[i64; 2]| Floor { seen, kept };
            rest.is_empty().then(|| pairs.iter().map(floor).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_and_floors_round_trip() {
        let policy = |tenant: Option<&str>, raw| Policy {
            tenant: tenant.map(str::to_owned),
            metric: MetricPattern::parse("cpu.*").unwrap(),
            raw,
            rollups: vec![RollupPolicy { step: RollupStep::Hour, keep: Keep::Forever }],
        };
        let week = Keep::For(Duration::from_secs(7 * 24 * 3600));
        let policies = vec![policy(None, week), policy(Some("a"), Keep::Forever)];
        let policies = Policies::new(policies).unwrap();
        let bytes = encode_policies(&policies);
        assert_eq!(decode_policies(&bytes), Some(policies));
        for length in 0..bytes.len() {
            assert_eq!(decode_policies(&bytes[..length]), None, "{length}");
        }
        let floors = vec![Floor { seen: i64::MIN, kept: 5 }, Floor { seen: -7, kept: 8 }];
        assert_eq!(decode_floors(&encode_floors(&floors)), Some(floors));
        assert_eq!(decode_floors(b"\x02abc"), None);
    }

    #[test]
    fn what_version_1_wrote_is_read() {
        let mut bytes = b"\x01\x01\0\0\0\0\0\0\0\0\x03\0\0\0cpu".to_vec();
        bytes.extend_from_slice(&7_200_000_i64.to_le_bytes());
        let policies = decode_policies(&bytes).unwrap();
        let raw = Keep::For(Duration::from_secs(7200));
        let metric = MetricPattern::parse("cpu").unwrap();
        assert_eq!(policies.as_slice(), [Policy { tenant: None, metric, raw, rollups: vec![] }]);
        let floors = decode_floors(b"\x01\x05\0\0\0\0\0\0\0");
        assert_eq!(floors, Some(vec![Floor { seen: 5, kept: 5 }]));
    }
}

//! Policies and floors as they are stored.
//!
//! Policies: version u8 = 1, number u32, then per policy: whether it has a tenant u8, tenant, pattern
//! (each its length u32 and its bytes), milliseconds to keep i64 (the greatest number: for ever).
//! Floors of a tenant: version u8 = 1, then per metric number the floor i64.

use std::time::Duration;

use super::policy::{MetricPattern, Policies, Policy};
use crate::model::Keep;

const VERSION: u8 = 1;

pub(super) fn encode_policies(policies: &Policies) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_length(&mut out, policies.as_slice().len());
    for policy in policies.as_slice() {
        out.push(u8::from(policy.tenant.is_some()));
        for text in [policy.tenant.as_deref().unwrap_or_default(), policy.metric.text()] {
            put_length(&mut out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
        out.extend_from_slice(&policy.raw.millis().to_le_bytes());
    }
    out
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("policies and their texts are bounded");
    out.extend_from_slice(&length.to_le_bytes());
}

pub(super) fn decode_policies(bytes: &[u8]) -> Option<Policies> {
    let (count, mut rest) = bytes.strip_prefix(&[VERSION])?.split_first_chunk::<4>()?;
    let mut policies = Vec::new();
    for _ in 0..u32::from_le_bytes(*count) {
        let (&has_tenant, tail) = rest.split_first()?;
        rest = tail;
        let tenant = take_text(&mut rest)?;
        let metric = MetricPattern::parse(&take_text(&mut rest)?).ok()?;
        let (keep, tail) = rest.split_first_chunk::<8>()?;
        rest = tail;
        let raw = match i64::from_le_bytes(*keep) {
            i64::MAX => Keep::Forever,
            ms => Keep::For(Duration::from_millis(u64::try_from(ms).ok()?)),
        };
        policies.push(Policy { tenant: (has_tenant == 1).then_some(tenant), metric, raw });
    }
    rest.is_empty().then(|| Policies::new(policies).ok())?
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let (text, tail) = tail.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    *rest = tail;
    String::from_utf8(text.to_vec()).ok()
}

pub(super) fn encode_floors(floors: &[i64]) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend(floors.iter().flat_map(|floor| floor.to_le_bytes()));
    out
}

pub(super) fn decode_floors(bytes: &[u8]) -> Option<Vec<i64>> {
    let (floors, rest) = bytes.strip_prefix(&[VERSION])?.as_chunks::<8>();
    rest.is_empty().then(|| floors.iter().map(|floor| i64::from_le_bytes(*floor)).collect())
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
        };
        let week = Keep::For(Duration::from_secs(7 * 24 * 3600));
        let policies = vec![policy(None, week), policy(Some("a"), Keep::Forever)];
        let policies = Policies::new(policies).unwrap();
        let bytes = encode_policies(&policies);
        assert_eq!(decode_policies(&bytes), Some(policies));
        for length in 0..bytes.len() {
            assert_eq!(decode_policies(&bytes[..length]), None, "{length}");
        }
        let floors = vec![i64::MIN, 5, -7];
        assert_eq!(decode_floors(&encode_floors(&floors)), Some(floors));
        assert_eq!(decode_floors(b"\x01abc"), None);
    }
}

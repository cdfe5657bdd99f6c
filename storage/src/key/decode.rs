//! Reading keys back: the prefixes of those that are scanned, and their fields.

use super::{
    JOURNAL_PREFIX_LEN, JournalPart, META_DELETION, META_FLOORS, META_ROLLUP, META_TENANT,
    META_TOMBSTONE, SERIES_BY_HASH, SERIES_BY_ID, SERIES_COUNT, SERIES_HOUR, SERIES_METRIC,
};
use crate::journal::JournalKind;
use crate::model::{MetricNo, Sequence, SeriesId, TenantId};

/// Reads the partition that follows a journal's prefix, and what is behind it.
pub(crate) fn decode_partition(key: &[u8]) -> Option<(i32, &[u8])> {
    let (partition, rest) = take_u32(key.get(JOURNAL_PREFIX_LEN..)?)?;
    Some((unflip(partition), rest))
}

/// Reads what begins a key of a journal, and what is behind it.
pub(crate) fn decode_journal(key: &[u8]) -> Option<(TenantId, JournalKind, JournalPart, &[u8])> {
    let (tenant, rest) = take_u32(key)?;
    let ([kind, part], rest) = rest.split_first_chunk::<2>()?;
    let kind = JournalKind::ALL.into_iter().find(|known| *known as u8 == *kind)?;
    let part = JournalPart::ALL.into_iter().find(|known| *known as u8 == *part)?;
    Some((TenantId::new(tenant), kind, part, rest))
}

/// Reads the key of a record.
pub(crate) fn decode_record(key: &[u8]) -> Option<(TenantId, u8, &[u8])> {
    let (tenant, rest) = take_u32(key)?;
    let (&kind, id) = rest.split_first()?;
    Some((TenantId::new(tenant), kind, id))
}

/// What all keys of metrics begin with.
pub(crate) const METRIC_PREFIX: [u8; 1] = [SERIES_METRIC];
/// What all keys of tenants begin with.
pub(crate) const TENANT_PREFIX: [u8; 1] = [META_TENANT];

/// What all keys of floors begin with.
pub(crate) const FLOORS_PREFIX: [u8; 1] = [META_FLOORS];
/// What all keys of tombstones begin with.
pub(crate) const TOMBSTONE_PREFIX: [u8; 1] = [META_TOMBSTONE];
/// What all keys of deletions begin with.
pub(crate) const DELETION_PREFIX: [u8; 1] = [META_DELETION];

/// What all keys of rollups begin with.
pub(crate) const ROLLUP_PREFIX: [u8; 1] = [META_ROLLUP];

/// Reads tier and day of a rollup's key.
pub(crate) fn decode_rollup(key: &[u8]) -> Option<(u8, i32)> {
    let (&tier, rest) = key.strip_prefix(&ROLLUP_PREFIX)?.split_first()?;
    let (day, rest) = take_u32(rest)?;
    rest.is_empty().then(|| (tier, unflip(day)))
}

/// Reads the tenant of a key of floors.
pub(crate) fn decode_floors(key: &[u8]) -> Option<TenantId> {
    let (tenant, rest) = take_u32(key.strip_prefix(&FLOORS_PREFIX)?)?;
    rest.is_empty().then(|| TenantId::new(tenant))
}

/// Reads the number of a tombstone's or a deletion's key.
pub(crate) fn decode_numbered(key: &[u8]) -> Option<u64> {
    let (_, number) = key.split_first()?;
    Some(u64::from_be_bytes(number.try_into().ok()?))
}

/// What all keys of numbers of series begin with.
pub(crate) const SERIES_COUNT_PREFIX: [u8; 1] = [SERIES_COUNT];

/// What all keys of numbers of series by hour begin with.
pub(crate) const SERIES_HOUR_PREFIX: [u8; 1] = [SERIES_HOUR];

/// Reads tenant and hour of a number of series.
pub(crate) fn decode_series_hour(key: &[u8]) -> Option<(TenantId, i32)> {
    let (tenant, rest) = take_u32(key.strip_prefix(&SERIES_HOUR_PREFIX)?)?;
    let (hour, rest) = take_u32(rest)?;
    rest.is_empty().then(|| (TenantId::new(tenant), unflip(hour)))
}

/// Reads the tenant of a number of series.
pub(crate) fn decode_series_count(key: &[u8]) -> Option<TenantId> {
    let (tenant, rest) = take_u32(key.strip_prefix(&SERIES_COUNT_PREFIX)?)?;
    rest.is_empty().then(|| TenantId::new(tenant))
}

/// Reads the tenant and the number of a metric's key.
pub(crate) fn decode_metric(key: &[u8]) -> Option<(TenantId, MetricNo)> {
    let (tenant, rest) = take_u32(key.strip_prefix(&METRIC_PREFIX)?)?;
    let (metric, rest) = take_u32(rest)?;
    rest.is_empty().then(|| (TenantId::new(tenant), MetricNo::new(metric)))
}

/// Reads a tenant's key.
pub(crate) fn decode_tenant(key: &[u8]) -> Option<TenantId> {
    let (tenant, rest) = take_u32(key.strip_prefix(&TENANT_PREFIX)?)?;
    rest.is_empty().then(|| TenantId::new(tenant))
}

/// What all keys of definitions begin with.
pub(crate) const DEFINITION_PREFIX: [u8; 1] = [SERIES_BY_ID];
/// What all keys of series by hash begin with.
pub(crate) const HASH_PREFIX: [u8; 1] = [SERIES_BY_HASH];

/// Reads the key of a definition.
pub(crate) fn decode_definition(key: &[u8]) -> Option<(TenantId, SeriesId)> {
    let (tenant, rest) = take_u32(key.strip_prefix(&DEFINITION_PREFIX)?)?;
    let (series, rest) = take_u32(rest)?;
    rest.is_empty().then(|| (TenantId::new(tenant), SeriesId::new(series)))
}

/// Reads a key of series by hash.
pub(crate) fn decode_hash(key: &[u8]) -> Option<(TenantId, u128)> {
    let (tenant, rest) = take_u32(key.strip_prefix(&HASH_PREFIX)?)?;
    Some((TenantId::new(tenant), u128::from_be_bytes(rest.try_into().ok()?)))
}

/// Reads the tenant of a posting key.
pub(crate) fn decode_posting_tenant(key: &[u8]) -> Option<TenantId> {
    Some(TenantId::new(take_u32(key)?.0))
}

/// Reads a key of activity.
pub(crate) fn decode_activity(key: &[u8]) -> Option<(TenantId, i32)> {
    let (tenant, rest) = take_u32(key)?;
    let (day, rest) = take_u32(rest)?;
    rest.is_empty().then(|| (TenantId::new(tenant), unflip(day)))
}

/// Reads name and value of a posting key.
pub(crate) fn decode_posting(key: &[u8]) -> Option<(String, String)> {
    let (name, value) = take_text(key.get(5..)?)?;
    Some((name, String::from_utf8(value.to_vec()).ok()?))
}

/// Reads a segment's key.
pub(crate) fn decode_segment(key: &[u8]) -> Option<(u8, i32, u64)> {
    let (&tier, rest) = key.split_first()?;
    let (partition, rest) = take_u32(rest)?;
    let number = u64::from_be_bytes(rest.try_into().ok()?);
    Some((tier, unflip(partition), number))
}

/// Reads a log key.
pub(crate) fn decode_wal(key: &[u8]) -> Option<Sequence> {
    Some(Sequence::new(u64::from_be_bytes(key.try_into().ok()?)))
}

fn unflip(bits: u32) -> i32 {
    (bits ^ (1 << 31)).cast_signed()
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*number), rest))
}

fn take_text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (text, rest) = take_bytes(bytes)?;
    Some((String::from_utf8(text).ok()?, rest))
}

/// Reads what ends with two zero bytes, and what is behind them.
pub(crate) fn take_bytes(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::new();
    let mut rest = bytes;
    loop {
        let (&byte, tail) = rest.split_first()?;
        rest = tail;
        if byte != 0 {
            text.push(byte);
            continue;
        }
        let (&mark, tail) = rest.split_first()?;
        rest = tail;
        if mark == 0 {
            return Some((text, rest));
        }
        text.push(0);
    }
}

//! Every key this store writes, as one enum. The encoding sorts as the enum's fields do: numbers are
//! big-endian, signed ones with the sign bit flipped, texts end with two zero bytes (a zero byte
//! inside is followed by 0xFF). `FORMAT.md` draws them.

use crate::model::{MetricNo, Sequence, SeriesId, TenantId};
use crate::record::RecordKind;

/// A column family of RocksDB.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Family {
    /// Facts about the store itself, and tenants.
    Meta,
    /// Series and metrics.
    Series,
    /// Posting lists.
    Posting,
    /// Series that may have samples on a day.
    Activity,
    /// The log.
    Wal,
    /// Which segment files are part of the store.
    Manifest,
    /// Records of the layers above.
    Record,
}

impl Family {
    pub(crate) const ALL: [Family; 7] = [
        Family::Meta,
        Family::Series,
        Family::Posting,
        Family::Activity,
        Family::Wal,
        Family::Manifest,
        Family::Record,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Family::Meta => "default",
            Family::Series => "series",
            Family::Posting => "posting",
            Family::Activity => "activity",
            Family::Wal => "wal",
            Family::Manifest => "manifest",
            Family::Record => "record",
        }
    }
}

/// A fact about the store itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Fact {
    /// Version of the format, u32.
    FormatVersion = 1,
    /// Seed of the series hash, u64.
    HashSeed = 2,
    /// Everything up to this sequence is in segments and gone from the log; u64.
    TrimmedTo = 3,
    /// Next number of a segment file, u64.
    NextSegment = 4,
    /// No batch that is written later arrives earlier than this; i64.
    LastArrival = 5,
}

/// Which part of a series key a posting list is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum PostingKind {
    /// Metric name; the name part of the key is empty.
    Metric = 1,
    /// A dimension.
    Dimension = 2,
}

/// A key of the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key<'a> {
    /// A fact about the store.
    Fact(Fact),
    /// A tenant's name.
    Tenant(TenantId),
    /// Metric number and canonical key of a series.
    Series(TenantId, SeriesId),
    /// Ids of the series whose canonical key has this hash.
    SeriesHash(TenantId, u128),
    /// A metric's name.
    Metric(TenantId, MetricNo),
    /// Ids of the series that carry a value.
    Posting(TenantId, PostingKind, &'a str, &'a str),
    /// Ids of the series that may have samples on a day (days since the epoch).
    Activity(TenantId, i32),
    /// A joint batch, by the sequence of its first request.
    Wal(Sequence),
    /// A segment: retention class, partition (days since the epoch), number of its file.
    Segment(u8, i32, u64),
    /// A record of the layers above.
    Record(TenantId, RecordKind, &'a [u8]),
}

const META_FACT: u8 = 1;
const META_TENANT: u8 = 2;
const SERIES_BY_ID: u8 = 1;
const SERIES_BY_HASH: u8 = 2;
const SERIES_METRIC: u8 = 3;

impl Key<'_> {
    pub(crate) const fn family(&self) -> Family {
        match self {
            Key::Fact(_) | Key::Tenant(_) => Family::Meta,
            Key::Series(..) | Key::SeriesHash(..) | Key::Metric(..) => Family::Series,
            Key::Posting(..) => Family::Posting,
            Key::Activity(..) => Family::Activity,
            Key::Wal(_) => Family::Wal,
            Key::Segment(..) => Family::Manifest,
            Key::Record(..) => Family::Record,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        match *self {
            Key::Fact(fact) => out.extend_from_slice(&[META_FACT, fact as u8]),
            Key::Tenant(tenant) => {
                out.push(META_TENANT);
                put_u32(&mut out, tenant.number());
            }
            Key::Series(tenant, series) => {
                out.push(SERIES_BY_ID);
                put_u32(&mut out, tenant.number());
                put_u32(&mut out, series.number());
            }
            Key::SeriesHash(tenant, hash) => {
                out.push(SERIES_BY_HASH);
                put_u32(&mut out, tenant.number());
                out.extend_from_slice(&hash.to_be_bytes());
            }
            Key::Metric(tenant, metric) => {
                out.push(SERIES_METRIC);
                put_u32(&mut out, tenant.number());
                put_u32(&mut out, metric.number());
            }
            Key::Posting(tenant, kind, name, value) => {
                out = posting_prefix(tenant, kind, Some(name));
                out.extend_from_slice(value.as_bytes());
            }
            Key::Activity(tenant, day) => {
                put_u32(&mut out, tenant.number());
                put_i32(&mut out, day);
            }
            Key::Wal(sequence) => out.extend_from_slice(&sequence.number().to_be_bytes()),
            Key::Segment(class, partition, number) => {
                out.push(class);
                put_i32(&mut out, partition);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Key::Record(tenant, kind, id) => {
                out = record_prefix(tenant, kind);
                out.extend_from_slice(id);
            }
        }
        out
    }
}

/// What all posting keys of a tenant and kind (and, if given, of one name) begin with.
pub(crate) fn posting_prefix(tenant: TenantId, kind: PostingKind, name: Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    put_u32(&mut out, tenant.number());
    out.push(kind as u8);
    if let Some(name) = name {
        put_text(&mut out, name);
    }
    out
}

/// What all record keys of a tenant and kind begin with.
pub(crate) fn record_prefix(tenant: TenantId, kind: RecordKind) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    put_u32(&mut out, tenant.number());
    out.push(kind as u8);
    out
}

/// What all keys of metrics begin with.
pub(crate) const METRIC_PREFIX: [u8; 1] = [SERIES_METRIC];
/// What all keys of tenants begin with.
pub(crate) const TENANT_PREFIX: [u8; 1] = [META_TENANT];

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
    let (&class, rest) = key.split_first()?;
    let (partition, rest) = take_u32(rest)?;
    let number = u64::from_be_bytes(rest.try_into().ok()?);
    Some((class, unflip(partition), number))
}

/// Reads a log key.
pub(crate) fn decode_wal(key: &[u8]) -> Option<Sequence> {
    Some(Sequence::new(u64::from_be_bytes(key.try_into().ok()?)))
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn put_i32(out: &mut Vec<u8>, number: i32) {
    put_u32(out, number.cast_unsigned() ^ (1 << 31));
}

fn unflip(bits: u32) -> i32 {
    (bits ^ (1 << 31)).cast_signed()
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    for &byte in text.as_bytes() {
        out.push(byte);
        if byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*number), rest))
}

fn take_text(bytes: &[u8]) -> Option<(String, &[u8])> {
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
            return Some((String::from_utf8(text).ok()?, rest));
        }
        text.push(0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_sort_as_their_fields_do() {
        let t = TenantId::new(7);
        let ascending = [
            Key::Activity(t, -3).encode(),
            Key::Activity(t, 0).encode(),
            Key::Activity(t, 20_000).encode(),
        ];
        assert!(ascending.is_sorted());
        let posting = |name, value| Key::Posting(t, PostingKind::Dimension, name, value).encode();
        let ascending =
            [posting("a", "z"), posting("a\0", "a"), posting("ab", ""), posting("b", "")];
        assert!(ascending.is_sorted());
    }

    proptest! {
        #[test]
        fn posting_keys_round_trip(name in ".{0,20}", value in ".{0,20}") {
            let key = Key::Posting(TenantId::new(1), PostingKind::Dimension, &name, &value).encode();
            prop_assert_eq!(decode_posting(&key), Some((name, value)));
        }
    }

    #[test]
    fn segment_keys_round_trip() {
        for (class, partition, number) in [(0, -1, 5), (3, 20_412, u64::MAX)] {
            let key = Key::Segment(class, partition, number).encode();
            assert_eq!(decode_segment(&key), Some((class, partition, number)));
        }
    }
}

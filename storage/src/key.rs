//! Every key this store writes, as one enum. The encoding sorts as the enum's fields do: numbers are
//! big-endian, signed ones with the sign bit flipped, texts end with two zero bytes (a zero byte
//! inside is followed by 0xFF). `FORMAT.md` draws them.

use crate::journal::JournalKind;
use crate::model::{MetricNo, Moment, Sequence, SeriesId, TenantId};
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
    /// Events and alarm history.
    Journal,
}

impl Family {
    pub(crate) const ALL: [Family; 8] = [
        Family::Meta,
        Family::Series,
        Family::Posting,
        Family::Activity,
        Family::Wal,
        Family::Manifest,
        Family::Record,
        Family::Journal,
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
            Family::Journal => "journal",
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
    /// A dimension's name, whatever the value; the name part of the key is empty and the dimension's
    /// name stands where a value does.
    Name = 3,
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
    /// How many series ids of a tenant have been given, once some have been taken back.
    SeriesCount(TenantId),
    /// How many series ids of a tenant had been given before the first one of an hour (hours since the
    /// epoch).
    SeriesHour(TenantId, i32),
    /// Ids of the series that carry a value.
    Posting(TenantId, PostingKind, &'a str, &'a str),
    /// Ids of the series that may have samples on a day (days since the epoch).
    Activity(TenantId, i32),
    /// A joint batch, by the sequence of its first request.
    Wal(Sequence),
    /// Retention policies.
    Policies,
    /// What of a tenant had expired when policies last changed.
    Floors(TenantId),
    /// What a deletion hides, by its number.
    Tombstone(u64),
    /// What became of a deletion, by its number.
    Deletion(u64),
    /// A segment: retention class, partition (days since the epoch), number of its file.
    Segment(u8, i32, u64),
    /// A record of the layers above.
    Record(TenantId, RecordKind, &'a [u8]),
    /// An entry of a journal, by time and id.
    JournalEntry(TenantId, JournalKind, Moment, &'a [u8]),
    /// That an entry carries a term: the terms' partition, the term, time and id of the entry.
    JournalTerm(TenantId, JournalKind, i32, &'a [u8], Moment, &'a [u8]),
    /// The time of the entry with an id: the ids' partition, the id.
    JournalId(TenantId, JournalKind, i32, &'a [u8]),
    /// A word that entries of a terms' partition have in common.
    JournalWord(TenantId, JournalKind, i32, &'a [u8]),
}

const META_FACT: u8 = 1;
const META_TENANT: u8 = 2;
const META_POLICIES: u8 = 3;
const META_FLOORS: u8 = 4;
const META_TOMBSTONE: u8 = 5;
const META_DELETION: u8 = 6;
const SERIES_BY_ID: u8 = 1;
const SERIES_BY_HASH: u8 = 2;
const SERIES_METRIC: u8 = 3;
const SERIES_COUNT: u8 = 4;
const SERIES_HOUR: u8 = 5;

impl Key<'_> {
    pub(crate) const fn family(&self) -> Family {
        match self {
            Key::Fact(_)
            | Key::Tenant(_)
            | Key::Policies
            | Key::Floors(_)
            | Key::Tombstone(_)
            | Key::Deletion(_) => Family::Meta,
            Key::Series(..)
            | Key::SeriesHash(..)
            | Key::Metric(..)
            | Key::SeriesCount(_)
            | Key::SeriesHour(..) => Family::Series,
            Key::Posting(..) => Family::Posting,
            Key::Activity(..) => Family::Activity,
            Key::Wal(_) => Family::Wal,
            Key::Segment(..) => Family::Manifest,
            Key::Record(..) => Family::Record,
            Key::JournalEntry(..)
            | Key::JournalTerm(..)
            | Key::JournalId(..)
            | Key::JournalWord(..) => Family::Journal,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        self.encode_to(&mut out);
        out
    }

    /// Appends the encoded key.
    pub(crate) fn encode_to(&self, out: &mut Vec<u8>) {
        match *self {
            Key::Fact(fact) => out.extend_from_slice(&[META_FACT, fact as u8]),
            Key::Tenant(tenant) => {
                out.push(META_TENANT);
                put_u32(out, tenant.number());
            }
            Key::Policies => out.push(META_POLICIES),
            Key::Floors(tenant) => {
                out.push(META_FLOORS);
                put_u32(out, tenant.number());
            }
            Key::Tombstone(number) => {
                out.push(META_TOMBSTONE);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Key::Deletion(number) => {
                out.push(META_DELETION);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Key::Series(tenant, series) => {
                out.push(SERIES_BY_ID);
                put_u32(out, tenant.number());
                put_u32(out, series.number());
            }
            Key::SeriesHash(tenant, hash) => {
                out.push(SERIES_BY_HASH);
                put_u32(out, tenant.number());
                out.extend_from_slice(&hash.to_be_bytes());
            }
            Key::Metric(tenant, metric) => {
                out.push(SERIES_METRIC);
                put_u32(out, tenant.number());
                put_u32(out, metric.number());
            }
            Key::SeriesCount(tenant) => {
                out.push(SERIES_COUNT);
                put_u32(out, tenant.number());
            }
            Key::SeriesHour(tenant, hour) => {
                out.push(SERIES_HOUR);
                put_u32(out, tenant.number());
                put_i32(out, hour);
            }
            Key::Posting(tenant, kind, name, value) => {
                put_posting_prefix(out, tenant, kind, Some(name));
                out.extend_from_slice(value.as_bytes());
            }
            Key::Activity(tenant, day) => {
                put_u32(out, tenant.number());
                put_i32(out, day);
            }
            Key::Wal(sequence) => out.extend_from_slice(&sequence.number().to_be_bytes()),
            Key::Segment(class, partition, number) => {
                out.push(class);
                put_i32(out, partition);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Key::Record(tenant, kind, id) => {
                out.extend_from_slice(&record_prefix(tenant, kind));
                out.extend_from_slice(id);
            }
            Key::JournalEntry(tenant, kind, time, id) => {
                out.extend_from_slice(&journal_prefix(tenant, kind, JournalPart::Entry));
                put_place(out, time, id);
            }
            Key::JournalTerm(tenant, kind, partition, term, time, id) => {
                out.extend_from_slice(&journal_term_prefix(tenant, kind, partition, term));
                put_place(out, time, id);
            }
            Key::JournalId(tenant, kind, partition, id) => {
                out.extend_from_slice(&journal_prefix(tenant, kind, JournalPart::Id));
                put_i32(out, partition);
                out.extend_from_slice(id);
            }
            Key::JournalWord(tenant, kind, partition, word) => {
                out.extend_from_slice(&journal_prefix(tenant, kind, JournalPart::Word));
                put_i32(out, partition);
                out.extend_from_slice(word);
            }
        }
    }
}

/// What all posting keys of a tenant and kind (and, if given, of one name) begin with.
pub(crate) fn posting_prefix(tenant: TenantId, kind: PostingKind, name: Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    put_posting_prefix(&mut out, tenant, kind, name);
    out
}

fn put_posting_prefix(out: &mut Vec<u8>, tenant: TenantId, kind: PostingKind, name: Option<&str>) {
    put_u32(out, tenant.number());
    out.push(kind as u8);
    if let Some(name) = name {
        put_text(out, name);
    }
}

/// What all record keys of a tenant and kind begin with.
pub(crate) fn record_prefix(tenant: TenantId, kind: RecordKind) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    put_u32(&mut out, tenant.number());
    out.push(kind as u8);
    out
}

/// What a key of a journal is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum JournalPart {
    /// An entry.
    Entry = 1,
    /// A term of an entry.
    Term = 2,
    /// An id of an entry.
    Id = 3,
    /// A word of a partition.
    Word = 4,
}

/// What all keys of one part of a journal begin with.
pub(crate) fn journal_prefix(tenant: TenantId, kind: JournalKind, part: JournalPart) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    put_u32(&mut out, tenant.number());
    out.extend_from_slice(&[kind as u8, part as u8]);
    out
}

/// What all keys of one term in one partition begin with.
pub(crate) fn journal_term_prefix(
    tenant: TenantId,
    kind: JournalKind,
    partition: i32,
    term: &[u8],
) -> Vec<u8> {
    let mut out = journal_prefix(tenant, kind, JournalPart::Term);
    put_i32(&mut out, partition);
    put_bytes(&mut out, term);
    out
}

/// What the keys of one partition begin with, under a journal's prefix.
pub(crate) fn with_partition(prefix: &[u8], partition: i32) -> Vec<u8> {
    let mut out = prefix.to_vec();
    put_i32(&mut out, partition);
    out
}

/// Bytes as they stand in keys, with their end.
pub(crate) fn whole_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 2);
    put_bytes(&mut out, bytes);
    out
}

/// What bytes that begin with `bytes` begin with in keys.
pub(crate) fn bytes_prefix(bytes: &[u8]) -> Vec<u8> {
    let mut out = whole_bytes(bytes);
    out.truncate(out.len().saturating_sub(2));
    out
}

/// Reads the partition that follows a journal's prefix, and what is behind it.
pub(crate) fn decode_partition(key: &[u8]) -> Option<(i32, &[u8])> {
    let (partition, rest) = take_u32(key.get(JOURNAL_PREFIX_LEN..)?)?;
    Some((unflip(partition), rest))
}

/// Bytes of a journal's prefix.
pub(crate) const JOURNAL_PREFIX_LEN: usize = 6;

/// Appends time and id of an entry, as they end keys: they sort by time, then by id.
pub(crate) fn put_place(out: &mut Vec<u8>, time: Moment, id: &[u8]) {
    out.extend_from_slice(&(time.micros() ^ i64::MIN).to_be_bytes());
    out.extend_from_slice(id);
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
    put_bytes(out, text.as_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
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
        let at = Moment::from_micros;
        let term = |partition, term, time, id| {
            Key::JournalTerm(t, JournalKind::Event, partition, term, at(time), id).encode()
        };
        let ascending = [
            Key::JournalEntry(t, JournalKind::Event, at(-1), b"z").encode(),
            Key::JournalEntry(t, JournalKind::Event, at(0), b"").encode(),
            Key::JournalEntry(t, JournalKind::Event, at(0), b"a").encode(),
            Key::JournalEntry(t, JournalKind::Event, at(256), b"a").encode(),
            term(-1, b"z", 0, b"z"),
            term(0, b"a", 9, b"z"),
            term(0, b"a\0", 1, b"a"),
            term(0, b"ab", 1, b"a"),
            Key::JournalId(t, JournalKind::Event, 0, b"a").encode(),
            Key::JournalWord(t, JournalKind::Event, 0, b"a").encode(),
            Key::JournalEntry(t, JournalKind::Transition, at(-1), b"z").encode(),
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

//! Every key this store writes, as one enum. The encoding sorts as the enum's fields do: numbers are
//! big-endian, signed ones with the sign bit flipped, texts end with two zero bytes (a zero byte
//! inside is followed by 0xFF). `FORMAT.md` draws them.

mod decode;

pub(crate) use decode::*;

use crate::journal::JournalKind;
use crate::model::{MetricNo, Moment, Sequence, SeriesId, TenantId};
use crate::record::RecordKind;

/// A column family of RocksDB.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Family {
    /// Facts about the store itself, tenants, and what is remembered of retention, deletions and rollups.
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
    /// The greatest number of a tenant that was removed, u64.
    RemovedTenant = 6,
    /// The instant that counts as passed, by which samples are removed, i64.
    Passed = 7,
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
    /// What a rollup was made of: tier, day (days since the epoch).
    Rollup(u8, i32),
    /// A segment: tier, partition (days since the epoch), number of its file.
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
    /// Before which time entries of a journal have been removed.
    JournalHorizon(TenantId, JournalKind),
}

const META_FACT: u8 = 1;
const META_TENANT: u8 = 2;
const META_POLICIES: u8 = 3;
const META_FLOORS: u8 = 4;
const META_TOMBSTONE: u8 = 5;
const META_DELETION: u8 = 6;
const META_ROLLUP: u8 = 7;
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
            | Key::Deletion(_)
            | Key::Rollup(..) => Family::Meta,
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
            | Key::JournalWord(..)
            | Key::JournalHorizon(..) => Family::Journal,
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
            Key::Rollup(tier, day) => {
                out.extend_from_slice(&[META_ROLLUP, tier]);
                put_i32(out, day);
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
            Key::Segment(tier, partition, number) => {
                out.push(tier);
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
            Key::JournalHorizon(tenant, kind) => {
                out.extend_from_slice(&journal_prefix(tenant, kind, JournalPart::Horizon));
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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
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
    /// Before which time entries have been removed.
    Horizon = 5,
}

impl JournalPart {
    pub(crate) const ALL: [JournalPart; 5] = [
        JournalPart::Entry,
        JournalPart::Term,
        JournalPart::Id,
        JournalPart::Word,
        JournalPart::Horizon,
    ];
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

/// Bytes of a journal's prefix.
pub(crate) const JOURNAL_PREFIX_LEN: usize = 6;

/// Appends time and id of an entry, as they end keys: they sort by time, then by id.
pub(crate) fn put_place(out: &mut Vec<u8>, time: Moment, id: &[u8]) {
    out.extend_from_slice(&(time.micros() ^ i64::MIN).to_be_bytes());
    out.extend_from_slice(id);
}

/// Where the keys of a tenant lie: from, and up to but without.
pub(crate) fn ranges_of(tenant: TenantId) -> Vec<(Family, Vec<u8>, Vec<u8>)> {
    let span = |prefix: &[u8]| {
        let [from, to] = [tenant.number(), tenant.number().saturating_add(1)].map(|number| {
            let mut key = prefix.to_vec();
            put_u32(&mut key, number);
            key
        });
        (from, to)
    };
    let of_series = [SERIES_BY_ID, SERIES_BY_HASH, SERIES_METRIC, SERIES_COUNT, SERIES_HOUR];
    let of_series = of_series.map(|kind| (Family::Series, vec![kind]));
    let whole = [Family::Posting, Family::Activity, Family::Record, Family::Journal];
    let of_meta = [META_TENANT, META_FLOORS].map(|kind| (Family::Meta, vec![kind]));
    let all = of_series.into_iter().chain(whole.map(|family| (family, Vec::new()))).chain(of_meta);
    all.map(|(family, prefix)| {
        let (from, to) = span(&prefix);
        (family, from, to)
    })
    .collect()
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn put_i32(out: &mut Vec<u8>, number: i32) {
    put_u32(out, number.cast_unsigned() ^ (1 << 31));
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

#[cfg(test)]
mod tests;

//! Figures for an operator that need more than a look at what is in memory, or say more than a number.

use crate::error::Error;
use crate::journal::JournalKind;
use crate::key::{Family, JournalPart, journal_prefix};
use crate::kv::Kv;
use crate::model::{TenantId, Timestamp};
use crate::retention::RollupStep;
use crate::store::Store;

/// Entries of journals of one kind that are counted one by one.
const COUNTED_MAX: u64 = 10_000;

/// What the journals of one kind hold, all tenants together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Entries, those included that are over and not removed yet. Exact up to ten thousand; beyond,
    /// concluded from the bytes of table files, which leaves out what is not in one yet.
    pub entries: u64,
    /// Bytes of table files that entries and what they are found by take, about.
    pub bytes: u64,
}

/// What the rollups of one step hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RollupStats {
    /// Segment files.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// A clock that has leapt: by more than a day, ahead or back. Until it has run on for an hour, or an
/// operator asks for a sweep, nothing is removed that it says has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockDoubt {
    /// What it shows.
    pub clock: Timestamp,
    /// The instant that removal goes by.
    pub passed: Timestamp,
}

impl Store {
    /// What journals of a kind hold. Reads some thousand entries.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read.
    pub fn journal_stats(&self, kind: JournalKind) -> Result<JournalStats, Error> {
        let mut count = Count::default();
        for tenant in self.tenants() {
            count.add(&self.shared().kv, tenant, kind)?;
        }
        Ok(count.ended())
    }

    /// What rollups hold, by step.
    #[must_use]
    pub fn rollup_stats(&self) -> [(RollupStep, RollupStats); RollupStep::ALL.len()] {
        let rollups = self.shared().live.moment().rollups;
        RollupStep::ALL.map(|step| {
            let own = || rollups.iter().filter(|segment| segment.address.tier == step.tier());
            let segments = u64::try_from(own().count()).unwrap_or(u64::MAX);
            (step, RollupStats { segments, bytes: own().map(|segment| segment.facts.bytes).sum() })
        })
    }

    /// Whether the clock cannot be right, or could not be before.
    #[must_use]
    pub fn clock_doubt(&self) -> Option<ClockDoubt> {
        let clock = self.shared().clock.now();
        let passed = self.shared().retention.doubted(clock)?;
        Some(ClockDoubt { clock, passed })
    }
}

/// A count of entries that is still going on.
#[derive(Default)]
struct Count {
    counted: u64,
    /// Bytes of table files of the entries counted.
    counted_bytes: u64,
    /// The same of those that are not.
    rest_bytes: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, kv: &Kv, tenant: TenantId, kind: JournalKind) -> Result<(), Error> {
        let bytes = |from: &[u8], to: &[u8]| kv.table_bytes(Family::Journal, from, to);
        let entries = journal_prefix(tenant, kind, JournalPart::Entry);
        // The parts have the numbers that follow, and nothing else has.
        let behind_entries = journal_prefix(tenant, kind, JournalPart::Term);
        let mut behind_all = journal_prefix(tenant, kind, JournalPart::Word);
        behind_all.push(u8::MAX);
        self.bytes += bytes(&entries, &behind_all);
        let mut cursor = kv.cursor(Family::Journal, &entries);
        let mut reached = behind_entries.clone();
        while let Some((key, _)) = cursor.entry()?.filter(|(key, _)| key.starts_with(&entries)) {
            if self.counted >= COUNTED_MAX {
                reached = key.to_vec();
                break;
            }
            self.counted += 1;
            cursor.next();
        }
        self.counted_bytes += bytes(&entries, &reached);
        self.rest_bytes += bytes(&reached, &behind_entries);
        Ok(())
    }

    fn ended(self) -> JournalStats {
        let (counted, rest) = (u128::from(self.counted), u128::from(self.rest_bytes));
        let uncounted = (counted * rest).checked_div(u128::from(self.counted_bytes)).unwrap_or(0);
        let uncounted = u64::try_from(uncounted).unwrap_or(u64::MAX);
        JournalStats { entries: self.counted.saturating_add(uncounted), bytes: self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::StoreConfig;
    use crate::journal::{Entry, Term};
    use crate::model::Moment;
    use crate::record::RecordBatch;
    use crate::scratch::Scratch;

    const NOW: i64 = 1_795_166_640_000;
    const DAY: i64 = 86_400_000;

    fn append(store: &Store, tenant: &str, from: u64, count: u64) {
        let tenant = store.tenant(tenant).unwrap();
        let mut batch = RecordBatch::new();
        for n in from..from + count {
            let entry = Entry {
                time: Moment::from(Timestamp::from_millis(NOW - 1)),
                id: n.to_be_bytes().to_vec(),
                terms: vec![Term { term: vec![1], note: Vec::new() }],
                words: Vec::new(),
                value: format!("entry {}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).into_bytes(),
            };
            batch.append(tenant, JournalKind::Transition, entry).unwrap();
        }
        store.records().commit(batch).unwrap();
    }

    #[test]
    fn journals_are_counted_and_then_estimated() {
        let scratch = Scratch::new();
        let (store, _clock) = scratch.store(StoreConfig::default(), NOW);
        let stats = || store.journal_stats(JournalKind::Transition).unwrap();
        assert_eq!(stats(), JournalStats::default());
        append(&store, "a", 0, 700);
        append(&store, "b", 0, 300);
        assert_eq!(stats().entries, 1000);
        assert_eq!(store.journal_stats(JournalKind::Event).unwrap(), JournalStats::default());
        append(&store, "a", 700, 20_000);
        append(&store, "b", 300, 9_000);
        store.shared().kv.flush_all().unwrap();
        let found = stats();
        assert!((27_000..33_000).contains(&found.entries), "{found:?}");
        // Each has some twenty bytes that do not shrink.
        assert!(found.bytes > 600_000, "{found:?}");
    }

    #[test]
    fn a_clock_is_doubted_beyond_a_day() {
        let scratch = Scratch::new();
        let (store, clock) = scratch.store(StoreConfig::default(), NOW);
        let check = |now: i64, doubted: bool| {
            clock.set(Timestamp::from_millis(now));
            let passed = Timestamp::from_millis(NOW);
            let want = doubted.then_some(ClockDoubt { clock: clock.now(), passed });
            assert_eq!(store.clock_doubt(), want);
        };
        check(NOW, false);
        check(NOW - DAY, false);
        check(NOW - DAY - 1, true);
        check(NOW + DAY + 1, true);
        check(0, true);
        store.sweep().unwrap();
        assert_eq!(store.clock_doubt(), None);
    }

    /// One that had nothing to write for days, and looked at its clock now and then.
    #[test]
    fn a_store_that_was_idle_trusts_its_clock_after_a_restart() {
        let scratch = Scratch::new();
        let (store, clock) = scratch.store(StoreConfig::default(), NOW);
        // From here on there is a time that has passed.
        store.set_retention(store.retention()).unwrap();
        let mut now = NOW;
        for _ in 0..4 {
            now += DAY;
            clock.set(Timestamp::from_millis(now));
            drop(store.view(store.tenant("t").unwrap()));
        }
        store.close().unwrap();
        drop(store);
        let (store, _clock) = scratch.store(StoreConfig::default(), now + DAY);
        assert_eq!(store.clock_doubt(), None);
    }
}

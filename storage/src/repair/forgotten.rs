//! What was deleted stays deleted, also in segments that a repair writes or lists again, and a tenant
//! that was removed stays removed.

use super::Mending;
use crate::deletion::{self, Tombstone};
use crate::error::Error;
use crate::key::{Fact, Family, Key};
use crate::kv::Batch;
use crate::model::{Sequence, TenantId};
use crate::offline::{self, Offline};
use crate::verify::{self, Affected, Examination, Part, Removed};

impl Mending<'_> {
    /// Removes entries about retention and deletion that do not decode, each alone.
    pub(super) fn memories(&mut self, examination: &Examination) -> Result<(), Error> {
        let mut batch = Batch::default();
        for bad in &examination.bad_memories {
            self.step(format!("remove an entry that does not decode: {}", bad.place));
            batch.delete_raw(Family::Meta, bad.key.clone());
            if !bad.lost.is_empty() {
                self.lost.add(bad.part, bad.place.clone(), bad.lost, Affected::default());
            }
        }
        self.commit(batch)
    }

    /// Says what a RocksDB does not know any more that was begun anew.
    pub(super) fn all_forgotten(&self) {
        let place = offline::database(self.directory).display().to_string();
        let lost = |part, what| self.lost.add(part, place.clone(), what, Affected::default());
        lost(
            Part::Retention,
            "policies, and what had expired by earlier ones: samples are kept for ever until \
             policies are set again, and those that are still in segments are seen again",
        );
        lost(
            Part::Deletion,
            "deletions and their records: deleted samples that are still in segments are seen again",
        );
    }

    /// Removes tenants again of which only the list beside RocksDB still says that they were removed.
    pub(super) fn removed_tenants(&mut self, examination: &Examination) -> Result<(), Error> {
        let Some(kv) = self.kv.clone() else { return Ok(()) };
        self.removed = Removed::read(Some(&kv), self.directory)?;
        let doubtful = examination.database_damaged || !examination.bad_memories.is_empty();
        if !doubtful || !self.applies() {
            return Ok(());
        }
        let hidden: Vec<TenantId> = verify::tombstones(&kv)?
            .iter()
            .filter(|tombstone| tombstone.series.is_empty())
            .map(|tombstone| tombstone.tenant)
            .collect();
        let again: Vec<TenantId> =
            self.removed.known().filter(|tenant| !hidden.contains(tenant)).collect();
        let greatest = self.removed.known().map(|tenant| u64::from(tenant.number())).max();
        let mut batch = Batch::default();
        deletion::remove_again(&kv, &again, newest(&kv)?, &mut batch)?;
        if let Some(greatest) = greatest
            && Offline::fact(&kv, Fact::RemovedTenant).unwrap_or(0) < greatest
        {
            batch.put(&Key::Fact(Fact::RemovedTenant), greatest.to_le_bytes().to_vec());
        }
        if !again.is_empty() {
            self.step(format!("remove {} tenants again that had been removed", again.len()));
        }
        self.commit(batch)
    }

    /// The tombstones in force.
    pub(super) fn tombstones(&self) -> Result<Vec<Tombstone>, Error> {
        self.kv.as_ref().map_or(Ok(Vec::new()), verify::tombstones)
    }

    /// Has every tombstone look at all segments again: what is written or listed in a repair has a new
    /// number, or one that was given before the tombstone came, and may hold what it hides.
    pub(super) fn reopen_tombstones(&self, batch: &mut Batch) -> Result<(), Error> {
        for mut tombstone in self.tombstones()? {
            if tombstone.clean_from != u64::MAX {
                tombstone.clean_from = u64::MAX;
                batch.put(&Key::Tombstone(tombstone.number), tombstone.encode());
            }
        }
        Ok(())
    }
}

/// The newest sequence there is, in segments or in the log.
fn newest(kv: &crate::kv::Kv) -> Result<Sequence, Error> {
    let trimmed = Offline::fact(kv, Fact::TrimmedTo).unwrap_or(0);
    let last = kv.key_at_or_before(&Key::Wal(Sequence::new(u64::MAX)))?;
    let Some(first) = last.and_then(|key| crate::key::decode_wal(&key)) else {
        return Ok(Sequence::new(trimmed));
    };
    let record = kv.get(&Key::Wal(first))?.unwrap_or_default();
    let last = crate::batch::Batch::decode(first, &record).map_or(first, |b| b.last_sequence());
    Ok(last.max(Sequence::new(trimmed)))
}

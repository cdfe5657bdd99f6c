//! Small records of the layers above: definitions, alarms, outbox, settings.
//!
//! A record is bytes under (tenant, kind, id). Its meaning belongs to the layer that writes it; by
//! convention the first byte is the version of its encoding. A [`RecordBatch`] is atomic and durable
//! when [`Records::commit`] returns. Entries of [journals](crate::journal) may be part of it.

use std::sync::Arc;

use crate::error::Error;
use crate::journal::{Appended, Entry, JournalKind, Journaled, admit};
use crate::key::{self, Family, Key};
use crate::kv::{Batch, Sync};
use crate::model::TenantId;
use crate::threads::Shared;

/// What a record is. The numbers stand in keys and are never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum RecordKind {
    /// An alarm definition.
    Definition = 1,
    /// An alarm or a candidate with its evaluation state.
    Alarm = 2,
    /// A series attached to an alarm.
    AlarmSeries = 3,
    /// A notification method.
    NotificationMethod = 5,
    /// A notification that is still to be delivered.
    Outbox = 6,
    /// What became of a notification.
    Delivery = 7,
    /// Where a consumer of the feed goes on after a restart.
    Checkpoint = 8,
    /// A sample that lies too far ahead of the clock to be judged yet.
    HeldBack = 9,
    /// A setting changed at run time.
    Setting = 10,
}

/// Id and value of a record.
pub type Record = (Vec<u8>, Vec<u8>);

/// A change: owner, kind, id, and the new value or `None` to remove the record.
type Change = (TenantId, RecordKind, Vec<u8>, Option<Vec<u8>>);

/// Changes that become durable together or not at all.
#[derive(Default)]
pub struct RecordBatch {
    pub(crate) changes: Vec<Change>,
    pub(crate) entries: Vec<Journaled>,
}

impl RecordBatch {
    /// No changes yet.
    #[must_use]
    pub fn new() -> Self {
        RecordBatch::default()
    }

    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.entries.is_empty()
    }

    /// Appends an entry to a journal. An event that is stored already is left out when the batch
    /// commits, and so is one that is too old for its journal or too far ahead of the clock.
    ///
    /// # Errors
    /// `Limit` if a part of the entry is too long, `Invalid` if its id or a term is empty.
    pub fn append(
        &mut self,
        tenant: TenantId,
        kind: JournalKind,
        entry: Entry,
    ) -> Result<(), Error> {
        entry.check()?;
        self.entries.push((tenant, kind, entry));
        Ok(())
    }

    /// Stores a record, replacing an older one with the same id.
    pub fn put(&mut self, tenant: TenantId, kind: RecordKind, id: &[u8], value: Vec<u8>) {
        self.changes.push((tenant, kind, id.to_vec(), Some(value)));
    }

    /// Removes a record, if there is one.
    pub fn delete(&mut self, tenant: TenantId, kind: RecordKind, id: &[u8]) {
        self.changes.push((tenant, kind, id.to_vec(), None));
    }
}

/// Access to the records of a store. Cheap to clone; usable from every thread.
#[derive(Clone)]
pub struct Records {
    shared: Arc<Shared>,
}

impl Records {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Records { shared }
    }

    /// The record with this id.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read.
    pub fn get(
        &self,
        tenant: TenantId,
        kind: RecordKind,
        id: &[u8],
    ) -> Result<Option<Vec<u8>>, Error> {
        self.shared.kv.get(&Key::Record(tenant, kind, id))
    }

    /// Up to `limit` records whose id starts with `prefix` and is greater than `after`, as
    /// (id, value), in byte order of the ids.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read.
    pub fn scan(
        &self,
        tenant: TenantId,
        kind: RecordKind,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Record>, Error> {
        let base = key::record_prefix(tenant, kind);
        let prefix = [&base, prefix].concat();
        let from = match after {
            // The next greater id is this one with a zero byte behind it.
            Some(after) => [&base, after, &[0]].concat().max(prefix.clone()),
            None => prefix.clone(),
        };
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        self.shared.kv.scan(Family::Record, &prefix, &from, |key, value| {
            let id = key.get(base.len()..).unwrap_or_default();
            found.push((id.to_vec(), value.to_vec()));
            Ok::<_, Error>(found.len() < limit)
        })?;
        Ok(found)
    }

    /// Applies all changes of `batch` atomically; they are synced to disk when this returns.
    ///
    /// # Errors
    /// `Stopped` if the store can no longer write; nothing of the batch is stored then.
    pub fn commit(&self, batch: RecordBatch) -> Result<(), Error> {
        self.commit_counted(batch).map(drop)
    }

    /// [`commit`](Self::commit), and what became of the batch's entries.
    ///
    /// # Errors
    /// As for `commit`, and `ReadOnly` for events while the disk is nearly full.
    pub fn commit_counted(&self, mut batch: RecordBatch) -> Result<Appended, Error> {
        let index = &self.shared.index;
        // What is written of a tenant that was removed meanwhile would belong to nobody.
        let is_owned =
            |tenant: TenantId| tenant == TenantId::SYSTEM || index.tenant_by_id(tenant).is_some();
        batch.changes.retain(|(tenant, ..)| is_owned(*tenant));
        batch.entries.retain(|(tenant, ..)| is_owned(*tenant));
        if batch.is_empty() {
            return Ok(Appended::default());
        }
        let has_events = batch.entries.iter().any(|(_, kind, _)| *kind == JournalKind::Event);
        if let Some(reason) = self.shared.space.reason().filter(|_| has_events) {
            return Err(Error::ReadOnly { reason });
        }
        if let Some(reason) = self.shared.stopped() {
            return Err(Error::Stopped { reason });
        }
        let mut changes = Batch::default();
        for (tenant, kind, id, value) in batch.changes {
            let key = Key::Record(tenant, kind, &id);
            match value {
                Some(value) => changes.put(&key, value),
                None => changes.delete(&key),
            }
        }
        let admitted = admit(&self.shared, batch.entries, &mut changes)?;
        if !changes.is_empty() {
            self.shared.space.spend(changes.bytes());
            self.shared
                .kv
                .commit(changes, Sync::Disk)
                .inspect_err(|error| self.shared.stop(error))?;
        }
        Ok(admitted.committed())
    }
}

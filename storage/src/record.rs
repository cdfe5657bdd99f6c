//! Small records of the layers above: definitions, alarms, history, outbox, settings.
//!
//! A record is bytes under (tenant, kind, id). Its meaning belongs to the layer that writes it; by
//! convention the first byte is the version of its encoding. A [`RecordBatch`] is atomic and durable
//! when [`Records::commit`] returns.

use std::sync::Arc;

use crate::error::Error;
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
    /// A change of an alarm's state.
    Transition = 4,
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
    /// An event.
    Event = 11,
}

/// Id and value of a record.
pub type Record = (Vec<u8>, Vec<u8>);

/// A change: owner, kind, id, and the new value or `None` to remove the record.
type Change = (TenantId, RecordKind, Vec<u8>, Option<Vec<u8>>);

/// Changes that become durable together or not at all.
#[derive(Default)]
pub struct RecordBatch {
    pub(crate) changes: Vec<Change>,
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
        self.changes.is_empty()
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
        if batch.is_empty() {
            return Ok(());
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
        self.shared.kv.commit(changes, Sync::Disk).inspect_err(|error| self.shared.stop(error))
    }
}

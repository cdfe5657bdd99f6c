//! Where records lie: the three calls of the store's records that methods and notifications need.
//!
//! The store is the one implementor of the product; tests put records into a map and look at what
//! was committed.

use moneta_storage::model::TenantId;
use moneta_storage::record::{RecordBatch, RecordKind, Records};

use crate::error::Error;

/// Id and value of a record.
pub(crate) type Record = (Vec<u8>, Vec<u8>);

/// One change of a record; a missing value deletes it.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) tenant: TenantId,
    pub(crate) kind: RecordKind,
    pub(crate) id: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

/// Reads and changes records. Calls block, commits for a disk sync.
pub(crate) trait Shelf: Send + Sync + 'static {
    /// The record with this id.
    fn get(&self, tenant: TenantId, kind: RecordKind, id: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// Up to `limit` records with an id greater than `after`, in byte order of the ids.
    fn scan(
        &self,
        tenant: TenantId,
        kind: RecordKind,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Record>, Error>;

    /// Applies all changes or none; they are durable when this returns.
    fn commit(&self, changes: Vec<Change>) -> Result<(), Error>;
}

impl Shelf for Records {
    fn get(&self, tenant: TenantId, kind: RecordKind, id: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(Records::get(self, tenant, kind, id)?)
    }

    fn scan(
        &self,
        tenant: TenantId,
        kind: RecordKind,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Record>, Error> {
        Ok(Records::scan(self, tenant, kind, &[], after, limit)?)
    }

    fn commit(&self, changes: Vec<Change>) -> Result<(), Error> {
        let mut batch = RecordBatch::new();
        for Change { tenant, kind, id, value } in changes {
            match value {
                Some(value) => batch.put(tenant, kind, &id, value),
                None => batch.delete(tenant, kind, &id),
            }
        }
        Ok(Records::commit(self, batch)?)
    }
}

#[cfg(test)]
type Map = std::collections::BTreeMap<(TenantId, RecordKind, Vec<u8>), Vec<u8>>;

/// Records in a map.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct MapShelf {
    records: std::sync::Mutex<Map>,
}

#[cfg(test)]
impl MapShelf {
    /// How many records of a kind there are.
    pub(crate) fn count(&self, tenant: TenantId, kind: RecordKind) -> usize {
        self.scan(tenant, kind, None, usize::MAX).unwrap().len()
    }
}

#[cfg(test)]
impl Shelf for MapShelf {
    fn get(&self, tenant: TenantId, kind: RecordKind, id: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.records.lock().unwrap().get(&(tenant, kind, id.to_vec())).cloned())
    }

    fn scan(
        &self,
        tenant: TenantId,
        kind: RecordKind,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Record>, Error> {
        let records = self.records.lock().unwrap();
        let from = (tenant, kind, after.unwrap_or_default().to_vec());
        let found = records
            .range(from..)
            .take_while(|((t, k, _), _)| *t == tenant && *k == kind)
            .filter(|((_, _, id), _)| after.is_none_or(|after| id.as_slice() > after))
            .take(limit);
        Ok(found.map(|((_, _, id), value)| (id.clone(), value.clone())).collect())
    }

    fn commit(&self, changes: Vec<Change>) -> Result<(), Error> {
        let mut records = self.records.lock().unwrap();
        for Change { tenant, kind, id, value } in changes {
            match value {
                Some(value) => records.insert((tenant, kind, id), value),
                None => records.remove(&(tenant, kind, id)),
            };
        }
        Ok(())
    }
}

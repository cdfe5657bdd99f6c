//! What a repair needs of deletions: whether a record decodes, and the removal of a tenant that RocksDB
//! has forgotten.

use roaring::RoaringBitmap;

use super::{Deletion, DeletionPlan, DeletionState, Tombstone, stored};
use crate::error::Error;
use crate::key::{self, Family, Key};
use crate::kv::{Batch, Kv};
use crate::model::{Sequence, TenantId, TimeRange, Timestamp};

/// Whether a value decodes as the record of a deletion.
pub(crate) fn is_record(number: u64, value: &[u8]) -> bool {
    stored::decode(number, value).is_some()
}

/// Removes `tenants` again with what is stored of them, and hides their rows up to `upto`.
pub(crate) fn remove_again(
    kv: &Kv,
    tenants: &[TenantId],
    upto: Sequence,
    batch: &mut Batch,
) -> Result<(), Error> {
    let mut next = 1;
    for prefix in [key::TOMBSTONE_PREFIX, key::DELETION_PREFIX] {
        kv.scan(Family::Meta, &prefix, &prefix, |key, _| {
            next = next.max(key::decode_numbered(key).unwrap_or(0).saturating_add(1));
            Ok::<_, Error>(true)
        })?;
    }
    for (number, &tenant) in (next..).zip(tenants) {
        batch.delete_tenant(tenant);
        let series = RoaringBitmap::new();
        let (times, clean_from) = (TimeRange::ALL, u64::MAX);
        let tombstone = Tombstone { number, tenant, series, times, upto, clean_from };
        batch.put(&Key::Tombstone(number), tombstone.encode());
        let deletion = Deletion {
            number,
            tenant: format!("tenant {tenant}"),
            what: "the whole tenant, removed before a repair".to_owned(),
            by: "repair".to_owned(),
            times,
            // A repair asks no clock.
            requested: Timestamp::from_millis(0),
            finished: None,
            plan: DeletionPlan::default(),
            state: DeletionState::Hidden,
            segments_left: 0,
        };
        batch.put(&Key::Deletion(number), stored::encode(&deletion));
    }
    Ok(())
}

//! Removing a tenant with everything it has.
//!
//! One batch removes its name, its series, its records, its journals; from then on nobody can ask for
//! it, and a tenant that is created under the same name later is another one. Its samples stay in
//! segments, where nobody can read them, until a tombstone without series has had every segment
//! written again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use roaring::RoaringBitmap;

use super::{Deletion, DeletionPlan, DeletionState, Tombstone, next_number, plan, stored};
use crate::error::Error;
use crate::key::{Fact, Key};
use crate::kv::{Batch, Sync};
use crate::model::{SeriesId, TenantId, TimeRange};
use crate::store::Store;
use crate::threads::Shared;

impl Store {
    /// What a tenant has: its series, and the samples that are stored of them.
    ///
    /// # Errors
    /// `Corrupt` names the file and offset.
    pub fn plan_tenant_removal(&self, tenant: TenantId) -> Result<DeletionPlan, Error> {
        let shared = self.shared();
        let series: Vec<SeriesId> =
            shared.index.all_series(tenant).iter().map(SeriesId::new).collect();
        plan(shared, tenant, &series, TimeRange::ALL)
    }

    /// Removes a tenant: its samples, series, records, events and history. When this returns nothing
    /// of it is to be seen, also after a crash; space comes back in the background. `by` is who asks,
    /// for the record. What the layers above keep in memory of the tenant has to go before.
    ///
    /// # Errors
    /// `Invalid` if there is no such tenant, `Stopped` if the store can no longer write.
    pub fn remove_tenant(&self, tenant: TenantId, by: &str) -> Result<Deletion, Error> {
        let shared = self.shared();
        let _one_at_a_time =
            shared.deleting.lock().expect("no code panics while it begins a deletion");
        let name = self.tenant_name(tenant);
        let name = name.ok_or_else(|| Error::Invalid("there is no such tenant".into()))?;
        let deletion = Deletion {
            number: next_number(shared)?,
            tenant: name.to_string(),
            what: "the whole tenant".into(),
            by: by.chars().take(255).collect(),
            times: TimeRange::ALL,
            requested: shared.clock.now(),
            finished: None,
            plan: self.plan_tenant_removal(tenant)?,
            state: DeletionState::Hidden,
            segments_left: 0,
        };
        let (reply, answer) = mpsc::sync_channel(1);
        let (own, begun) = (shared.clone(), deletion.clone());
        // Between two commits: what was committed before is removed, what comes after is refused.
        shared.queue.call(Box::new(move |_, meter| {
            let removed = remove(&own, tenant, &begun);
            meter.forget(tenant);
            // The one who asked waits.
            let _ = reply.send(removed);
        }));
        let closed = |_| Error::Stopped { reason: "the store is closed".into() };
        let mut tombstone = answer.recv().map_err(closed)??;
        tombstone.clean_from = shared.next_segment.load(Ordering::Acquire);
        let mut batch = Batch::default();
        batch.put(&Key::Tombstone(deletion.number), tombstone.encode());
        shared.kv.commit(batch, Sync::Disk).inspect_err(|error| shared.stop(error))?;
        shared.live.lock().add_tombstone(Arc::new(tombstone));
        if let Err(error) = shared.roster.update(&shared.index) {
            // Derived, and made right at the next start.
            tracing::warn!(%error, "the list of tenants still names one that was removed");
        }
        shared.sweeper.nudge();
        tracing::info!(tenant = %name, by = %deletion.by, "a tenant was removed");
        Ok(deletion)
    }
}

/// On the committer's thread.
fn remove(shared: &Shared, tenant: TenantId, deletion: &Deletion) -> Result<Tombstone, Error> {
    if let Some(reason) = shared.stopped() {
        return Err(Error::Stopped { reason });
    }
    let tombstone = Tombstone {
        number: deletion.number,
        tenant,
        series: RoaringBitmap::new(),
        times: TimeRange::ALL,
        upto: shared.feed.newest(),
        clean_from: u64::MAX,
    };
    let mut batch = Batch::default();
    batch.delete_tenant(tenant);
    let greatest = u64::from(shared.index.removed_upto().max(tenant.number()));
    batch.put(&Key::Fact(Fact::RemovedTenant), greatest.to_le_bytes().to_vec());
    batch.put(&Key::Tombstone(deletion.number), tombstone.encode());
    batch.put(&Key::Deletion(deletion.number), stored::encode(deletion));
    shared.kv.commit(batch, Sync::Disk).inspect_err(|error| shared.stop(error))?;
    shared.index.forget_tenant(tenant);
    shared.retention.forget(tenant);
    shared.live.lock().add_tombstone(Arc::new(tombstone.clone()));
    Ok(tombstone)
}

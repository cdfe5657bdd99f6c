//! Removing a tenant with everything it has.
//!
//! One batch removes its name, its series, its records, its journals; from then on nobody can ask for
//! it, and a tenant that is created under the same name later is another one. Its samples stay in
//! segments, where nobody can read them, until a tombstone without series has had every segment
//! written again.

use roaring::RoaringBitmap;

use super::{
    Deletion, DeletionPlan, DeletionState, Tombstone, between_commits, bound, hide, next_number,
    plan,
};
use crate::error::Error;
use crate::fail_point::{self, Point};
use crate::key::{Fact, Key};
use crate::kv::Batch;
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
        // What was committed before is removed, what comes after is refused.
        let tombstone = between_commits(shared, {
            let (shared, deletion) = (shared.clone(), deletion.clone());
            move |meter| {
                let tombstone = remove(&shared, tenant, &deletion)?;
                meter.forget(tenant);
                Ok(tombstone)
            }
        })?;
        bound(shared, tombstone)?;
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
    let mut batch = Batch::default();
    batch.delete_tenant(tenant);
    let greatest = u64::from(shared.index.removed_upto().max(tenant.number()));
    batch.put(&Key::Fact(Fact::RemovedTenant), greatest.to_le_bytes().to_vec());
    let tombstone = hide(shared, tenant, RoaringBitmap::new(), deletion, batch)?;
    fail_point::pass(Point::TenantRemoved);
    shared.index.forget_tenant(tenant);
    shared.retention.forget(tenant);
    Ok(tombstone)
}

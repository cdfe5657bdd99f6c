//! Notification methods. Stand-in until the real file is merged.

use moneta_storage::model::TenantId;
use moneta_storage::record::Records;

use crate::error::Error;
use crate::model::{MethodKind, NotificationMethod};

/// Notification methods of all tenants.
#[derive(Clone)]
pub(crate) struct Methods {}

impl Methods {
    pub(crate) fn open(records: Records) -> Result<Methods, Error> {
        let _ = records;
        Ok(Methods {})
    }

    pub(crate) fn create(
        &self,
        tenant: TenantId,
        name: &str,
        kind: MethodKind,
        address: &str,
        period: u32,
        valid_periods: &[u32],
    ) -> Result<NotificationMethod, Error> {
        let _ = (tenant, name, kind, address, period, valid_periods);
        unimplemented!()
    }

    pub(crate) fn update(
        &self,
        tenant: TenantId,
        method: NotificationMethod,
        valid_periods: &[u32],
    ) -> Result<NotificationMethod, Error> {
        let _ = (tenant, method, valid_periods);
        unimplemented!()
    }

    pub(crate) fn list(&self, tenant: TenantId) -> Result<Vec<NotificationMethod>, Error> {
        let _ = tenant;
        unimplemented!()
    }

    pub(crate) fn get(
        &self,
        tenant: TenantId,
        id: &str,
    ) -> Result<Option<NotificationMethod>, Error> {
        let _ = (tenant, id);
        unimplemented!()
    }

    pub(crate) fn delete(&self, tenant: TenantId, id: &str) -> Result<(), Error> {
        let _ = (tenant, id);
        unimplemented!()
    }
}

//! The outbox. Stand-in until the real file is merged.

use moneta_storage::model::TenantId;
use moneta_storage::record::RecordBatch;

use crate::error::Error;
use crate::model::Transition;

/// Adds one entry per method to `batch`.
pub(crate) fn enqueue(
    batch: &mut RecordBatch,
    tenant: TenantId,
    transition: &Transition,
    methods: &[String],
) -> Result<(), Error> {
    let _ = (batch, tenant, transition, methods);
    unimplemented!()
}

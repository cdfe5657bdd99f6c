//! A write: samples of one tenant that are committed together.

use crate::error::Error;
use crate::model::{Sequence, SeriesKey, TenantId, Timestamp, ValueMeta};

/// Samples of one tenant, being collected. Nothing is stored, and no series exists, until
/// [`Store::submit`](crate::Store::submit) has acknowledged it.
pub struct WriteRequest {
    tenant: TenantId,
}

impl WriteRequest {
    /// The tenant it is for.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Adds a sample. `raw` are bytes that identify the series in the writer's own format (equal
    /// bytes, equal series; the reverse need not hold). `key` parses and checks them; it is called
    /// only when the bytes have not been seen lately.
    ///
    /// # Errors
    /// What `key` returns, and `Invalid` (as `E`) for a timestamp out of range. The sample is then
    /// not part of the request; the others still are.
    pub fn push<E: From<Error>>(
        &mut self,
        raw: &[u8],
        key: impl FnOnce() -> Result<SeriesKey, E>,
        time: Timestamp,
        value: f64,
        meta: Option<ValueMeta>,
    ) -> Result<(), E> {
        let _ = (raw, key, time, value, meta);
        unimplemented!()
    }

    /// How many samples have been added.
    #[must_use]
    pub fn len(&self) -> usize {
        unimplemented!()
    }

    /// Whether no sample has been added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Acknowledgement of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Committed {
    /// Its place in the order of all writes.
    pub sequence: Sequence,
}

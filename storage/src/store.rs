//! The handle on an open data directory.

use std::path::Path;
use std::sync::Arc;

use crate::clock::Clock;
use crate::error::Error;
use crate::feed::Feed;
use crate::model::{Selector, Sequence, SeriesId, SeriesKey, TenantId};
use crate::record::Records;
use crate::view::View;
use crate::write::{Committed, WriteRequest};

/// Settings of a store. The default suits a machine with two cores.
#[derive(Clone, Debug, Default)]
pub struct StoreConfig {}

/// An open store. Cheap to clone; usable from every thread.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// Opens the data directory, creating it if it does not exist, and replays its log.
    ///
    /// # Errors
    /// `Invalid` if another process has it open or its format version is unknown; `Corrupt` names
    /// the damaged file.
    pub fn open(directory: &Path, config: StoreConfig, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let _ = (directory, config, clock);
        unimplemented!()
    }

    /// The tenant called `name`, created if it is new. 1 to 255 characters.
    ///
    /// # Errors
    /// `Invalid` for a bad name, `Limit` if there are too many tenants.
    pub fn tenant(&self, name: &str) -> Result<TenantId, Error> {
        let _ = name;
        unimplemented!()
    }

    /// The tenant called `name`, if it exists. Reading must not create tenants.
    #[must_use]
    pub fn find_tenant(&self, name: &str) -> Option<TenantId> {
        let _ = name;
        unimplemented!()
    }

    /// The name of a tenant.
    #[must_use]
    pub fn tenant_name(&self, tenant: TenantId) -> Option<Arc<str>> {
        let _ = tenant;
        unimplemented!()
    }

    /// All tenants.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantId> {
        unimplemented!()
    }

    /// An empty write for a tenant.
    #[must_use]
    pub fn request(&self, tenant: TenantId) -> WriteRequest {
        let _ = tenant;
        unimplemented!()
    }

    /// Hands a write to the committer. `ack` is called once, from the committer's thread, when the
    /// write is durable and visible to new views, or has failed; it must not block.
    ///
    /// # Errors
    /// `Busy` when too much is waiting, `Stopped` when writes have stopped; `ack` is not called then.
    pub fn submit(
        &self,
        request: WriteRequest,
        ack: impl FnOnce(Result<Committed, Error>) + Send + 'static,
    ) -> Result<(), Error> {
        let _ = (request, ack);
        unimplemented!()
    }

    /// [`submit`](Self::submit), waiting for the acknowledgement.
    ///
    /// # Errors
    /// As for `submit`, and the failure the acknowledgement carries.
    pub fn write(&self, request: WriteRequest) -> Result<Committed, Error> {
        let _ = request;
        unimplemented!()
    }

    /// The series that `selector` selects, ascending by metric, then id.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read.
    pub fn select(&self, tenant: TenantId, selector: &Selector) -> Result<Vec<SeriesId>, Error> {
        let _ = (tenant, selector);
        unimplemented!()
    }

    /// What identifies a series.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read, `Corrupt` if the definition does not verify.
    pub fn series(&self, tenant: TenantId, id: SeriesId) -> Result<Option<Arc<SeriesKey>>, Error> {
        let _ = (tenant, id);
        unimplemented!()
    }

    /// The id of a series, if it exists.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read.
    pub fn find_series(&self, tenant: TenantId, key: &SeriesKey) -> Result<Option<SeriesId>, Error> {
        let _ = (tenant, key);
        unimplemented!()
    }

    /// Up to `limit` distinct metric names of the selected series that are greater than `after`,
    /// ascending by code point.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read.
    pub fn metric_names(
        &self,
        tenant: TenantId,
        selector: &Selector,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let _ = (tenant, selector, after, limit);
        unimplemented!()
    }

    /// Up to `limit` distinct dimension names of the selected series, greater than `after`,
    /// ascending by code point.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read.
    pub fn dimension_names(
        &self,
        tenant: TenantId,
        selector: &Selector,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let _ = (tenant, selector, after, limit);
        unimplemented!()
    }

    /// Up to `limit` distinct values of one dimension of the selected series, greater than `after`,
    /// ascending by code point.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read.
    pub fn dimension_values(
        &self,
        tenant: TenantId,
        name: &str,
        selector: &Selector,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let _ = (tenant, name, selector, after, limit);
        unimplemented!()
    }

    /// Everything committed so far, for one tenant.
    #[must_use]
    pub fn view(&self, tenant: TenantId) -> View {
        let _ = tenant;
        unimplemented!()
    }

    /// What was committed up to and with `sequence`, for one tenant. Exact for a consumer of the
    /// feed that has not released `sequence` yet; older moments may have been merged away.
    #[must_use]
    pub fn view_as_of(&self, tenant: TenantId, sequence: Sequence) -> View {
        let _ = (tenant, sequence);
        unimplemented!()
    }

    /// Records of the layers above.
    #[must_use]
    pub fn records(&self) -> Records {
        unimplemented!()
    }

    /// The feed, beginning after `after`. One consumer at a time: a second call ends the first feed.
    ///
    /// # Errors
    /// `Stopped` if the log cannot be read.
    pub fn feed(&self, after: Sequence) -> Result<Feed, Error> {
        let _ = after;
        unimplemented!()
    }

    /// The sequence of the newest acknowledged write.
    #[must_use]
    pub fn newest(&self) -> Sequence {
        unimplemented!()
    }

    /// The clock given at [`open`](Self::open).
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        unimplemented!()
    }

    /// Stops intake, flushes and syncs, and ends the background threads. Later calls that write
    /// answer `Stopped`.
    ///
    /// # Errors
    /// The first failure of the final flush; the log still holds what it could not write.
    pub fn close(&self) -> Result<(), Error> {
        unimplemented!()
    }
}

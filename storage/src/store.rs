//! The handle on an open data directory.

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use roaring::RoaringBitmap;

use crate::clock::Clock;
use crate::commit::{self, Queue};
use crate::config::StoreConfig;
use crate::error::Error;
use crate::feed::{Feed, Outlet};
use crate::index::cache::SeriesCache;
use crate::keeper::{self, Order};
use crate::model::{Selector, Sequence, SeriesId, SeriesKey, TenantId, TimeRange};
use crate::quarantine::Quarantined;
use crate::record::Records;
use crate::recovery;
use crate::roster::Roster;
use crate::segment::partition_of;
use crate::threads::{Shared, Threads, spawn};
use crate::verify::{self, Verified};
use crate::view::View;
use crate::write::{Committed, WriteRequest};

/// An open store. Cheap to clone; usable from every thread. When the last handle goes, the threads
/// end; what is in the head stays in the log.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    threads: Arc<Threads>,
}
/// Figures of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series of all tenants.
    pub series: u64,
    /// Rows in the head, overwritten ones included.
    pub head_rows: u64,
    /// Bytes of log that the head keeps alive.
    pub log_bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Samples in segments.
    pub segment_samples: u64,
    /// Bytes of segment files.
    pub segment_bytes: u64,
    /// Segments that could not be opened.
    pub quarantined: u64,
    /// Newest acknowledged write.
    pub newest: Sequence,
}

impl Store {
    /// Opens the data directory, creating it if it does not exist, and replays its log.
    ///
    /// # Errors
    /// `Invalid` if another process has it open or its format version is unknown; `Corrupt` names
    /// the damaged file.
    pub fn open(
        directory: &Path,
        config: StoreConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let lock = lock(directory)?;
        let opened = recovery::open(directory, &config)?;
        let (keeper, inbox) = keeper::Handle::new();
        let feed = Outlet::new(
            opened.kv.clone(),
            clock.clone(),
            opened.trimmed,
            opened.newest,
            opened.last_arrival,
            config.consumer,
        );
        let log_bytes = opened.live.lock().log_bytes();
        let shared = Arc::new(Shared {
            directory: directory.to_path_buf(),
            queue: Queue::new(config.queue_bytes),
            config,
            clock,
            kv: opened.kv,
            index: Arc::new(opened.index),
            cache: Arc::new(SeriesCache::new()),
            head_log_bytes: AtomicU64::new(log_bytes),
            live: opened.live,
            feed,
            keeper,
            next_segment: AtomicU64::new(opened.next_segment),
            roster: Roster::new(directory),
            stopped: Mutex::new(None),
            _lock: lock,
        });
        shared.roster.update(&shared.index)?;
        let newest = opened.newest;
        let threads = Threads { shared: shared.clone(), handles: Mutex::default() };
        let start = |handle| {
            threads.handles.lock().expect("no code panics while it holds the handles").push(handle);
        };
        start(spawn("committer", &shared, move |shared| commit::run(shared, newest))?);
        start(spawn("keeper", &shared, move |shared| keeper::run(shared, &inbox))?);
        Ok(Store { shared, threads: Arc::new(threads) })
    }

    /// The tenant called `name`, created if it is new. 1 to 255 characters.
    ///
    /// # Errors
    /// `Invalid` for a bad name, `Limit` if there are too many tenants.
    pub fn tenant(&self, name: &str) -> Result<TenantId, Error> {
        if let Some(known) = self.shared.index.find_tenant(name) {
            return Ok(known);
        }
        let created = self.shared.index.tenant(name)?;
        self.shared.roster.update(&self.shared.index)?;
        Ok(created)
    }

    /// The tenant called `name`, if it exists. Reading must not create tenants.
    #[must_use]
    pub fn find_tenant(&self, name: &str) -> Option<TenantId> {
        self.shared.index.find_tenant(name)
    }

    /// The name of a tenant.
    #[must_use]
    pub fn tenant_name(&self, tenant: TenantId) -> Option<Arc<str>> {
        Some(self.shared.index.tenant_by_id(tenant)?.name.clone())
    }

    /// All tenants.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantId> {
        self.shared.index.tenants()
    }

    /// An empty write for a tenant.
    #[must_use]
    pub fn request(&self, tenant: TenantId) -> WriteRequest {
        let shared = &self.shared;
        let now = shared.clock.now();
        WriteRequest::new(shared.index.clone(), shared.cache.clone(), tenant, now)
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
        if let Some(reason) = self.shared.stopped() {
            return Err(Error::Stopped { reason });
        }
        if request.is_empty() {
            ack(Ok(Committed { sequence: self.newest() }));
            return Ok(());
        }
        // The disk cannot follow: the head would grow without bound.
        let log_bytes = self.shared.head_log_bytes.load(Ordering::Relaxed);
        if log_bytes > self.shared.config.live_log_bytes.saturating_mul(8) {
            return Err(Error::Busy { what: "the head" });
        }
        self.shared.queue.push(request, Box::new(ack))
    }

    /// [`submit`](Self::submit), waiting for the acknowledgement.
    ///
    /// # Errors
    /// As for `submit`, and the failure the acknowledgement carries.
    pub fn write(&self, request: WriteRequest) -> Result<Committed, Error> {
        let (sender, answer) = mpsc::sync_channel(1);
        self.submit(request, move |outcome| {
            // The writer waits below; it cannot have gone.
            let _ = sender.send(outcome);
        })?;
        answer
            .recv()
            .unwrap_or_else(|_| Err(Error::Stopped { reason: "the committer has ended".into() }))
    }

    /// The series that `selector` selects, ascending by metric, then id.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read.
    pub fn select(&self, tenant: TenantId, selector: &Selector) -> Result<Vec<SeriesId>, Error> {
        let ids = self.matching(tenant, selector)?;
        let Some(known) = self.shared.index.tenant_by_id(tenant) else { return Ok(Vec::new()) };
        let mut series: Vec<SeriesId> = ids.iter().map(SeriesId::new).collect();
        if selector.metric.is_none() {
            let metrics = known.metrics.read().expect("no code panics while it holds metrics");
            series.sort_by_key(|&id| (metrics.of(id), id));
        }
        Ok(series)
    }

    fn matching(&self, tenant: TenantId, selector: &Selector) -> Result<RoaringBitmap, Error> {
        let ids = self.shared.index.select(tenant, selector)?;
        match selector.active {
            Some(range) if !ids.is_empty() => self.active(tenant, ids, range),
            _ => Ok(ids),
        }
    }

    /// Those of `ids` that have a sample in `range`. Days that lie in it wholly are answered by the
    /// activity index; only series that may have samples on a day at its edge are looked up.
    fn active(
        &self,
        tenant: TenantId,
        ids: RoaringBitmap,
        range: TimeRange,
    ) -> Result<RoaringBitmap, Error> {
        if range.is_empty() {
            return Ok(RoaringBitmap::new());
        }
        let first = partition_of(range.start.millis());
        let last = partition_of(range.end.millis().saturating_sub(1));
        let starts_inside = partition_of(range.start.millis().saturating_sub(1)) == first;
        let ends_inside = partition_of(range.end.millis()) == last;
        let whole_first = if starts_inside { first.saturating_add(1) } else { first };
        let whole_last = if ends_inside { last.saturating_sub(1) } else { last };
        let certain = self.active_days(tenant, whole_first, whole_last)? & &ids;
        let mut edges = RoaringBitmap::new();
        if starts_inside {
            edges |= self.active_days(tenant, first, first)?;
        }
        if ends_inside {
            edges |= self.active_days(tenant, last, last)?;
        }
        let open: Vec<SeriesId> = ((edges & ids) - &certain).iter().map(SeriesId::new).collect();
        let found = self.view(tenant).with_samples(&open, range)?;
        Ok(certain | found.into_iter().map(SeriesId::number).collect::<RoaringBitmap>())
    }

    fn active_days(&self, tenant: TenantId, first: i32, last: i32) -> Result<RoaringBitmap, Error> {
        // The head first: what a flush moves from there to the index in between is seen twice, not
        // missed.
        let mut ids = RoaringBitmap::new();
        if first > last {
            return Ok(ids);
        }
        {
            let live = self.shared.live.lock();
            for generation in live.closed.iter().map(Arc::as_ref).chain([&live.open]) {
                for ((owner, day), active) in &generation.activity {
                    if *owner == tenant && (first..=last).contains(day) {
                        ids |= active;
                    }
                }
            }
        }
        ids |= self.shared.index.active(tenant, first, last)?;
        Ok(ids)
    }

    /// What identifies a series.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read, `Corrupt` if the definition does not verify.
    pub fn series(&self, tenant: TenantId, id: SeriesId) -> Result<Option<Arc<SeriesKey>>, Error> {
        self.shared.index.series(tenant, id)
    }

    /// The id of a series, if it exists.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read.
    pub fn find_series(
        &self,
        tenant: TenantId,
        key: &SeriesKey,
    ) -> Result<Option<SeriesId>, Error> {
        let canonical = key.encode();
        self.shared.index.find(tenant, &canonical, self.shared.index.hash(&canonical))
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
        let within = self.within(tenant, selector)?;
        Ok(self.shared.index.metric_names(tenant, within.as_ref(), after, limit))
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
        let within = self.within(tenant, selector)?;
        self.shared.index.dimension_names(tenant, within.as_ref(), after, limit)
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
        let within = self.within(tenant, selector)?;
        self.shared.index.dimension_values(tenant, name, within.as_ref(), after, limit)
    }

    fn within(
        &self,
        tenant: TenantId,
        selector: &Selector,
    ) -> Result<Option<RoaringBitmap>, Error> {
        let everything = *selector == Selector::default();
        if everything { Ok(None) } else { self.matching(tenant, selector).map(Some) }
    }

    /// Everything committed so far, for one tenant.
    #[must_use]
    pub fn view(&self, tenant: TenantId) -> View {
        View::new(self.shared.clone(), tenant, Sequence::MAX)
    }

    /// What was committed up to and with `sequence`, for one tenant. Exact from the last sequence on
    /// that the feed's consumer has released: a flush, which leaves one value per time, waits for it.
    #[must_use]
    pub fn view_as_of(&self, tenant: TenantId, sequence: Sequence) -> View {
        View::new(self.shared.clone(), tenant, sequence)
    }

    /// Records of the layers above.
    #[must_use]
    pub fn records(&self) -> Records {
        Records::new(self.shared.clone())
    }

    /// The feed, beginning after `after`. One consumer at a time: a second call ends the first feed.
    ///
    /// # Errors
    /// `Stopped` if the store is closed.
    pub fn feed(&self, after: Sequence) -> Result<Feed, Error> {
        match self.shared.stopped() {
            Some(reason) => Err(Error::Stopped { reason }),
            None => Ok(self.shared.feed.subscribe(after)),
        }
    }

    /// The sequence of the newest acknowledged write.
    #[must_use]
    pub fn newest(&self) -> Sequence {
        self.shared.feed.newest()
    }

    /// The clock given at [`open`](Self::open).
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.shared.clock.clone()
    }

    /// Why writes have stopped, if they have.
    #[must_use]
    pub fn stopped(&self) -> Option<String> {
        self.shared.stopped()
    }

    /// Segments that could not be opened at start; the store runs without them.
    #[must_use]
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.shared.live.quarantined().to_vec()
    }

    /// Figures for an operator.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let series = self.shared.index.series_count();
        let newest = self.newest();
        let live = self.shared.live.lock();
        let head_rows =
            live.closed.iter().map(|generation| generation.rows).sum::<u64>() + live.open.rows;
        let facts = || live.segments.iter().map(|segment| segment.facts);
        Stats {
            series,
            head_rows,
            log_bytes: live.log_bytes(),
            segments: u64::try_from(live.segments.len()).unwrap_or(u64::MAX),
            segment_samples: facts().map(|facts| facts.samples).sum(),
            segment_bytes: facts().map(|facts| facts.bytes).sum(),
            quarantined: u64::try_from(self.shared.live.quarantined().len()).unwrap_or(u64::MAX),
            newest,
        }
    }

    /// Writes the head into segments and trims the log, now. What a consumer of the feed has not
    /// released within a few seconds stays in the head. Not for the consumer's own thread.
    ///
    /// # Errors
    /// `Stopped` if that fails; the log still holds what is not in segments.
    pub fn flush(&self) -> Result<(), Error> {
        self.ask_keeper(Order::Flush)
    }

    /// Merges the segments of each partition, now, as far as the greatest size of a segment allows.
    ///
    /// # Errors
    /// `Corrupt` names a damaged file; `Stopped` if writing fails. The segments stay as they were.
    pub fn merge(&self) -> Result<(), Error> {
        self.ask_keeper(Order::Merge)
    }

    /// Reads every part of every segment and compares blocks with the directory, summaries with
    /// samples, and series tables with the index.
    ///
    /// # Errors
    /// `Corrupt` names the first damaged part by file and offset.
    pub fn verify(&self) -> Result<Verified, Error> {
        verify::verify_open(&self.shared)
    }

    fn ask_keeper(
        &self,
        order: impl FnOnce(mpsc::SyncSender<Result<(), Error>>) -> Order,
    ) -> Result<(), Error> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.shared.keeper.order(order(reply))?;
        answer
            .recv()
            .unwrap_or_else(|_| Err(Error::Stopped { reason: "the store is closed".into() }))
    }

    /// Stops intake, flushes and syncs, and ends the background threads. Later calls that write
    /// answer `Stopped`.
    ///
    /// # Errors
    /// The first failure of the final flush; the log still holds what it could not write.
    pub fn close(&self) -> Result<(), Error> {
        if !self.threads.are_running() {
            return Ok(());
        }
        let flushed = match self.shared.stopped() {
            None => self.flush(),
            Some(reason) => Err(Error::Stopped { reason }),
        };
        self.threads.end();
        self.shared.stop_quietly("the store is closed");
        flushed
    }
}

pub(crate) fn lock(directory: &Path) -> Result<File, Error> {
    fs::create_dir_all(directory).map_err(|source| Error::io(directory, &source))?;
    let path = directory.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| Error::io(&path, &source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(Error::Invalid(format!("{} is in use by another process", directory.display())))
        }
        Err(fs::TryLockError::Error(source)) => Err(Error::io(&path, &source)),
    }
}

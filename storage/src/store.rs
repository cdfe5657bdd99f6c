//! The handle on an open data directory.

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use crate::backup;
use crate::clock::Clock;
use crate::commit::{self, Queue};
use crate::config::StoreConfig;
use crate::error::Error;
use crate::feed::{Feed, Outlet};
use crate::index::cache::SeriesCache;
use crate::interrupt::Interrupt;
use crate::journal;
use crate::keeper;
use crate::limits::{Bounds, LimitKind};
use crate::merge::merger;
use crate::model::{Sequence, TenantId};
use crate::orders::Orders;
use crate::quarantine::Quarantined;
use crate::record::Records;
use crate::recovery;
use crate::roster::Roster;
use crate::setback::Setbacks;
use crate::space::Space;
use crate::sweep;
use crate::threads::{SWEEPER, Shared, Threads, spawn};
use crate::verify::{self, Verified};
use crate::view::View;
use crate::write::{Committed, WriteRequest};

/// An open store. Cheap to clone; usable from every thread. When the last handle goes, the threads
/// end; what is in the head stays in the log.
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    threads: Arc<Threads>,
    /// Ends the reads of this handle.
    pub(crate) interrupt: Interrupt,
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
    /// Segment files of rollups, which the figures above leave out.
    pub rollup_segments: u64,
    /// Bytes of them.
    pub rollup_bytes: u64,
    /// Bytes of segments that flushes have written since the start.
    pub flushed_bytes: u64,
    /// Bytes of segments that merges have written since the start. With `flushed_bytes`: how often a
    /// byte is written.
    pub merged_bytes: u64,
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
        backup::clear(directory)?;
        Self::open_locked(directory, lock, config, clock)
    }

    /// [`open`](Self::open) for a directory that is still marked as unfinished.
    pub(crate) fn open_unfinished(
        directory: &Path,
        config: StoreConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        Self::open_locked(directory, lock(directory)?, config, clock)
    }

    fn open_locked(
        directory: &Path,
        lock: File,
        config: StoreConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let opened = recovery::open(directory, &config, clock.now())?;
        let (keeper, inbox) = Orders::new();
        let (sweeper, sweeps) = Orders::new();
        let (merger, merges) = Orders::new();
        let feed = Outlet::new(
            opened.kv.clone(),
            clock.clone(),
            opened.trimmed,
            opened.newest,
            opened.last_arrival,
            config.consumer,
        );
        let log_bytes = opened.live.lock().log_bytes();
        let space = Space::new(directory, &config);
        let shared = Arc::new(Shared {
            directory: directory.to_path_buf(),
            queue: Queue::new(config.queue_bytes),
            bounds: Arc::new(Bounds::new(config.limits)),
            config,
            clock,
            kv: opened.kv,
            index: Arc::new(opened.index),
            cache: Arc::new(SeriesCache::new()),
            head_log_bytes: AtomicU64::new(log_bytes),
            live: opened.live,
            feed,
            keeper,
            sweeper,
            retention: opened.retention,
            deleting: Mutex::default(),
            merger,
            waits_for_consumer: AtomicBool::new(false),
            flushed_bytes: AtomicU64::new(0),
            merged_bytes: AtomicU64::new(0),
            next_segment: AtomicU64::new(opened.next_segment),
            journals: journal::Admission::new(),
            space,
            setbacks: Setbacks::default(),
            losses: opened.losses,
            roster: Roster::new(directory),
            backing_up: Mutex::default(),
            closing: AtomicBool::new(false),
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
        start(spawn("merger", &shared, move |shared| merger::run(shared, &merges))?);
        start(spawn(SWEEPER, &shared, move |shared| sweep::run(shared, &sweeps))?);
        Ok(Store { shared, threads: Arc::new(threads), interrupt: Interrupt::default() })
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

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// An empty write for a tenant.
    #[must_use]
    pub fn request(&self, tenant: TenantId) -> WriteRequest {
        let shared = &self.shared;
        WriteRequest::new(shared, tenant)
    }

    /// Hands a write to the committer. `ack` is called once, from the committer's thread, when the
    /// write is durable and visible to new views, or has failed; it must not block.
    ///
    /// # Errors
    /// `Busy` when too much is waiting, or has waited in vain; `ReadOnly` while the disk is full or
    /// failing, `Stopped` when writes have stopped; `ack` is not called then.
    pub fn submit(
        &self,
        request: WriteRequest,
        ack: impl FnOnce(Result<Committed, Error>) + Send + 'static,
    ) -> Result<(), Error> {
        if let Some(refusal) = self.shared.refusal() {
            return Err(refusal);
        }
        if request.is_empty() {
            ack(Ok(Committed { sequence: self.newest() }));
            return Ok(());
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

    /// A handle whose reads of samples and of the catalogue end with `Interrupted` once `interrupt` says so.
    #[must_use]
    pub fn until(&self, interrupt: &Interrupt) -> Store {
        Store { interrupt: interrupt.clone(), ..self.clone() }
    }

    /// Everything committed so far, for one tenant.
    #[must_use]
    pub fn view(&self, tenant: TenantId) -> View {
        self.view_as_of(tenant, Sequence::MAX)
    }

    /// What was committed up to and with `sequence`, for one tenant. Exact from the last sequence on
    /// that the feed's consumer has released: a flush, which leaves one value per time, waits for it.
    #[must_use]
    pub fn view_as_of(&self, tenant: TenantId, sequence: Sequence) -> View {
        View::new(self.shared.clone(), tenant, sequence, self.interrupt.clone())
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

    /// How often each limit has refused a write since the store was opened.
    #[must_use]
    pub fn refused(&self) -> [(LimitKind, u64); LimitKind::ALL.len()] {
        self.shared.bounds.refused()
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
            rollup_segments: u64::try_from(live.rollups.len()).unwrap_or(u64::MAX),
            rollup_bytes: live.rollups.iter().map(|segment| segment.facts.bytes).sum(),
            flushed_bytes: self.shared.flushed_bytes.load(Ordering::Relaxed),
            merged_bytes: self.shared.merged_bytes.load(Ordering::Relaxed),
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
        self.shared.keeper.ask(keeper::Order::Flush)
    }

    /// Merges the segments of each partition, now, as far as the greatest size of a segment allows.
    ///
    /// # Errors
    /// `Corrupt` names a damaged file; `Stopped` if writing fails. The segments stay as they were.
    pub fn merge(&self) -> Result<(), Error> {
        self.shared.merger.ask(merger::Order::Merge)
    }

    /// Reads every part of every segment and compares blocks with the directory, summaries with
    /// samples, and series tables with the index.
    ///
    /// # Errors
    /// `Corrupt` names the first damaged part by file and offset.
    pub fn verify(&self) -> Result<Verified, Error> {
        verify::verify_open(&self.shared)
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
            None => {
                let noted = self.shared.retention.note(&self.shared.kv, 0);
                self.flush().and(noted)
            }
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

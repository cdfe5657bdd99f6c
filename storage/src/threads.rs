//! The threads of a store: what they share, how they start and end.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::clock::Clock;
use crate::commit::Queue;
use crate::config::StoreConfig;
use crate::error::Error;
use crate::feed::Outlet;
use crate::index::Index;
use crate::index::cache::SeriesCache;
use crate::journal;
use crate::keeper;
use crate::kv::Kv;
use crate::limits::Bounds;
use crate::live::Live;
use crate::merge::merger;
use crate::orders::Orders;
use crate::retention::Retention;
use crate::roster::Roster;
use crate::setback::Setbacks;
use crate::space::Space;
use crate::sweep;

/// What the threads of a store share.
pub(crate) struct Shared {
    pub(crate) directory: PathBuf,
    pub(crate) config: StoreConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) kv: Kv,
    pub(crate) index: Arc<Index>,
    pub(crate) bounds: Arc<Bounds>,
    pub(crate) cache: Arc<SeriesCache>,
    pub(crate) live: Live,
    pub(crate) retention: Retention,
    pub(crate) feed: Arc<Outlet>,
    pub(crate) queue: Queue,
    pub(crate) keeper: Orders<keeper::Order>,
    pub(crate) sweeper: Orders<sweep::Order>,
    /// Held while a deletion begins or its record changes.
    pub(crate) deleting: Mutex<()>,
    pub(crate) merger: Orders<merger::Order>,
    /// The store closes: long work is given up.
    pub(crate) closing: AtomicBool,
    /// Bytes of log that the head keeps alive, as of the last change.
    pub(crate) head_log_bytes: AtomicU64,
    /// The last flush was put off because the feed's consumer still needs the log.
    pub(crate) waits_for_consumer: AtomicBool,
    /// Bytes of segments that flushes, and merges, have written since the start.
    pub(crate) flushed_bytes: AtomicU64,
    pub(crate) merged_bytes: AtomicU64,
    /// Number of the next segment file.
    pub(crate) next_segment: AtomicU64,
    /// What writers of journals share.
    pub(crate) journals: journal::Admission,
    /// Room on the disk.
    pub(crate) space: Space,
    /// Work that has failed and is tried again.
    pub(crate) setbacks: Setbacks,
    /// What was missing when the directory was opened.
    pub(crate) losses: Vec<String>,
    /// The names of the tenants, beside RocksDB.
    pub(crate) roster: Roster,
    /// Held while a backup is taken.
    pub(crate) backing_up: Mutex<()>,
    /// The first error that stopped writes.
    pub(crate) stopped: Mutex<Option<String>>,
    /// Locked as long as the store is open.
    pub(crate) _lock: File,
}

/// Writers wait while the log is longer than so many times what makes the head flush: the disk
/// cannot follow. While a consumer is waited for, which is cut off at four times, it is more.
const LOG_HELD_AT: u64 = 2;
const LOG_HELD_AT_FOR_CONSUMER: u64 = 5;

impl Shared {
    /// Holds the queue while the head is too large, and lets it go when it is not. Called after every
    /// change of what it looks at.
    pub(crate) fn regulate(&self) {
        self.queue.hold(|| {
            let waits = self.waits_for_consumer.load(Ordering::Relaxed);
            let times = if waits { LOG_HELD_AT_FOR_CONSUMER } else { LOG_HELD_AT };
            let max = self.config.live_log_bytes.saturating_mul(times);
            self.head_log_bytes.load(Ordering::Relaxed) > max
        });
    }

    /// Why writes have stopped, if they have.
    pub(crate) fn stopped(&self) -> Option<String> {
        self.stopped.lock().expect("no code panics while it holds the reason").clone()
    }

    /// Whether long work is to be given up because the store closes.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Stops writes because the store closes, which is no error.
    pub(crate) fn stop_quietly(&self, reason: &str) {
        let mut stopped = self.stopped.lock().expect("no code panics while it holds the reason");
        stopped.get_or_insert_with(|| reason.to_owned());
    }

    /// Stops writes for good. The first reason is kept.
    pub(crate) fn stop(&self, reason: &Error) {
        let mut stopped = self.stopped.lock().expect("no code panics while it holds the reason");
        if stopped.is_none() {
            tracing::error!(%reason, "writes have stopped");
            *stopped = Some(reason.to_string());
        }
    }
}

/// Stops writes when the thread that holds it panics: state of unknown shape is never written over
/// good data.
struct StopWritesOnPanic(Arc<Shared>, &'static str);

impl Drop for StopWritesOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = format!("the {} has panicked", self.1);
            let reason = Error::Stopped { reason };
            self.0.stop(&reason);
            self.0.feed.abandon();
            self.0.queue.abandon(&reason);
        }
    }
}

/// Name of the thread that gives back space.
pub(crate) const SWEEPER: &str = "sweeper";

/// The committer, the keeper, the merger and the sweeper.
pub(crate) struct Threads {
    pub(crate) shared: Arc<Shared>,
    pub(crate) handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// Ends them all, and waits for it; but not on a thread of the store, where an acknowledgement may
    /// have held the last handle: those that end could need it.
    pub(crate) fn end(&self) {
        let (sweepers, others): (Vec<_>, Vec<_>) =
            self.take().into_iter().partition(|handle| handle.thread().name() == Some(SWEEPER));
        if sweepers.is_empty() && others.is_empty() {
            return;
        }
        let here = std::thread::current().id();
        let may_wait = sweepers.iter().chain(&others).all(|handle| handle.thread().id() != here);
        let end_all = |handles: Vec<JoinHandle<()>>| {
            // A panic has been reported by `StopWritesOnPanic`.
            handles.into_iter().filter(|_| may_wait).for_each(|handle| drop(handle.join()));
        };
        // The sweeper gives the keeper and the merger orders, so it ends before them.
        self.shared.closing.store(true, Ordering::Release);
        let _ = self.shared.sweeper.give(sweep::Order::Stop);
        end_all(sweepers);
        self.shared.queue.stop();
        self.shared.feed.close();
        // One that has ended already needs no order.
        let _ = self.shared.keeper.give(keeper::Order::Stop);
        let _ = self.shared.merger.give(merger::Order::Stop);
        end_all(others);
    }

    fn take(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(
            &mut *self.handles.lock().expect("no code panics while it holds the handles"),
        )
    }

    pub(crate) fn are_running(&self) -> bool {
        !self.handles.lock().expect("no code panics while it holds the handles").is_empty()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts a thread of the store.
pub(crate) fn spawn(
    name: &'static str,
    shared: &Arc<Shared>,
    run: impl FnOnce(&Arc<Shared>) + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let shared = shared.clone();
    std::thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            let guard = StopWritesOnPanic(shared, name);
            run(&guard.0);
        })
        .map_err(|source| Error::Stopped { reason: format!("no thread for the {name}: {source}") })
}

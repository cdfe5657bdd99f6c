//! The threads of a store: what they share, how they start and end.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::clock::Clock;
use crate::commit::Queue;
use crate::config::StoreConfig;
use crate::error::Error;
use crate::feed::Outlet;
use crate::index::Index;
use crate::index::cache::SeriesCache;
use crate::keeper::{self, Order};
use crate::kv::Kv;
use crate::live::Live;
use crate::roster::Roster;

/// What the threads of a store share.
pub(crate) struct Shared {
    pub(crate) directory: PathBuf,
    pub(crate) config: StoreConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) kv: Kv,
    pub(crate) index: Arc<Index>,
    pub(crate) cache: Arc<SeriesCache>,
    pub(crate) live: Live,
    pub(crate) feed: Arc<Outlet>,
    pub(crate) queue: Queue,
    pub(crate) keeper: keeper::Handle,
    /// Bytes of log that the head keeps alive, as of the last change.
    pub(crate) head_log_bytes: AtomicU64,
    /// Number of the next segment file.
    pub(crate) next_segment: AtomicU64,
    /// The names of the tenants, beside RocksDB.
    pub(crate) roster: Roster,
    /// The first error that stopped writes.
    pub(crate) stopped: Mutex<Option<String>>,
    /// Locked as long as the store is open.
    pub(crate) _lock: File,
}

impl Shared {
    /// Why writes have stopped, if they have.
    pub(crate) fn stopped(&self) -> Option<String> {
        self.stopped.lock().expect("no code panics while it holds the reason").clone()
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

/// The committer and the keeper.
pub(crate) struct Threads {
    pub(crate) shared: Arc<Shared>,
    pub(crate) handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// Ends both.
    pub(crate) fn end(&self) {
        let handles = self.take();
        if !handles.is_empty() {
            self.shared.queue.stop();
            self.shared.feed.close();
            // A keeper that has ended already needs no order.
            let _ = self.shared.keeper.order(Order::Stop);
        }
        for handle in handles {
            // An acknowledgement may hold the last handle on the store: the committer cannot wait
            // for itself.
            if handle.thread().id() != std::thread::current().id() {
                // A panic has been reported by `StopWritesOnPanic`.
                let _ = handle.join();
            }
        }
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

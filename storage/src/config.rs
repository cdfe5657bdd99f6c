//! Settings of a store.

use std::time::Duration;

use crate::feed::Consumer;
use crate::kv::Sync;

/// When a write is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// When it is synced to disk: survives a power cut.
    #[default]
    Batch,
    /// When the operating system has it: survives the end of the process, not a power cut.
    Os,
}

impl Durability {
    pub(crate) fn sync(self) -> Sync {
        match self {
            Durability::Batch => Sync::Disk,
            Durability::Os => Sync::Os,
        }
    }
}

/// Settings of a store. The default suits a machine with two cores.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// When a write is acknowledged.
    pub durability: Durability,
    /// Bytes of log that make the head flush. Default 256 MiB.
    pub live_log_bytes: u64,
    /// Age of the oldest sample in the head that makes it flush. Default 2 hours.
    pub flush_age: Duration,
    /// Bytes of requests that may wait for the committer. Default 64 MiB.
    pub queue_bytes: usize,
    /// Bytes of RocksDB's cache. Default 32 MiB.
    pub cache_bytes: usize,
    /// Start even if acknowledged writes at the end of the log are damaged or missing, without
    /// them. Default false: opening then fails.
    pub accept_shorter_log: bool,
    /// Refuse to open a directory that has lost something acknowledged, instead of starting with the
    /// rest and reporting it. Default false.
    pub strict: bool,
    /// Whether the log is kept for a consumer of the feed also while none is there. Default: no.
    pub consumer: Consumer,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            durability: Durability::Batch,
            live_log_bytes: 256 << 20,
            flush_age: Duration::from_secs(2 * 3600),
            queue_bytes: 64 << 20,
            cache_bytes: 32 << 20,
            accept_shorter_log: false,
            strict: false,
            consumer: Consumer::None,
        }
    }
}

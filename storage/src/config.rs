//! Settings of a store.

use std::sync::Arc;
use std::time::Duration;

use crate::feed::Consumer;
use crate::kv::Sync;
use crate::limits::Limits;
use crate::model::Keep;
use crate::space::{Disk, FreeSpace, SystemDisk};

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
    /// Bytes of log that make the head flush. Default a sixth of half a gigabyte.
    pub live_log_bytes: u64,
    /// Age of the oldest sample in the head that makes it flush. Default 2 hours.
    pub flush_age: Duration,
    /// Bytes of requests that may wait for the committer. Default 32 MiB.
    pub queue_bytes: usize,
    /// Bytes of RocksDB's cache. Default 16 MiB.
    pub cache_bytes: usize,
    /// Refuse to open a directory that has lost something acknowledged, instead of starting with the
    /// rest and reporting it. Default false.
    pub strict: bool,
    /// How much of the disk is kept free: below it samples are refused. Default 512 MiB; at least
    /// twice `live_log_bytes` unless it is 0.
    pub free_space_min: FreeSpace,
    /// Who tells how much of the disk is free. Default: the machine.
    pub disk: Arc<dyn Disk>,
    /// Limits of each tenant.
    pub limits: Limits,
    /// Whether the log is kept for a consumer of the feed also while none is there. Default: no.
    pub consumer: Consumer,
    /// How long events are kept, unless their tenant has a setting of its own. Default for ever: who
    /// opens a store without knowing its settings must not remove what they keep.
    pub keep_events: Keep,
    /// How long changes of alarms' states are kept, likewise. Default for ever.
    pub keep_transitions: Keep,
}

/// The least memory that a store is made for.
const MEMORY_MIN: u64 = 64 << 20;
/// The shares of a store's memory. A row of the log stands in RocksDB's buffer as it is logged and in
/// the head's runs, which take a third of that; while one head is flushed the next one grows. With a
/// million series, whose index and cache take a quarter of a gigabyte, half a gigabyte is enough.
const LIVE_LOG_SHARE: u64 = 6;
const QUEUE_SHARE: u64 = 16;
const CACHE_SHARE: u64 = 32;

impl StoreConfig {
    /// The default for a store that may use about `memory` bytes: for its head, for what waits to be
    /// written, and for RocksDB's cache.
    #[must_use]
    pub fn within(memory: u64) -> Self {
        let memory = memory.max(MEMORY_MIN);
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        StoreConfig {
            live_log_bytes: memory / LIVE_LOG_SHARE,
            queue_bytes: size(memory / QUEUE_SHARE),
            cache_bytes: size(memory / CACHE_SHARE),
            ..StoreConfig::default()
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            durability: Durability::Batch,
            live_log_bytes: (512 << 20) / LIVE_LOG_SHARE,
            flush_age: Duration::from_secs(2 * 3600),
            queue_bytes: 32 << 20,
            cache_bytes: 16 << 20,
            strict: false,
            free_space_min: FreeSpace::Bytes(512 << 20),
            disk: Arc::new(SystemDisk),
            limits: Limits::default(),
            consumer: Consumer::None,
            keep_events: Keep::Forever,
            keep_transitions: Keep::Forever,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_that_of_half_a_gigabyte() {
        let (fixed, derived) = (StoreConfig::default(), StoreConfig::within(512 << 20));
        assert_eq!(format!("{fixed:?}"), format!("{derived:?}"));
    }
}

//! What an operator must know of a store: whether it takes writes, and what it has lost.

use crate::keeper::Order;
use crate::store::Store;

/// The state of a store.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Health {
    /// Why writes have ended until a restart, if they have. Reads go on.
    pub stopped: Option<String>,
    /// Why writes are refused for now, if they are. They come back by themselves.
    pub read_only: Option<String>,
    /// What was missing when the store was opened, one text each: acknowledged once, and gone.
    pub losses: Vec<String>,
    /// Whether less than `free_bytes_min` was free and not enough has come back since.
    pub low_space: bool,
    /// Bytes free on the disk; `None` if nobody looks.
    pub free_bytes: Option<u64>,
    /// Below so many bytes samples are refused; 0: never.
    pub free_bytes_min: u64,
}

impl Store {
    /// Whether the store takes writes, and what it has lost.
    #[must_use]
    pub fn health(&self) -> Health {
        let shared = &self.shared;
        let free = shared.space.free();
        Health {
            stopped: shared.stopped(),
            read_only: shared.setbacks.reason().or_else(|| shared.space.reason()),
            losses: shared.losses.clone(),
            low_space: shared.space.is_low(),
            free_bytes: (free != u64::MAX).then_some(free),
            free_bytes_min: shared.space.min(),
        }
    }

    /// Looks at the disk now, tries again what has failed and is due, and waits for it. The store does
    /// so by itself, every second.
    pub fn look_at_disk(&self) {
        self.shared.space.look();
        // Gone if the store is closing: nothing is tried then.
        let _ = self.shared.keeper.ask(Order::Look);
    }
}

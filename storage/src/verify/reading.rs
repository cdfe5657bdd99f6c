//! How far a reading has come.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts bytes that have been read, by several threads.
pub(super) struct Reading<'a> {
    done: AtomicU64,
    total: u64,
    report: &'a (dyn Fn(u64, u64) + Sync),
}

impl<'a> Reading<'a> {
    /// Tells `report` of bytes done, and in all.
    pub(super) fn new(total: u64, report: &'a (dyn Fn(u64, u64) + Sync)) -> Self {
        Reading { done: AtomicU64::new(0), total, report }
    }

    pub(super) fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        (self.report)(done, self.total);
    }
}

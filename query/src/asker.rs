//! Whoever waits for the answer to a question. When nobody does, the work for it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One who asks. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Asker {
    left: Arc<AtomicBool>,
}

impl Asker {
    /// Says that the answer is no longer wanted. A question that is answered already is not harmed.
    pub fn leave(&self) {
        // The flag says nothing of other memory.
        self.left.store(true, Ordering::Relaxed);
    }

    /// Whether that was said.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }
}

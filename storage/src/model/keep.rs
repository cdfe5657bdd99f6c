//! How long something is kept.

use std::time::Duration;

/// How long something is kept, by its own time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Keep {
    /// Until it is so old.
    For(Duration),
    /// Always.
    Forever,
}

impl Keep {
    /// Milliseconds; the greatest number for ever.
    pub(crate) fn millis(self) -> i64 {
        match self {
            Keep::For(span) => i64::try_from(span.as_millis()).unwrap_or(i64::MAX),
            Keep::Forever => i64::MAX,
        }
    }
}

//! A measured value at an instant.

use std::sync::Arc;

use super::Timestamp;

/// Extra facts about one sample, as text whose meaning belongs to the API that wrote it (the
/// Monasca API stores a JSON object). Rare, and stored apart from the values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValueMeta(Arc<str>);

impl ValueMeta {
    /// Longest text, in bytes.
    pub const BYTES_MAX: usize = 64 * 1024;

    /// The text, unless it is longer than [`BYTES_MAX`](Self::BYTES_MAX).
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (text.len() <= Self::BYTES_MAX).then(|| ValueMeta(text.into()))
    }

    /// The text as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// One sample of a series.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    /// When it was measured.
    pub time: Timestamp,
    /// What was measured. Kept bit for bit.
    pub value: f64,
    /// Extra facts, if the writer gave any.
    pub meta: Option<ValueMeta>,
}

//! The feed: every committed write, in commit order, for consumers inside the process.
//!
//! A [`Feed`] is a cursor on the log. Batches come from a bounded ring in memory; a consumer that
//! falls behind, or starts after a restart, reads the log itself. Writers never wait for consumers.

use std::sync::Arc;

use crate::error::Error;
use crate::model::{Sequence, SeriesId, TenantId, Timestamp};

/// One row of a committed write.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FeedRow {
    /// Owner.
    pub tenant: TenantId,
    /// Series.
    pub series: SeriesId,
    /// When the sample was measured.
    pub time: Timestamp,
    /// The value.
    pub value: f64,
    /// Its place in the order of writes. Rows of one request share it; a later row of the same
    /// request counts as later.
    pub sequence: Sequence,
}

/// A committed batch of requests.
pub struct FeedBatch {
    pub(crate) rows: Vec<FeedRow>,
    pub(crate) first: Sequence,
    pub(crate) last: Sequence,
    pub(crate) arrival: Timestamp,
}

impl FeedBatch {
    /// The rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = FeedRow> {
        self.rows.iter().copied()
    }

    /// Sequence of the first request.
    #[must_use]
    pub fn first(&self) -> Sequence {
        self.first
    }

    /// Sequence of the last request.
    #[must_use]
    pub fn last(&self) -> Sequence {
        self.last
    }

    /// Wall-clock time at which the batch was committed. Never decreases from batch to batch; the
    /// same after a restart.
    #[must_use]
    pub fn arrival(&self) -> Timestamp {
        self.arrival
    }
}

/// What [`Feed::next`] has to tell.
pub enum FeedEvent {
    /// The next batch.
    Batch(Arc<FeedBatch>),
    /// The instant asked for has come, and every batch with an earlier arrival has been handed out.
    Due,
    /// [`FeedWaker::wake`] was called.
    Woken,
    /// The store wants to trim its log: make durable what has been consumed, then call
    /// [`Feed::release`].
    CheckpointWanted,
    /// The consumer fell so far behind that the log was trimmed past it. It must rebuild from
    /// storage; the feed goes on after the newest committed batch.
    CutOff,
    /// The store is closing.
    Closed,
}

/// Wakes a consumer that waits in [`Feed::next`].
#[derive(Clone)]
pub struct FeedWaker {}

impl FeedWaker {
    /// Makes the current or next [`Feed::next`] return [`FeedEvent::Woken`].
    pub fn wake(&self) {
        unimplemented!()
    }
}

/// A consumer's place in the log.
pub struct Feed {}

impl Feed {
    /// The next event. Blocks until there is one. `due` is the instant of the consumer's next timer:
    /// a batch that arrived at or after `due` is handed out only by a call with a later `due` (or
    /// none), so a consumer that handles `Due` first sees timers and batches in the order of time,
    /// timers before batches of the same millisecond, also when it replays the log.
    ///
    /// # Errors
    /// `Corrupt` or `Stopped` if the log cannot be read.
    pub fn next(&mut self, due: Option<Timestamp>) -> Result<FeedEvent, Error> {
        let _ = due;
        unimplemented!()
    }

    /// Tells the store that everything up to `upto` will never be asked for again.
    pub fn release(&self, upto: Sequence) {
        let _ = upto;
        unimplemented!()
    }

    /// A handle that wakes this consumer.
    #[must_use]
    pub fn waker(&self) -> FeedWaker {
        unimplemented!()
    }
}

//! The one order of all writes. A single thread takes finished requests from a bounded queue, fair
//! between tenants, and for as many as wait together: numbers them, gives new series their ids, makes
//! everything durable in one RocksDB batch with one sync, appends the rows to the head, publishes
//! them on the feed, acknowledges.

mod committer;
#[cfg(test)]
mod held;
mod meter;
mod new_series;
mod queue;

pub(crate) use committer::run;
pub(crate) use meter::Meter;
pub(crate) use queue::Queue;

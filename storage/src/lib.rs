//! The store: columnar segment files and RocksDB under one order of writes.
//!
//! Storage knows tenants, series, samples and time. It knows nothing of HTTP, JSON, query languages
//! or alarms. See `FORMAT.md` beside this crate for every byte it writes.

mod acknowledged;
mod activity;
pub mod backup;
mod batch;
mod block;
mod catalog;
mod census;
pub mod clock;
pub mod codec;
mod commit;
mod config;
pub mod deletion;
mod error;
pub mod event;
pub mod fail_point;
pub mod feed;
mod files;
mod flush;
#[cfg(test)]
mod fuzz;
mod head;
mod health;
mod index;
pub mod inspect;
mod interrupt;
pub mod journal;
mod keeper;
mod key;
mod kv;
mod limits;
mod live;
mod manifest;
mod merge;
pub mod model;
mod offline;
mod orders;
mod output;
mod quarantine;
pub mod record;
mod recovery;
pub mod repair;
pub mod retention;
pub mod rollup;
mod roster;
#[cfg(test)]
mod scratch;
mod segment;
mod setback;
mod sieve;
pub mod space;
mod stats;
mod store;
mod sweep;
mod text;
mod threads;
pub mod verify;
pub mod view;
pub mod write;

pub use config::{Durability, StoreConfig};
pub use error::{Error, ErrorKind};
pub use health::Health;
pub use index::{CARDINALITY_TOP_MAX, Cardinality};
pub use interrupt::Interrupt;
pub use limits::{LimitKind, Limits};
pub use quarantine::Quarantined;
pub use stats::{ClockDoubt, JournalStats, RollupStats};
pub use store::{Stats, Store};
pub use verify::Verified;

//! The store: columnar segment files and RocksDB under one order of writes.
//!
//! Storage knows tenants, series, samples and time. It knows nothing of HTTP, JSON, query languages
//! or alarms. See `FORMAT.md` beside this crate for every byte it writes.

mod acknowledged;
mod batch;
mod block;
pub mod clock;
pub mod codec;
mod commit;
mod config;
mod error;
pub mod feed;
#[cfg(test)]
mod fuzz;
mod head;
mod index;
pub mod inspect;
mod keeper;
mod key;
mod kv;
mod live;
mod manifest;
mod merge;
pub mod model;
mod offline;
mod quarantine;
pub mod record;
mod recovery;
pub mod repair;
mod roster;
mod segment;
mod store;
mod threads;
pub mod verify;
pub mod view;
pub mod write;

pub use config::{Durability, StoreConfig};
pub use error::{Error, ErrorKind};
pub use quarantine::Quarantined;
pub use store::{Stats, Store};
pub use verify::Verified;

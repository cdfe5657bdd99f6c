//! The store: columnar segment files and RocksDB under one order of writes.
//!
//! Storage knows tenants, series, samples and time. It knows nothing of HTTP, JSON, query languages
//! or alarms. See `FORMAT.md` beside this crate for every byte it writes.

mod acknowledged;
pub mod backup;
mod batch;
mod block;
pub mod clock;
pub mod codec;
mod commit;
mod config;
mod error;
pub mod feed;
mod head;
mod index;
mod keeper;
mod key;
mod kv;
mod live;
mod manifest;
mod merge;
pub mod model;
pub mod record;
mod recovery;
mod segment;
mod store;
mod threads;
mod verify;
pub mod view;
pub mod write;

pub use config::{Durability, StoreConfig};
pub use error::{Error, ErrorKind};
pub use store::{Stats, Store};
pub use verify::Verified;

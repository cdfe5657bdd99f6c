//! The store: columnar segment files and RocksDB under one order of writes.
//!
//! Storage knows tenants, series, samples and time. It knows nothing of HTTP, JSON, query languages
//! or alarms. See `FORMAT.md` beside this crate for every byte it writes.

pub mod clock;
pub mod codec;
mod error;
pub mod feed;
pub mod model;
pub mod record;
mod store;
pub mod view;
pub mod write;

pub use error::{Error, ErrorKind};
pub use store::{Store, StoreConfig};

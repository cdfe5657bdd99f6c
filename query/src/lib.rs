//! Questions over the store: select series, cut time into windows, aggregate, group.
//!
//! One algebra under every language. Query reads storage and never learns which API asked.

mod error;
pub mod lang;

pub use error::Error;

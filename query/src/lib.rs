//! Questions over the store: select series, cut time into windows, aggregate, group.
//!
//! One algebra under every language: a language in [`lang`] compiles to [`expr`], `exec` answers it
//! from the store. Query reads storage and never learns which API asked.

#![forbid(unsafe_code)]

mod asker;
mod error;
mod exec;
pub mod expr;
pub mod lang;
pub mod limits;
pub mod window;

pub use asker::Asker;
pub use error::Error;

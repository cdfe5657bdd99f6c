//! Placeholder.

pub mod collector;

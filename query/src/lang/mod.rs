//! The languages that compile to the algebra.

pub mod monasca;

//! What comes in as samples: decoding, checking, handing to the committer.

pub(crate) mod complaints;
pub(crate) mod gather;
pub(crate) mod json;
pub(crate) mod line;
pub(crate) mod line_batch;
pub(crate) mod line_series;
pub(crate) mod monasca;
pub(crate) mod number;
pub(crate) mod protobuf;
pub(crate) mod python;
pub(crate) mod remote_write;
pub(crate) mod rules;

#[cfg(test)]
mod fuzz;

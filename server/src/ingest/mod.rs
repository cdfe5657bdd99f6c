//! What comes in as samples: decoding, checking, handing to the committer.

pub(crate) mod json;
pub(crate) mod monasca;
pub(crate) mod python;
pub(crate) mod rules;

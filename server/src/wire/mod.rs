//! Request and response types of the APIs, and how their parts are written.

pub(crate) mod alarms;
pub(crate) mod links;
pub(crate) mod metrics;
pub(crate) mod parameters;
pub(crate) mod span;
pub(crate) mod time;

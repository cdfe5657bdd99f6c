//! Alarms: definitions, evaluation while the data comes in, history, notifications.
//!
//! Alerting decides; it never parses HTTP. It reads storage and is fed by its feed.

mod alarms;
mod error;
mod model;

pub use alarms::{Alarms, Settings};
pub use error::Error;
pub use model::*;

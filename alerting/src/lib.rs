//! Alarms: definitions, evaluation while the data comes in, history, notifications.
//!
//! Alerting decides; it never parses HTTP. It reads storage and is fed by its feed.

mod alarms;
pub mod engine;
mod error;
pub mod expression;
mod group;
mod held;
mod judge;
mod matching;
mod methods;
mod model;
mod outbox;
mod reason;
mod rule;
mod samples;
mod sight;
mod state;
mod sum;
mod window;

pub use alarms::{Alarms, Settings};
pub use error::Error;
pub use model::*;

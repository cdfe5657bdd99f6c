//! Alarms: definitions, evaluation while the data comes in, history, notifications.
//!
//! Alerting decides; it never parses HTTP. It reads storage and is fed by its feed.

mod alarms;
mod error;
mod methods;
mod model;
mod notify;
mod outbox;

pub use alarms::{Alarms, Settings};
pub use error::Error;
pub use methods::Methods;
pub use model::*;
pub use notify::{
    Delivery, DeliveryResult, LATENCY_BOUNDS_MS, Notifier, NotifySettings, NotifyStats,
};

//! Alarms: definitions, evaluation while the data comes in, history, notifications.
//!
//! Alerting decides; it never parses HTTP. It reads storage and is fed by its feed.

#![forbid(unsafe_code)]

mod alarms;
mod definition;
pub mod engine;
mod error;
pub mod expression;
mod group;
mod held;
mod history;
mod id_map;
mod judge;
mod matching;
mod methods;
mod model;
mod notify;
mod outbox;
mod reason;
mod rule;
mod samples;
mod service;
mod sight;
mod state;
mod store_samples;
mod stored;
mod sum;
mod window;

pub use alarms::{Alarms, Settings};
pub use error::Error;
pub use methods::Methods;
pub use model::*;
pub use notify::{
    Delivery, DeliveryResult, LATENCY_BOUNDS_MS, Notifier, NotifySettings, NotifyStats,
};

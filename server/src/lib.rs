//! The server: every wire format that comes in, and the wiring of the layers below.
//!
//! A request passes [`http`](crate::tasks) in this order: connection limits, host and origin rules,
//! request limits, routing, one file per resource. Nothing here decides about samples or alarms;
//! `API.md` beside this crate says what is served.

#![forbid(unsafe_code)]

pub mod collector;
mod config;
mod error;
mod http;
mod ingest;
mod pool;
mod security;
mod shutdown;
mod status;
mod tasks;
mod telemetry;
mod wire;

pub use config::{
    AlarmsConfig, AuthMode, CollectorConfig, Config, ConfigError, ConfigSources,
    NotificationsConfig, QueryConfig, ServerConfig, example,
};
pub use error::Error;
pub use tasks::{Running, run, start};

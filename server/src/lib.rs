//! The server: every wire format that comes in, and the wiring of the layers below.
//!
//! A request passes, in this order: limits of connections, rules for host and origin, the limit of
//! requests, routing, the file of its resource. Nothing here decides about samples or alarms;
//! `API.md` beside this crate says what is served.

#![forbid(unsafe_code)]

mod auth;
pub mod collector;
mod config;
mod error;
mod http;
mod ingest;
mod memory;
mod pool;
mod security;
mod shutdown;
mod status;
mod tasks;
mod telemetry;
mod tls;
mod wire;

pub use auth::{NewToken, RoleNames, TokenEntry, TokenError, TokenFile};
pub use config::{
    AlarmsConfig, AuthConfig, AuthMode, CollectorConfig, Config, ConfigError, ConfigSources,
    KeystoneConfig, NotificationsConfig, Password, QueryConfig, ServerConfig, TlsConfig, example,
};
pub use error::Error;
pub use http::operations;
pub use tasks::{Running, run, start};

//! Configuration: TOML, environment and command line → raw values → checked, once, at start.
//!
//! Later sources win: the file, then `MONETA_…` variables, then overrides. `server.listen` is set by
//! `MONETA_SERVER_LISTEN`; every other setting likewise. An unknown name is an error in each source.

mod keys;
mod raw;

use std::net::SocketAddr;
use std::path::PathBuf;

use moneta_storage::model::Keep;
use moneta_storage::space::FreeSpace;
use moneta_storage::{Durability, Limits};

pub(crate) use keys::{KEYS, Kind};

use crate::auth::RoleNames;

use raw::Raw;

/// Where settings come from. The defaults need none of these.
#[derive(Clone, Debug, Default)]
pub struct ConfigSources {
    /// A TOML file; it must exist.
    pub file: Option<PathBuf>,
    /// The process environment, whole: `HOME` and `XDG_DATA_HOME` are read for defaults.
    pub environment: Vec<(String, String)>,
    /// `section.name` and value, as on a command line.
    pub overrides: Vec<(String, String)>,
}

/// A checked configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Listening and limits.
    pub server: ServerConfig,
    /// Keeping of data.
    pub storage: StorageConfig,
    /// Who is let in, and which roles grant what.
    pub auth: AuthConfig,
    /// Readings of this machine.
    pub collector: CollectorConfig,
    /// Alarm evaluation.
    pub alarms: AlarmsConfig,
    /// Limits of each tenant's writes.
    pub limits: Limits,
    /// Limits of queries.
    pub query: QueryConfig,
    /// Sending of notifications.
    pub notifications: NotificationsConfig,
}

/// `[server]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerConfig {
    /// Address and port of every API; default 127.0.0.1:8070. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate and key; without them connections are plain.
    pub tls: Option<TlsConfig>,
    /// Folder that holds all data.
    pub data_dir: PathBuf,
    /// Region of every series written here; default empty, at most 255 characters.
    pub region: String,
    /// Longest request body, bytes; default 32 MiB, 1 KiB to 1 GiB.
    pub body_bytes_max: usize,
    /// Requests handled at once; default 512.
    pub requests_max: usize,
    /// Connections open at once; default 4096.
    pub connections_max: usize,
    /// Whether to serve other machines without authentication; default false.
    pub allow_remote_without_auth: bool,
}

/// `server.tls.…`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsConfig {
    /// Certificate, then those of the authorities between it and a known one. PEM.
    pub cert_file: PathBuf,
    /// Its private key. PEM.
    pub key_file: PathBuf,
}

/// `[storage]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StorageConfig {
    /// When a write is acknowledged; default when it is synced.
    pub durability: Durability,
    /// Memory for the head, waiting writes and RocksDB's cache, megabytes; default 0: a quarter of
    /// the machine's.
    pub memory_mb: u64,
    /// Log that makes the head flush, megabytes; default 0: a sixth of `memory_mb`.
    pub live_log_mb: u64,
    /// Age of the oldest sample in the head that makes it flush, seconds; default 2 hours.
    pub flush_age_seconds: u32,
    /// Whether to refuse to start when something acknowledged is damaged or missing; default false.
    pub strict: bool,
    /// How much of the disk is kept free; default 512 MiB.
    pub free_space_min: FreeSpace,
    /// How long events are kept; default 14 days, at most 36 500.
    pub keep_events: Keep,
    /// How long changes of alarms' states are kept; default for ever, at most 36 500 days.
    pub keep_transitions: Keep,
}

/// `[auth]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthConfig {
    /// How callers are known; default not at all.
    pub mode: AuthMode,
    /// The file of tokens, for mode `tokens`; default `tokens.toml` in the data directory.
    pub tokens_file: PathBuf,
    /// Which roles grant what.
    pub roles: RoleNames,
}

/// `auth.mode`
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuthMode {
    /// Every caller is trusted and names its tenant.
    None,
    /// By tokens of a file.
    Tokens,
    /// By tokens of Keystone.
    Keystone(KeystoneConfig),
}

/// `auth.keystone.…`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeystoneConfig {
    /// Its address, with or without `/v3`.
    pub url: String,
    /// Name of the user that checks tokens; default `monasca`.
    pub username: String,
    /// Its password.
    pub password: Password,
    /// Domain of the user; default `Default`.
    pub user_domain_name: String,
    /// Project of the user; default `service`.
    pub project_name: String,
    /// Domain of the project; default `Default`.
    pub project_domain_name: String,
    /// Certificates of authorities, PEM; the machine's without it.
    pub ca_file: Option<PathBuf>,
    /// How long a token counts as checked, seconds; default 300.
    pub cache_seconds: u32,
    /// How long an answer may take, seconds; default 5.
    pub timeout_seconds: u32,
}

/// A text that is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Of this text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Password(text)
    }

    /// The text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// `[collector]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CollectorConfig {
    /// Whether this machine is measured; default false.
    pub enabled: bool,
    /// Between two readings, seconds; default 10, 1 to 3600.
    pub interval_seconds: u32,
    /// Owner of the readings; default `default`.
    pub tenant: String,
}

/// `[alarms]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlarmsConfig {
    /// Seconds after the end of a period until it is judged; default 30.
    pub delay_seconds: u32,
    /// Seconds a measurement may lie ahead of the clock and be judged at once; default 60.
    pub future_tolerance_seconds: u32,
    /// Greatest period times periods, seconds; default two weeks.
    pub window_seconds_max: u32,
    /// Definitions a tenant may have; default 10 000.
    pub definitions_max: usize,
}

/// `[query]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueryConfig {
    /// Samples one query may read; default 100 million.
    pub samples_max: u64,
}

/// `[notifications]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotificationsConfig {
    /// Periods a method may have besides 0, seconds; default 60.
    pub periods_seconds: Vec<u32>,
    /// How long one attempt may take, seconds; default 5.
    pub timeout_seconds: u32,
    /// Age after which a change is no longer told, seconds; default 4 hours.
    pub ttl_seconds: u32,
    /// Methods served at the same time; default 64.
    pub destinations_parallel: usize,
    /// Whether receivers may be in internal networks; default true.
    pub allow_private: bool,
}

/// What is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {message}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's text.
        message: String,
    },
    /// The file is not TOML.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What was expected, and where.
        message: String,
    },
    /// There is no such setting.
    #[error("{origin}: unknown setting {name}{}", suggestion(nearest))]
    Unknown {
        /// The file, the variable or the command line.
        origin: String,
        /// The name as written.
        name: String,
        /// The known name that looks most alike.
        nearest: Option<String>,
    },
    /// A value is of the wrong kind or out of bounds.
    #[error("{origin}: {name} {message}")]
    Value {
        /// The file, the variable or the command line.
        origin: String,
        /// The setting.
        name: String,
        /// What it must be.
        message: String,
    },
    /// Settings that are each right do not go together.
    #[error("{0}")]
    Conflict(String),
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

impl Config {
    /// Reads and checks every setting.
    ///
    /// # Errors
    /// The first setting that is unknown or wrong, with the source it comes from.
    pub fn load(sources: ConfigSources) -> Result<Self, ConfigError> {
        Raw::gather(&sources)?.check(&sources.environment)
    }
}

/// The example file: every setting with its meaning, bounds and default, commented out.
#[must_use]
pub fn example() -> String {
    let mut text = String::from(
        "# Settings of moneta. Everything is commented out and shows its default.\n\
         # Each can also be set by a variable: server.listen by MONETA_SERVER_LISTEN.\n",
    );
    let mut section = "";
    for key in KEYS {
        let (of, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if of != section {
            section = of;
            text.push_str(&format!("\n[{section}]\n"));
        }
        for line in key.doc.lines() {
            text.push_str(&format!("# {line}\n"));
        }
        if let Kind::Number { min, max } | Kind::Numbers { min, max } = key.kind {
            text.push_str(&format!("# Bounds: {min} to {max}.\n"));
        }
        let default = if key.default.is_empty() { "\"…\"" } else { key.default };
        text.push_str(&format!("#{name} = {default}\n"));
    }
    text
}

#[cfg(test)]
mod tests;

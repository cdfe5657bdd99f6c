//! Raw settings: values by name with the source they come from, not checked yet.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use moneta_storage::model::Keep;
use moneta_storage::space::FreeSpace;
use moneta_storage::{Durability, Limits};

use super::keys::{KEYS, Key, Kind};
use super::{
    AlarmsConfig, AuthConfig, AuthMode, CollectorConfig, Config, ConfigError, ConfigSources,
    KeystoneConfig, NotificationsConfig, Password, QueryConfig, ServerConfig, StorageConfig,
    TlsConfig,
};
use crate::auth::RoleNames;

/// Where tokens are, below the data directory, if no setting says it.
const TOKENS_FILE: &str = "tokens.toml";

/// Variables that other parts of the program read.
const FOREIGN_VARIABLES: [&str; 4] = ["MONETA_URL", "MONETA_TENANT", "MONETA_TOKEN", "MONETA_LOG"];

/// A value and where it was written.
struct Given {
    value: toml::Value,
    origin: String,
}

/// What all sources together say.
#[derive(Default)]
pub(super) struct Raw {
    given: BTreeMap<&'static str, Given>,
}

impl Raw {
    /// Reads the sources, later ones over earlier ones.
    pub(super) fn gather(sources: &ConfigSources) -> Result<Self, ConfigError> {
        let mut raw = Raw::default();
        if let Some(path) = &sources.file {
            raw.read_file(path)?;
        }
        raw.read_environment(&sources.environment)?;
        for (name, text) in &sources.overrides {
            let origin = "command line";
            let key = find(name).ok_or_else(|| unknown(origin, name, nearest_name(name)))?;
            raw.put_text(key, text, origin.to_owned())?;
        }
        Ok(raw)
    }

    fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
            path: path.to_path_buf(),
            message: error.to_string(),
        })?;
        let table = text.parse::<toml::Table>().map_err(|error| ConfigError::Syntax {
            path: path.to_path_buf(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let origin = path.display().to_string();
        for (section, content) in table {
            let toml::Value::Table(content) = content else {
                return Err(unknown(&origin, &section, nearest_name(&section)));
            };
            self.read_table(&section, content, &origin)?;
        }
        Ok(())
    }

    /// Settings of a section, and of sections in it.
    fn read_table(
        &mut self,
        section: &str,
        content: toml::Table,
        origin: &str,
    ) -> Result<(), ConfigError> {
        for (name, value) in content {
            let name = format!("{section}.{name}");
            match (find(&name), value) {
                (Some(key), value) => {
                    self.given.insert(key.name, Given { value, origin: origin.to_owned() });
                }
                (None, toml::Value::Table(inner))
                    if KEYS.iter().any(|key| key.name.starts_with(&format!("{name}."))) =>
                {
                    self.read_table(&name, inner, origin)?;
                }
                (None, _) => return Err(unknown(origin, &name, nearest_name(&name))),
            }
        }
        Ok(())
    }

    fn read_environment(&mut self, environment: &[(String, String)]) -> Result<(), ConfigError> {
        for (variable, text) in environment {
            if !variable.starts_with("MONETA_") || FOREIGN_VARIABLES.contains(&variable.as_str()) {
                continue;
            }
            let Some(key) = KEYS.iter().find(|key| key.variable() == *variable) else {
                let known = KEYS.iter().map(Key::variable);
                let known = known.chain(FOREIGN_VARIABLES.map(str::to_owned));
                return Err(unknown("environment", variable, nearest(variable, known)));
            };
            self.put_text(key, text, format!("environment variable {variable}"))?;
        }
        Ok(())
    }

    /// A value given as bare text, as variables and the command line do.
    fn put_text(&mut self, key: &Key, text: &str, origin: String) -> Result<(), ConfigError> {
        let value = match key.kind {
            Kind::Text | Kind::Address => toml::Value::String(text.to_owned()),
            Kind::Switch => text.parse().map_or_else(|_| bare(text), toml::Value::Boolean),
            Kind::Number { .. } => text.parse().map_or_else(|_| bare(text), toml::Value::Integer),
            Kind::Numbers { .. } => {
                let items = text.trim_matches(['[', ']']).split(',').map(str::trim);
                let items = items.filter(|item| !item.is_empty());
                toml::Value::Array(
                    items
                        .map(|item| item.parse().map_or_else(|_| bare(item), toml::Value::Integer))
                        .collect(),
                )
            }
        };
        self.given.insert(key.name, Given { value, origin });
        Ok(())
    }

    /// The checked configuration.
    pub(super) fn check(&self, environment: &[(String, String)]) -> Result<Config, ConfigError> {
        let mut config = Config {
            server: ServerConfig {
                listen: self.address("server.listen")?,
                tls: self.tls()?,
                data_dir: self.data_dir(environment)?,
                region: self.text("server.region", 0)?,
                body_bytes_max: self.size("server.body_bytes_max")?,
                requests_max: self.size("server.requests_max")?,
                connections_max: self.size("server.connections_max")?,
                allow_remote_without_auth: self.switch("server.allow_remote_without_auth")?,
            },
            storage: StorageConfig {
                durability: self.durability()?,
                memory_mb: self.number("storage.memory_mb")?,
                live_log_mb: self.number("storage.live_log_mb")?,
                flush_age_seconds: self.seconds("storage.flush_age_seconds")?,
                strict: self.switch("storage.strict")?,
                free_space_min: self.free_space("storage.free_space_min")?,
                keep_events: self.keep("storage.keep_events_days")?,
                keep_transitions: self.keep("storage.keep_transitions_days")?,
            },
            limits: Limits {
                active_series: self.number("limits.active_series")?,
                new_series_per_minute: self.number("limits.new_series_per_minute")?,
                samples_per_second: self.number("limits.samples_per_second")?,
                dimensions: self.number("limits.dimensions")?,
            },
            auth: AuthConfig {
                mode: self.auth_mode()?,
                tokens_file: self.text("auth.tokens_file", 0)?.into(),
                roles: self.roles()?,
            },
            collector: CollectorConfig {
                enabled: self.switch("collector.enabled")?,
                interval_seconds: self.seconds("collector.interval_seconds")?,
                tenant: self.text("collector.tenant", 1)?,
            },
            alarms: AlarmsConfig {
                delay_seconds: self.seconds("alarms.delay_seconds")?,
                future_tolerance_seconds: self.seconds("alarms.future_tolerance_seconds")?,
                window_seconds_max: self.seconds("alarms.window_seconds_max")?,
                definitions_max: self.size("alarms.definitions_max")?,
            },
            query: QueryConfig { samples_max: self.number("query.samples_max")? },
            notifications: NotificationsConfig {
                periods_seconds: self.periods("notifications.periods_seconds")?,
                timeout_seconds: self.seconds("notifications.timeout_seconds")?,
                ttl_seconds: self.seconds("notifications.ttl_seconds")?,
                destinations_parallel: self.size("notifications.destinations_parallel")?,
                allow_private: self.switch("notifications.allow_private")?,
            },
        };
        if config.auth.tokens_file.as_os_str().is_empty() {
            config.auth.tokens_file = config.server.data_dir.join(TOKENS_FILE);
        }
        let (server, trusting) = (&config.server, config.auth.mode == AuthMode::None);
        if trusting && !server.listen.ip().is_loopback() && !server.allow_remote_without_auth {
            return Err(ConfigError::Conflict(format!(
                "server.listen = {} is reachable from other machines while auth.mode is none; listen \
                 on a loopback address, or set server.allow_remote_without_auth = true if everybody \
                 who can reach it may read and write all data",
                server.listen
            )));
        }
        Ok(config)
    }

    fn tls(&self) -> Result<Option<TlsConfig>, ConfigError> {
        let cert_file = self.text("server.tls.cert_file", 0)?;
        let key_file = self.text("server.tls.key_file", 0)?;
        match (cert_file.is_empty(), key_file.is_empty()) {
            (true, true) => Ok(None),
            (false, false) => {
                Ok(Some(TlsConfig { cert_file: cert_file.into(), key_file: key_file.into() }))
            }
            _ => Err(ConfigError::Conflict(
                "server.tls.cert_file and server.tls.key_file are set together or not at all"
                    .into(),
            )),
        }
    }

    fn auth_mode(&self) -> Result<AuthMode, ConfigError> {
        match self.text("auth.mode", 1)?.as_str() {
            "none" => Ok(AuthMode::None),
            "tokens" => Ok(AuthMode::Tokens),
            "keystone" => self.keystone().map(AuthMode::Keystone),
            _ => Err(self.wrong("auth.mode", "must be \"none\", \"tokens\" or \"keystone\"")),
        }
    }

    fn keystone(&self) -> Result<KeystoneConfig, ConfigError> {
        let url = self.text("auth.keystone.url", 0)?;
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(self.wrong("auth.keystone.url", "must be an address as http://host:5000"));
        }
        let password = self.text("auth.keystone.password", 0)?;
        if password.is_empty() {
            let text = "must be set; MONETA_AUTH_KEYSTONE_PASSWORD keeps it out of files";
            return Err(self.wrong("auth.keystone.password", text));
        }
        let ca_file = self.text("auth.keystone.ca_file", 0)?;
        Ok(KeystoneConfig {
            url,
            username: self.text("auth.keystone.username", 1)?,
            password: Password::new(password),
            user_domain_name: self.text("auth.keystone.user_domain_name", 1)?,
            project_name: self.text("auth.keystone.project_name", 1)?,
            project_domain_name: self.text("auth.keystone.project_domain_name", 1)?,
            ca_file: (!ca_file.is_empty()).then(|| ca_file.into()),
            cache_seconds: self.seconds("auth.keystone.cache_seconds")?,
            timeout_seconds: self.seconds("auth.keystone.timeout_seconds")?,
        })
    }

    fn roles(&self) -> Result<RoleNames, ConfigError> {
        let names = |name: &str| {
            let text = self.text(name, 0)?;
            let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
            Ok(names.map(str::to_owned).collect())
        };
        Ok(RoleNames {
            default: names("auth.roles.default")?,
            read_only: names("auth.roles.read_only")?,
            agent: names("auth.roles.agent")?,
            delegate: names("auth.roles.delegate")?,
            admin: names("auth.roles.admin")?,
        })
    }

    fn durability(&self) -> Result<Durability, ConfigError> {
        match self.text("storage.durability", 1)?.as_str() {
            "batch" => Ok(Durability::Batch),
            "os" => Ok(Durability::Os),
            _ => Err(self.wrong("storage.durability", "must be \"batch\" or \"os\"")),
        }
    }

    fn free_space(&self, name: &str) -> Result<FreeSpace, ConfigError> {
        free_space(&self.text(name, 1)?).ok_or_else(|| {
            self.wrong(name, "must be bytes such as \"512MiB\", or a share from 1% to 99%")
        })
    }

    fn data_dir(&self, environment: &[(String, String)]) -> Result<PathBuf, ConfigError> {
        if self.given.contains_key("server.data_dir") {
            return Ok(PathBuf::from(self.text("server.data_dir", 1)?));
        }
        let variable = |name: &str| {
            let found = environment.iter().find(|(have, value)| have == name && !value.is_empty());
            found.map(|(_, value)| PathBuf::from(value))
        };
        variable("XDG_DATA_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".local/share")))
            .map(|folder| folder.join("moneta"))
            .ok_or_else(|| {
                ConfigError::Conflict(
                    "server.data_dir is not set, and neither XDG_DATA_HOME nor HOME says where \
                     data belongs"
                        .into(),
                )
            })
    }

    /// The value given for `name`, or its default.
    fn value(&self, name: &str) -> toml::Value {
        if let Some(given) = self.given.get(name) {
            return given.value.clone();
        }
        let default = find(name).map_or("", |key| key.default);
        let table = format!("value = {default}").parse::<toml::Table>().ok();
        table.and_then(|mut table| table.remove("value")).unwrap_or_else(|| bare(""))
    }

    fn wrong(&self, name: &str, message: impl Into<String>) -> ConfigError {
        let origin = self.given.get(name).map_or("default", |given| given.origin.as_str());
        ConfigError::Value {
            origin: origin.to_owned(),
            name: name.to_owned(),
            message: message.into(),
        }
    }

    fn text(&self, name: &str, min: usize) -> Result<String, ConfigError> {
        let value = self.value(name);
        let text = value.as_str().ok_or_else(|| self.wrong(name, "must be a text"))?;
        let is_path = name == "server.data_dir" || name.ends_with("_file");
        let max = if is_path { 4096 } else { 255 };
        if !(min..=max).contains(&text.chars().count()) || text.chars().any(char::is_control) {
            let rule = format!("must have {min} to {max} characters, no control characters");
            return Err(self.wrong(name, rule));
        }
        Ok(text.to_owned())
    }

    fn address(&self, name: &str) -> Result<SocketAddr, ConfigError> {
        let text = self.text(name, 1)?;
        let text =
            text.strip_prefix("localhost:").map_or(text.clone(), |p| format!("127.0.0.1:{p}"));
        text.parse()
            .map_err(|_| self.wrong(name, "must be an address and a port, as 127.0.0.1:8070"))
    }

    fn switch(&self, name: &str) -> Result<bool, ConfigError> {
        self.value(name).as_bool().ok_or_else(|| self.wrong(name, "must be true or false"))
    }

    fn number(&self, name: &str) -> Result<u64, ConfigError> {
        self.bounded(name, &self.value(name))
    }

    fn size(&self, name: &str) -> Result<usize, ConfigError> {
        usize::try_from(self.number(name)?).map_err(|_| self.wrong(name, "is too large here"))
    }

    fn seconds(&self, name: &str) -> Result<u32, ConfigError> {
        u32::try_from(self.number(name)?).map_err(|_| self.wrong(name, "is too large"))
    }

    /// Days, of which none mean for ever.
    fn keep(&self, name: &str) -> Result<Keep, ConfigError> {
        match self.number(name)? {
            0 => Ok(Keep::Forever),
            days => Ok(Keep::For(Duration::from_secs(days.saturating_mul(86_400)))),
        }
    }

    fn periods(&self, name: &str) -> Result<Vec<u32>, ConfigError> {
        let value = self.value(name);
        let items =
            value.as_array().ok_or_else(|| self.wrong(name, "must be a list of numbers"))?;
        items
            .iter()
            .map(|item| {
                let number = self.bounded(name, item)?;
                u32::try_from(number).map_err(|_| self.wrong(name, "is too large"))
            })
            .collect()
    }

    /// A whole number within the bounds of the setting called `name`.
    fn bounded(&self, name: &str, value: &toml::Value) -> Result<u64, ConfigError> {
        let (min, max) = match find(name).map(|key| key.kind) {
            Some(Kind::Number { min, max } | Kind::Numbers { min, max }) => (min, max),
            Some(Kind::Text | Kind::Address | Kind::Switch) | None => (0, u64::MAX),
        };
        let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
        number
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| self.wrong(name, format!("must be a whole number from {min} to {max}")))
    }
}

/// `512MiB`, `1073741824`, `5%`.
fn free_space(text: &str) -> Option<FreeSpace> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let shift = match unit.trim_start() {
        "%" => {
            let percent = u8::try_from(number).ok().filter(|percent| (1..=99).contains(percent))?;
            return Some(FreeSpace::Percent(percent));
        }
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift).map(FreeSpace::Bytes)
}

fn bare(text: &str) -> toml::Value {
    toml::Value::String(text.to_owned())
}

fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

fn unknown(origin: &str, name: &str, nearest: Option<String>) -> ConfigError {
    ConfigError::Unknown { origin: origin.to_owned(), name: name.to_owned(), nearest }
}

fn nearest_name(name: &str) -> Option<String> {
    nearest(name, KEYS.iter().map(|key| key.name.to_owned()))
}

/// The known name most like `name`, if it is alike at all.
fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    known
        .map(|known| (strsim::jaro_winkler(name, &known), known))
        .filter(|(alike, _)| *alike > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

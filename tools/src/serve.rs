//! `moneta serve`: settings, logging, and the server.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use moneta_server::{Config, ConfigSources};
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

/// The level of what is logged, and of which part: `info`, `debug`, `info,moneta_storage=debug`.
const LOG_VARIABLE: &str = "MONETA_LOG";

#[derive(Args)]
#[command(
    after_help = "Settings come from the file, then MONETA_… variables, then these options; \
the last one counts.\nThe level of the log is taken from MONETA_LOG (default: info)."
)]
pub(crate) struct Serve {
    /// Settings, in TOML. Without it the defaults hold
    #[arg(long, value_name = "FILE", env = "MONETA_CONFIG")]
    config: Option<PathBuf>,
    /// Folder that holds all data (setting server.data_dir)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address of every API (setting server.listen)
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Any setting, such as alarms.delay_seconds=10. May be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Refuse to start when something acknowledged is damaged or missing (setting storage.strict)
    #[arg(long)]
    strict: bool,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Auto)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Text on a terminal, JSON otherwise
    Auto,
    /// Lines for people
    Text,
    /// One JSON object per line
    Json,
}

impl Serve {
    pub(crate) fn run(self, runtime: &Runtime) -> anyhow::Result<ExitCode> {
        let log_format = self.log_format;
        let config = match self.sources().and_then(|sources| Ok(Config::load(sources)?)) {
            Ok(config) => config,
            Err(error) => {
                eprintln!("moneta: {error:#}");
                return Ok(ExitCode::from(2));
            }
        };
        start_log(log_format)?;
        runtime.block_on(moneta_server::run(config))?;
        Ok(ExitCode::SUCCESS)
    }

    fn sources(self) -> anyhow::Result<ConfigSources> {
        let mut overrides = Vec::new();
        if let Some(directory) = self.data_dir {
            let directory = directory.into_os_string().into_string();
            let directory = directory.map_err(|_| anyhow::anyhow!("--data-dir is not UTF-8"))?;
            overrides.push(("server.data_dir".to_owned(), directory));
        }
        overrides.extend(self.listen.map(|listen| ("server.listen".to_owned(), listen)));
        if self.strict {
            overrides.push(("storage.strict".to_owned(), "true".to_owned()));
        }
        overrides.extend(self.set);
        // The file's variable names the file; it is no setting of the server.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name != "MONETA_CONFIG")
            .collect();
        Ok(ConfigSources { file: self.config, environment, overrides })
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        Some(_) | None => Err("write KEY=VALUE, such as server.region=north".to_owned()),
    }
}

fn start_log(format: LogFormat) -> anyhow::Result<()> {
    let levels = match std::env::var(LOG_VARIABLE) {
        Ok(levels) if !levels.is_empty() => levels,
        Ok(_) | Err(_) => "info".to_owned(),
    };
    let filter = EnvFilter::try_new(&levels)
        .with_context(|| format!("{LOG_VARIABLE} is {levels:?}, which is no level"))?;
    let terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => log.with_ansi(terminal).try_init(),
        LogFormat::Auto if terminal => log.try_init(),
        LogFormat::Json | LogFormat::Auto => log.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("the log cannot start: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_split_at_the_first_sign() {
        let pair = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(setting("a.b=c=d"), pair("a.b", "c=d"));
        assert_eq!(setting("a = "), pair("a", ""));
        assert!(setting("=x").is_err() && setting("x").is_err());
    }

    #[test]
    fn options_become_overrides_and_set_counts_last() {
        let serve = Serve {
            config: None,
            data_dir: Some("/data".into()),
            listen: Some("127.0.0.1:0".into()),
            strict: true,
            set: vec![("server.listen".into(), "127.0.0.1:1".into())],
            log_format: LogFormat::Auto,
        };
        let overrides = serve.sources().unwrap().overrides;
        let shown: Vec<String> = overrides.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let want = [
            "server.data_dir=/data",
            "server.listen=127.0.0.1:0",
            "storage.strict=true",
            "server.listen=127.0.0.1:1",
        ];
        assert_eq!(shown, want);
    }
}

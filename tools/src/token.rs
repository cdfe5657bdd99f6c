//! `moneta token`: the tokens of a server with `auth.mode = "tokens"`, in a file of its machine.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use moneta_server::{Config, ConfigSources, NewToken, TokenFile};
use moneta_storage::model::Timestamp;
use serde_json::json;

use crate::output::{Format, Table};
use crate::time;

#[derive(Subcommand)]
pub(crate) enum Token {
    /// Make a token and print it; it is shown this once
    Create(Create),
    /// The tokens there are, without the tokens themselves
    List(List),
    /// End a token; the server lets it in for a second at most
    Revoke(Revoke),
}

/// Where the file of tokens is.
#[derive(Args)]
struct Place {
    /// The file (default: setting auth.tokens_file, else tokens.toml in the data directory)
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The server's settings
    #[arg(long, value_name = "FILE", env = "MONETA_CONFIG")]
    config: Option<PathBuf>,
    /// The server's folder (setting server.data_dir)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Create {
    /// Tenant the token stands for
    #[arg(long)]
    tenant: String,
    /// Role; may be repeated. See the settings auth.roles
    #[arg(long, default_value = "monasca-user")]
    role: Vec<String>,
    /// What it is for
    #[arg(long, default_value = "")]
    note: String,
    /// When it ends, as +90d or 2027-01-01; without this when it is revoked
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    expires: Option<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    place: Place,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Args)]
pub(crate) struct Revoke {
    /// Id of the token, as `moneta token list` shows it
    id: String,
    #[command(flatten)]
    place: Place,
}

impl Place {
    fn file(&self) -> anyhow::Result<TokenFile> {
        if let Some(file) = &self.file {
            return Ok(TokenFile::at(file));
        }
        let data_dir = self.data_dir.as_ref().map(|folder| folder.display().to_string());
        let config = Config::load(ConfigSources {
            file: self.config.clone(),
            environment: std::env::vars().collect(),
            overrides: data_dir
                .map(|folder| ("server.data_dir".into(), folder))
                .into_iter()
                .collect(),
        })?;
        Ok(TokenFile::at(&config.auth.tokens_file))
    }
}

impl Token {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Token::Create(create) => create.run(),
            Token::List(list) => list.run(),
            Token::Revoke(revoke) => revoke.run(),
        }
    }
}

impl Create {
    fn run(self) -> anyhow::Result<ExitCode> {
        let now = time::now();
        let expires = self.expires.map(|text| time::parse(&text, now)).transpose()?;
        anyhow::ensure!(expires.is_none_or(|expires| expires > now), "that time is over");
        let new = NewToken {
            tenant: self.tenant,
            roles: self.role,
            note: self.note,
            expires: expires.map(Timestamp::from_millis),
        };
        let file = self.place.file()?;
        let (secret, entry) = file.create(new, Timestamp::from_millis(now))?;
        eprintln!("token {} for tenant {}; it is not shown again:", entry.id, entry.tenant);
        println!("{secret}");
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn run(self) -> anyhow::Result<ExitCode> {
        let tokens = self.place.file()?.list()?;
        let rows: Vec<_> = tokens
            .iter()
            .map(|token| {
                json!({
                    "id": token.id,
                    "tenant": token.tenant,
                    "roles": token.roles.join(", "),
                    "created": token.created,
                    "expires": token.expires,
                    "note": token.note,
                })
            })
            .collect();
        let columns = ["id", "tenant", "roles", "created", "expires", "note"];
        Table::of(&rows, &columns).print(self.output)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Revoke {
    fn run(self) -> anyhow::Result<ExitCode> {
        let revoked = self.place.file()?.revoke(&self.id)?;
        let revoked = revoked.ok_or_else(|| anyhow::anyhow!("there is no token {}", self.id))?;
        println!("token {} for tenant {} is revoked", revoked.id, revoked.tenant);
        Ok(ExitCode::SUCCESS)
    }
}

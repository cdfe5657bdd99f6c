//! `moneta snapshot`: a data directory that shares files with a live one.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use crate::client::Connection;
use crate::offline;
use crate::progress::size;

#[derive(Args)]
#[command(
    after_help = "The server makes it, unless --data-dir names a directory that no server has open. \
Everything acknowledged before is inside; it opens as a data directory and shares its files with the \
other one, so it is no protection against a failing disk: see `moneta backup`."
)]
pub(crate) struct Snapshot {
    /// Folder to make, on the file system of the data directory
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Data directory of a server that does not run
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Snapshot {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let to = std::path::absolute(&self.to)?;
        let made = match &self.data_dir {
            Some(data) => {
                let list = offline::open_keeping_log(data)?.snapshot(&to)?;
                json!({"to": to.display().to_string(), "files": list.files(), "bytes": list.bytes(),
                       "newest": list.newest.number(), "without": list.without()})
            }
            None => {
                let body = json!({"to": to.to_str().context("--to is no text")?});
                self.connection.client()?.patient().post(&["admin", "snapshots"], &body).await?
            }
        };
        if self.json {
            println!("{made}");
        } else {
            let number = |name: &str| made.get(name).and_then(Value::as_u64).unwrap_or(0);
            let bytes = size(number("bytes") as f64);
            println!("{}: {} files, {bytes}, shared", to.display(), number("files"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

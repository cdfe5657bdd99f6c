//! `moneta backup`: takes a backup, and looks after the repository that holds it.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use moneta_storage::backup::Repository;
use serde_json::{Value, json};

use crate::client::{Client, Connection};
use crate::offline;
use crate::output::{Format, Table};
use crate::progress::{ProgressLine, Stage, size};
use crate::time;

/// What a command ends with that has found damage.
pub(crate) const DAMAGED: u8 = 3;

/// Between two looks at the job of the server.
const POLL: Duration = Duration::from_millis(200);

#[derive(Args)]
#[command(
    subcommand_negates_reqs = true,
    after_help = "The server takes the backup, so the folder is one of its machine; unless --data-dir \
names a directory that no server has open. Only files that are new since the last backup are copied.\n\
Exit codes: 0 done; 1 failed; 2 wrong arguments; 3 something in the repository is damaged (verify)."
)]
pub(crate) struct Backup {
    #[command(subcommand)]
    action: Option<Action>,
    /// Repository to add a backup to; made if it does not exist
    #[arg(long, value_name = "DIR", required = true)]
    to: Option<PathBuf>,
    /// Data directory of a server that does not run
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand)]
enum Action {
    /// List the backups of a repository
    List {
        /// The repository
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// Form of the list
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Read every file of a repository and compare it with its checksum
    Verify {
        /// The repository
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// Only what this backup needs
        #[arg(long, value_name = "N")]
        id: Option<u64>,
    },
    /// Remove old backups and the files that no other backup needs
    Prune {
        /// The repository
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// Newest backups to keep
        #[arg(long, value_name = "N")]
        keep: NonZeroU64,
    },
    /// End the backup that a server is taking
    Cancel {
        #[command(flatten)]
        connection: Connection,
    },
}

impl Backup {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Some(Action::List { from, output }) => list(&from, output),
            Some(Action::Verify { from, id }) => verify(&from, id),
            Some(Action::Prune { from, keep }) => prune(&from, keep),
            Some(Action::Cancel { connection }) => {
                connection.client()?.delete(&["admin", "backups"]).await?;
                Ok(ExitCode::SUCCESS)
            }
            None => {
                let to = std::path::absolute(self.to.context("--to is missing")?)?;
                let taken = match &self.data_dir {
                    Some(data) => offline_backup(data, &to)?,
                    None => online_backup(&self.connection.client()?, &to).await?,
                };
                if self.json {
                    println!("{taken}");
                } else {
                    let number = |name: &str| taken.get(name).and_then(Value::as_u64).unwrap_or(0);
                    println!(
                        "backup {} in {}: {} files, {}; new: {} files, {}",
                        number("id"),
                        to.display(),
                        number("files"),
                        size(number("bytes") as f64),
                        number("new_files"),
                        size(number("new_bytes") as f64)
                    );
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn offline_backup(data: &Path, to: &Path) -> anyhow::Result<Value> {
    let mut line = ProgressLine::new();
    let store = offline::open_keeping_log(data)?;
    let taken = store.backup(to, &mut |progress| line.watch(progress))?;
    Ok(json!({"id": taken.id, "files": taken.files, "bytes": taken.bytes,
              "new_files": taken.new_files, "new_bytes": taken.new_bytes}))
}

/// Starts the job of the server and waits for its end.
async fn online_backup(client: &Client, to: &Path) -> anyhow::Result<Value> {
    let path = ["admin", "backups"];
    let body = json!({"to": to.to_str().context("--to is no text")?});
    let begun = client.post(&path, &body).await?;
    let number = begun.get("job").and_then(Value::as_u64);
    let mut line = ProgressLine::new();
    loop {
        let job = client.get(&path, &[]).await?;
        if job.get("job").and_then(Value::as_u64) != number {
            bail!("the server has begun another backup; what became of this one its log tells");
        }
        let field = |name: &str| job.get(name).and_then(Value::as_u64).unwrap_or(0);
        let text = |name: &str| job.get(name).and_then(Value::as_str).unwrap_or_default();
        match text("state") {
            "done" => return job.get("backup").cloned().context("the answer has no backup"),
            "running" => line.show(Stage {
                step: text("step"),
                files: field("files"),
                files_total: field("files_total"),
                bytes: field("bytes"),
                bytes_total: field("bytes_total"),
            }),
            _ => {
                drop(line);
                bail!("the backup failed: {}", text("error"));
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

fn list(from: &Path, output: Format) -> anyhow::Result<ExitCode> {
    let columns = ["id", "taken", "files", "bytes", "newest", "program", "format", "damage"];
    let mut table = Table::new(columns.map(str::to_owned).to_vec());
    let mut code = ExitCode::SUCCESS;
    for backup in Repository::open(from)?.list()? {
        table.rows.push(match backup.list {
            Ok(list) => vec![
                json!(backup.id),
                json!(time::iso(list.taken.millis())?),
                json!(list.files()),
                json!(list.bytes()),
                json!(list.newest.number()),
                json!(list.program),
                json!(list.format),
                Value::Null,
            ],
            Err(error) => {
                code = ExitCode::from(DAMAGED);
                let unknown = columns.iter().skip(2).map(|_| Value::Null);
                let damage = json!(error.to_string());
                [json!(backup.id)].into_iter().chain(unknown).chain([damage]).collect()
            }
        });
    }
    table.print(output)?;
    Ok(code)
}

fn verify(from: &Path, id: Option<u64>) -> anyhow::Result<ExitCode> {
    let repository = Repository::open(from)?;
    let mut line = ProgressLine::new();
    let checked = repository.check(id, &mut |progress| line.watch(progress))?;
    drop(line);
    for (error, backups) in &checked.damaged {
        let backups: Vec<String> = backups.iter().map(ToString::to_string).collect();
        eprintln!("moneta: {error}: backup {} needs it", backups.join(", "));
    }
    let bytes = size(checked.bytes as f64);
    let (backups, files, damaged) = (checked.backups, checked.files, checked.damaged.len());
    println!("{backups} backups, {files} files, {bytes}: {damaged} damaged");
    if damaged > 0 {
        println!(
            "a damaged file of objects/ can be removed: the next backup copies it if it still can"
        );
    }
    Ok(if damaged == 0 { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
}

fn prune(from: &Path, keep: NonZeroU64) -> anyhow::Result<ExitCode> {
    let pruned = Repository::open_alone(from)?.prune(keep)?;
    let bytes = size(pruned.bytes as f64);
    println!("removed {} backups, {} files, {bytes}", pruned.backups, pruned.files);
    Ok(ExitCode::SUCCESS)
}

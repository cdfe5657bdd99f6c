//! `moneta restore`: makes a data directory of a backup.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use moneta_storage::backup::Repository;
use moneta_storage::clock::SystemClock;
use moneta_storage::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::backup::DAMAGED;
use crate::progress::{ProgressLine, size};

#[derive(Args)]
#[command(
    after_help = "Every checksum is compared while copying; then the result is opened and every block \
of it read. When anything fails, nothing is left. A folder with the file `unfinished` was \
interrupted by a crash: the server refuses it; remove it.\n\
Exit codes: 0 done; 1 failed; 2 wrong arguments; 3 the backup is damaged."
)]
pub(crate) struct Restore {
    /// Repository of backups
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Number of the backup; the newest without
    #[arg(long, value_name = "N")]
    id: Option<u64>,
    /// Data directory to make; does not exist or is empty
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Do not open the result and read its blocks: for the backup of a data directory that was
    /// damaged already, to be repaired. Checksums of files are compared all the same
    #[arg(long)]
    unopened: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Restore {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let restored = {
            let repository = Repository::open(&self.from)?;
            let mut line = ProgressLine::new();
            let watch = &mut |progress| line.watch(progress);
            if self.unopened {
                repository.restore_unopened(self.id, &self.to, watch)
            } else {
                repository.restore(self.id, &self.to, Arc::new(SystemClock), watch)
            }
        };
        let restored = match restored {
            Ok(restored) => restored,
            Err(error) => return damage_or_failure(error),
        };
        let (segments, samples) = match restored.verified {
            Some(verified) => (json!(verified.segments), json!(verified.samples)),
            None => (Value::Null, Value::Null),
        };
        if self.json {
            println!(
                "{}",
                json!({
                    "id": restored.id, "files": restored.files, "bytes": restored.bytes,
                    "newest": restored.newest.number(), "segments": segments, "samples": samples,
                    "without": restored.without,
                })
            );
        } else {
            let read = match restored.verified {
                Some(_) => format!("{segments} segments with {samples} samples read, all whole"),
                None => "its blocks were not read".to_owned(),
            };
            println!(
                "backup {} is in {}: {} files, {}; {read}",
                restored.id,
                self.to.display(),
                restored.files,
                size(restored.bytes as f64),
            );
        }
        for path in &restored.without {
            eprintln!("moneta: the store had lost {path} before the backup; see `moneta repair`");
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn damage_or_failure(error: Error) -> anyhow::Result<ExitCode> {
    if error.kind() == ErrorKind::Corrupt {
        eprintln!("moneta: {error}");
        return Ok(ExitCode::from(DAMAGED));
    }
    Err(error.into())
}

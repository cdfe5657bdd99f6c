//! `moneta restore`: makes a data directory of a backup.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use moneta_storage::backup::Repository;
use moneta_storage::clock::SystemClock;
use moneta_storage::{Error, ErrorKind};
use serde_json::json;

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
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Restore {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let restored = {
            let repository = Repository::open(&self.from)?;
            let mut line = ProgressLine::new();
            let clock = Arc::new(SystemClock);
            repository.restore(self.id, &self.to, clock, &mut |progress| line.watch(progress))
        };
        let restored = match restored {
            Ok(restored) => restored,
            Err(error) => return damage_or_failure(error),
        };
        let verified = restored.verified;
        if self.json {
            println!(
                "{}",
                json!({
                    "id": restored.id, "files": restored.files, "bytes": restored.bytes,
                    "newest": restored.newest.number(), "segments": verified.segments,
                    "blocks": verified.blocks, "samples": verified.samples,
                })
            );
        } else {
            println!(
                "backup {} is in {}: {} files, {}; {} segments with {} samples read, all whole",
                restored.id,
                self.to.display(),
                restored.files,
                size(restored.bytes as f64),
                verified.segments,
                verified.samples
            );
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

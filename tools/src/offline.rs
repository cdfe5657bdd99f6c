//! Commands on a data directory that no server has open.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use moneta_storage::clock::SystemClock;
use moneta_storage::feed::Consumer;
use moneta_storage::{Store, StoreConfig};

/// The directory of a server that does not run.
#[derive(Args)]
pub(crate) struct Directory {
    /// Folder that holds all data
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Go on without acknowledged writes at the end of the log that are damaged or missing
    #[arg(long)]
    accept_shorter_log: bool,
}

#[derive(Args)]
pub(crate) struct Merge {
    #[command(flatten)]
    directory: Directory,
}

impl Directory {
    fn open(&self) -> anyhow::Result<Store> {
        let there = self.data.join("rocksdb").is_dir();
        anyhow::ensure!(there, "{} holds no data of moneta", self.data.display());
        let config = StoreConfig { strict: !self.accept_shorter_log, ..StoreConfig::default() };
        Ok(Store::open(&self.data, config, Arc::new(SystemClock))?)
    }
}

/// Opens the directory of a server that does not run and leaves its log as it is: the alarms need it
/// when the server comes back.
pub(crate) fn open_keeping_log(data: &Path) -> anyhow::Result<Store> {
    let there = data.join("rocksdb").is_dir();
    anyhow::ensure!(there, "{} holds no data of moneta", data.display());
    let config = StoreConfig { consumer: Consumer::Expected, ..StoreConfig::default() };
    Ok(Store::open(data, config, Arc::new(SystemClock))?)
}

impl Merge {
    /// Merges the segments of each day. The log stays as it is: the alarms may need it.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let store = self.directory.open()?;
        let before = store.stats();
        store.merge().context("the segments could not be merged")?;
        let after = store.stats();
        drop(store);
        if after.head_rows > 0 {
            println!("{} samples are still in the log alone", after.head_rows);
        }
        println!(
            "{} segments with {} bytes became {} with {} bytes: {} samples, {:.3} bytes each",
            before.segments,
            before.segment_bytes,
            after.segments,
            after.segment_bytes,
            after.segment_samples,
            after.segment_bytes as f64 / after.segment_samples.max(1) as f64
        );
        Ok(ExitCode::SUCCESS)
    }
}

//! RocksDB itself, when it does not open or has entries that cannot be read: a copy goes to
//! quarantine, then RocksDB puts together what is whole; where that fails, a new one takes its place
//! and is filled from the segments.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::index::cache::random_u64;
use crate::key::{Fact, Family, Key};
use crate::kv::{Batch, Kv, Sync};
use crate::offline::{self, QUARANTINE};
use crate::recovery::FORMAT_VERSION;

/// What has become of a damaged RocksDB.
pub(crate) struct Restored {
    pub(crate) kv: Kv,
    /// Where the old one lies.
    pub(crate) aside: PathBuf,
    /// Whether nothing of the old one is in the new one.
    pub(crate) emptied: bool,
    /// Whether the family is lost that remembers retention and deletions.
    pub(crate) forgetful: bool,
}

/// Replaces a damaged RocksDB.
pub(crate) fn restore(directory: &Path) -> Result<Restored, Error> {
    let rocksdb = offline::database(directory);
    let aside = free_name(directory);
    copy(&rocksdb, &aside)?;
    let salvaged = Kv::salvage(&rocksdb, &offline::sizes())
        .and_then(|()| Kv::open(&rocksdb, &offline::sizes()))
        .and_then(|kv| readable(&kv).map(|()| kv));
    let (kv, emptied) = match salvaged {
        Ok(kv) => (kv, false),
        Err(error) => {
            tracing::warn!(%error, "RocksDB cannot be put together again; beginning a new one");
            fs::remove_dir_all(&rocksdb).map_err(|source| Error::io(&rocksdb, &source))?;
            (Kv::open(&rocksdb, &offline::sizes())?, true)
        }
    };
    // Every store has this fact, and it lies in the same family.
    let forgetful = kv.get(&Key::Fact(Fact::FormatVersion))?.is_none();
    facts(&kv)?;
    Ok(Restored { kv, aside, emptied, forgetful })
}

/// Every entry can be read.
fn readable(kv: &Kv) -> Result<(), Error> {
    Family::ALL
        .iter()
        .try_for_each(|&family| kv.scan(family, &[], &[], |_, _| Ok::<_, Error>(true)))
}

/// Adds the facts without which nothing opens.
pub(crate) fn facts(kv: &Kv) -> Result<(), Error> {
    let mut batch = Batch::default();
    if kv.get(&Key::Fact(Fact::FormatVersion))?.is_none() {
        batch.put(&Key::Fact(Fact::FormatVersion), FORMAT_VERSION.to_le_bytes().to_vec());
    }
    if kv.get(&Key::Fact(Fact::HashSeed))?.is_none_or(|seed| seed.len() != 8) {
        batch.put(&Key::Fact(Fact::HashSeed), random_u64().to_le_bytes().to_vec());
    }
    if batch.is_empty() { Ok(()) } else { kv.commit(batch, Sync::Disk) }
}

fn free_name(directory: &Path) -> PathBuf {
    let quarantine = directory.join(QUARANTINE);
    (1..u32::MAX)
        .map(|number| quarantine.join(format!("rocksdb-{number}")))
        .find(|path| !path.exists())
        .unwrap_or(quarantine)
}

/// Copies a folder of files. Tables never change, so they are linked.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let failed = |source: std::io::Error| Error::io(to, &source);
    fs::create_dir_all(to).map_err(failed)?;
    if !from.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(from).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(name) = path.file_name().filter(|_| path.is_file()) else { continue };
        let target = to.join(name);
        let table = path.extension().is_some_and(|ending| ending == "sst");
        if !table || fs::hard_link(&path, &target).is_err() {
            fs::copy(&path, &target).map_err(failed)?;
        }
    }
    Ok(())
}

//! A side record of the newest synced change. RocksDB ends its recovery quietly at the first log record
//! that is damaged; this file, written after every sync and outside RocksDB, tells that something is
//! missing.
//!
//! The file holds RocksDB's number of the change, u64 little-endian, and its CRC-32. It is not synced
//! itself: after a power cut it may be older than the log, never newer.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::block::{seal, unseal};
use crate::error::Error;

pub(crate) struct Acknowledged {
    path: PathBuf,
    file: File,
    /// What the file says. Syncs of several threads end in any order; the greatest counts.
    newest: Mutex<u64>,
}

impl Acknowledged {
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("acknowledged");
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| Error::io(&path, &source))?;
        let newest = Mutex::new(read(&file));
        Ok(Acknowledged { path, file, newest })
    }

    /// Records that changes up to `newest` are synced.
    pub(crate) fn raise(&self, newest: u64) -> Result<(), Error> {
        let mut recorded = self.newest.lock().expect("no code panics while it holds the record");
        if newest > *recorded {
            *recorded = newest;
            self.write(newest)?;
        }
        Ok(())
    }

    /// Records `newest`, whatever was recorded before.
    pub(crate) fn reset(&self, newest: u64) -> Result<(), Error> {
        *self.newest.lock().expect("no code panics while it holds the record") = newest;
        self.write(newest)
    }

    fn write(&self, newest: u64) -> Result<(), Error> {
        let mut bytes = newest.to_le_bytes().to_vec();
        seal(&mut bytes, 0);
        self.file.write_all_at(&bytes, 0).map_err(|source| Error::io(&self.path, &source))
    }

    /// Compares the record with what recovery has found. What is missing, if anything is.
    pub(crate) fn shortfall(&self, newest: u64) -> Option<Error> {
        let recorded = *self.newest.lock().expect("no code panics while it holds the record");
        let place = || {
            format!(
                "{}: the log ends at change {newest}, but change {recorded} was acknowledged; it",
                self.path.with_file_name("rocksdb").display()
            )
        };
        (newest < recorded).then(|| Error::corrupt("or missing end", place()))
    }

    /// Goes on from `newest`, although more was acknowledged.
    pub(crate) fn accept(&self, newest: u64) -> Result<(), Error> {
        let mut recorded = self.newest.lock().expect("no code panics while it holds the record");
        *recorded = newest;
        self.write(newest)
    }
}

/// What the file in `directory` says; 0 if it is not there or empty, `None` if it does not verify.
pub(crate) fn recorded(directory: &Path) -> Result<Option<u64>, Error> {
    let path = directory.join("acknowledged");
    match std::fs::read(&path) {
        Ok(bytes) if bytes.is_empty() => Ok(Some(0)),
        Ok(bytes) => {
            Ok(unseal(&bytes).and_then(|newest| newest.try_into().ok()).map(u64::from_le_bytes))
        }
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(Some(0)),
        Err(source) => Err(Error::io(&path, &source)),
    }
}

/// What the file says; 0 if it says nothing, or nothing that verifies.
fn read(file: &File) -> u64 {
    let mut bytes = [0; 12];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => unseal(&bytes)
            .and_then(|newest| Some(u64::from_le_bytes(newest.try_into().ok()?)))
            .unwrap_or(0),
        Err(_) => 0,
    }
}

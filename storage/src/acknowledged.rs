//! A side record of the newest synced write. RocksDB ends its recovery quietly at the first log record
//! that is damaged; this file, written after every sync and outside RocksDB, tells that something is
//! missing.
//!
//! The file holds the sequence, u64 little-endian, and its CRC-32. It is not synced itself: after a
//! power cut it may be older than the log, never newer.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::block::{seal, unseal};
use crate::error::Error;
use crate::model::Sequence;

pub(crate) struct Acknowledged {
    path: PathBuf,
    file: File,
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
        Ok(Acknowledged { path, file })
    }

    /// The recorded sequence; zero if there is none, or none that verifies.
    pub(crate) fn read(&self) -> Sequence {
        let mut bytes = [0; 12];
        match self.file.read_exact_at(&mut bytes, 0) {
            Ok(()) => unseal(&bytes)
                .and_then(|sequence| Some(u64::from_le_bytes(sequence.try_into().ok()?)))
                .map_or(Sequence::ZERO, Sequence::new),
            Err(_) => Sequence::ZERO,
        }
    }

    pub(crate) fn write(&self, newest: Sequence) -> Result<(), Error> {
        let mut bytes = newest.number().to_le_bytes().to_vec();
        seal(&mut bytes, 0);
        self.file.write_all_at(&bytes, 0).map_err(|source| Error::io(&self.path, &source))
    }

    /// Compares the record with what recovery has found.
    pub(crate) fn check(&self, newest: Sequence, accept_shorter: bool) -> Result<(), Error> {
        let recorded = self.read();
        if newest >= recorded {
            return Ok(());
        }
        let place = format!(
            "{}: the log ends at write {newest}, but write {recorded} was acknowledged; it",
            self.path.with_file_name("rocksdb").display()
        );
        let error = Error::corrupt("or missing end", place);
        if !accept_shorter {
            return Err(error);
        }
        tracing::error!(%error, "starting with what is there");
        self.write(newest)
    }
}

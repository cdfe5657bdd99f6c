//! A side record of the newest synced change. RocksDB ends its recovery quietly at the first log record
//! that is damaged; this file, written after every sync and outside RocksDB, tells that something is
//! missing.
//!
//! The file has two places, written in turn, each with RocksDB's number of the change, u64
//! little-endian, and its CRC-32; the greater one counts. So a write that a power cut tears leaves the
//! one before. It is not synced itself: after a power cut it may be older than the log, never newer.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use crate::block::{seal, unseal};
use crate::error::Error;

/// Bytes of a place.
const PLACE_LEN: usize = 12;
/// Bytes of the file.
const FILE_LEN: usize = 2 * PLACE_LEN;

pub(crate) struct Acknowledged {
    path: PathBuf,
    file: File,
    state: Mutex<State>,
}

struct State {
    /// What the file says. Syncs of several threads end in any order; the greatest counts.
    newest: u64,
    /// Whether the second place is written next.
    second: bool,
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
        let mut bytes = Vec::new();
        (&file).read_to_end(&mut bytes).map_err(|source| Error::io(&path, &source))?;
        if bytes.len() < FILE_LEN {
            // New, or never finished: nothing was acknowledged with it. From here on one place is
            // whole at every moment.
            let mut place = 0_u64.to_le_bytes().to_vec();
            seal(&mut place, 0);
            bytes = [place.clone(), place].concat();
            file.write_all_at(&bytes, 0)
                .and_then(|()| file.sync_all())
                .map_err(|source| Error::io(&path, &source))?;
        }
        let places = places(&bytes);
        let newest = places.iter().flatten().copied().max().unwrap_or(0);
        // The one that counts is left alone.
        let second = places.first().is_some_and(|&first| first == Some(newest));
        Ok(Acknowledged { path, file, state: Mutex::new(State { newest, second }) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the record")
    }

    /// Records that changes up to `newest` are synced.
    pub(crate) fn raise(&self, newest: u64) -> Result<(), Error> {
        let mut state = self.lock();
        if newest > state.newest {
            state.newest = newest;
            self.write(&mut state)?;
        }
        Ok(())
    }

    /// Records `newest`, whatever was recorded before, because that is what there is now.
    pub(crate) fn reset(&self, newest: u64) -> Result<(), Error> {
        let mut state = self.lock();
        state.newest = newest;
        // Both places: the other one may hold a greater number.
        self.write(&mut state)?;
        self.write(&mut state)
    }

    fn write(&self, state: &mut State) -> Result<(), Error> {
        let mut bytes = state.newest.to_le_bytes().to_vec();
        seal(&mut bytes, 0);
        let at = if state.second { PLACE_LEN as u64 } else { 0 };
        state.second = !state.second;
        self.file.write_all_at(&bytes, at).map_err(|source| Error::io(&self.path, &source))
    }

    /// Compares the record with what recovery has found. What is missing, if anything is.
    pub(crate) fn shortfall(&self, newest: u64) -> Option<Error> {
        let recorded = self.lock().newest;
        shortfall(&self.path.with_file_name("rocksdb"), recorded, newest)
    }
}

/// What is missing of a database that ends at change `newest`, if anything is.
pub(crate) fn shortfall(rocksdb: &Path, recorded: u64, newest: u64) -> Option<Error> {
    let place = || {
        format!(
            "{}: the log ends at change {newest}, but change {recorded} was acknowledged; it",
            rocksdb.display()
        )
    };
    (newest < recorded).then(|| Error::corrupt("or missing end", place()))
}

/// What the file in `directory` says; 0 if it is not there or not whole yet, `None` if it does not
/// verify.
pub(crate) fn recorded(directory: &Path) -> Result<Option<u64>, Error> {
    let path = directory.join("acknowledged");
    match std::fs::read(&path) {
        Ok(bytes) if bytes.len() < FILE_LEN => Ok(Some(0)),
        Ok(bytes) => Ok(places(&bytes).into_iter().flatten().max()),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(Some(0)),
        Err(source) => Err(Error::io(&path, &source)),
    }
}

/// What stands in each place; `None` where it does not verify.
fn places(bytes: &[u8]) -> Vec<Option<u64>> {
    let number = |place: &[u8]| Some(u64::from_le_bytes(unseal(place)?.try_into().ok()?));
    bytes.chunks(PLACE_LEN).map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_write_leaves_the_record_before() {
        let directory = tempfile::tempdir().unwrap();
        let record = Acknowledged::open(directory.path()).unwrap();
        for newest in [5, 9, 300, 70_000] {
            record.raise(newest).unwrap();
        }
        let path = directory.path().join("acknowledged");
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(recorded(directory.path()).unwrap(), Some(70_000));
        let mut seen = Vec::new();
        for at in 0..whole.len() {
            let mut torn = whole.clone();
            torn[at] ^= 0x55;
            std::fs::write(&path, &torn).unwrap();
            seen.push(recorded(directory.path()).unwrap());
            // Going on writes the damaged place, and the record is as it should be.
            let record = Acknowledged::open(directory.path()).unwrap();
            record.raise(80_000).unwrap();
            assert_eq!(recorded(directory.path()).unwrap(), Some(80_000));
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [Some(300), Some(70_000)]);
        record.reset(7).unwrap();
        assert_eq!(recorded(directory.path()).unwrap(), Some(7));
        std::fs::write(&path, b"nonsense that is long enough").unwrap();
        assert_eq!(recorded(directory.path()).unwrap(), None);
    }
}

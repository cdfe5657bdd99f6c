//! Makes a data directory of a backup.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::copy;
use super::fresh::FreshFolder;
use super::list::FileList;
use super::progress::{Meter, Step, Watch};
use super::repository::Repository;
use crate::clock::Clock;
use crate::config::StoreConfig;
use crate::error::Error;
use crate::feed::Consumer;
use crate::files;
use crate::model::Sequence;
use crate::store::Store;
use crate::verify::{Verified, verify_live};

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Number of the backup.
    pub id: u64,
    /// Files.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Newest write that was acknowledged before the backup.
    pub newest: Sequence,
    /// What was verified in the end, if anything was.
    pub verified: Option<Verified>,
    /// Segments that the store already had no more, or only in quarantine, when the backup was taken.
    pub without: Vec<String>,
}

impl Repository {
    /// Copies backup `id`, the newest one without, to `target`, which does not exist yet or is an
    /// empty folder; compares every checksum meanwhile; then opens the result as a store and reads
    /// every block. Until all of that is done the target is marked, and refuses to be opened.
    ///
    /// # Errors
    /// `Corrupt` names a damaged file, `Invalid` a target that will not do, `Stopped` a disk that
    /// refuses. The target is left as it was.
    pub fn restore(
        &self,
        id: Option<u64>,
        target: &Path,
        clock: Arc<dyn Clock>,
        watch: &mut Watch<'_>,
    ) -> Result<Restored, Error> {
        let fresh = FreshFolder::claim(target)?;
        let mut meter = Meter::new(watch);
        let list = self.copy_out(id, target, &mut meter)?;
        meter.begin(Step::Verify, 0, 0)?;
        // The alarms go on where the backup's stopped, and need the log from there.
        let config = StoreConfig { consumer: Consumer::Expected, ..StoreConfig::default() };
        let store = Store::open_unfinished(target, config, clock)?;
        for missing in store.shared().live.quarantined() {
            // What the store had lost before is told, what the backup has lost is an error.
            if !list.is_without(&missing.address) {
                let place = format!("{}: {missing}", missing.path.display());
                return Err(Error::corrupt("segment", place));
            }
        }
        let verified = verify_live(store.shared())?;
        drop(store);
        fresh.finish()?;
        Ok(Restored::new(&list, Some(verified)))
    }

    /// [`restore`](Self::restore) without opening the result: for the backup of a data directory that
    /// was damaged when it was taken, to be repaired.
    ///
    /// # Errors
    /// As for `restore`, but for damage that the backup has copied.
    pub fn restore_unopened(
        &self,
        id: Option<u64>,
        target: &Path,
        watch: &mut Watch<'_>,
    ) -> Result<Restored, Error> {
        let fresh = FreshFolder::claim(target)?;
        let list = self.copy_out(id, target, &mut Meter::new(watch))?;
        fresh.finish()?;
        Ok(Restored::new(&list, None))
    }

    /// Copies every file of a backup, with its checksum compared, and syncs them.
    fn copy_out(
        &self,
        id: Option<u64>,
        target: &Path,
        meter: &mut Meter<'_, '_>,
    ) -> Result<FileList, Error> {
        let list = self.find(id)?;
        meter.begin(Step::Copy, list.files(), list.bytes())?;
        let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
        for file in &list.files {
            let to = target.join(&file.path);
            if let Some(above) = to.parent()
                && folders.insert(above.to_path_buf())
            {
                files::create_folder(above)?;
            }
            let from = self.object(file)?;
            let content = copy::copy(&from, &to, meter)?;
            if (content.0, Some(content.1)) != (file.bytes, file.checksum) {
                return Err(Error::corrupt("checksum", from.display().to_string()));
            }
            meter.add_file()?;
        }
        for folder in &folders {
            files::sync_folder(folder)?;
        }
        Ok(list)
    }
}

impl Restored {
    fn new(list: &FileList, verified: Option<Verified>) -> Self {
        let (files, bytes) = (list.files(), list.bytes());
        let without = list.without();
        Restored { id: list.id, files, bytes, newest: list.newest, verified, without }
    }
}

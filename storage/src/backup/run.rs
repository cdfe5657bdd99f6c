//! A backup: a snapshot in the store's own folder for staging, then copies of what the repository does
//! not have yet, then the list.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::TryLockError;

use super::list::{FileEntry, FileList};
use super::progress::{Meter, Step, Watch};
use super::repository::{LoneRepository, Repository};
use super::{STAGING, copy, folder, refuse_inside, snapshot};
use crate::error::Error;
use crate::fail_point::{self, Point};
use crate::files;
use crate::key::{Fact, Key};
use crate::store::Store;
use crate::threads::Shared;

/// A backup that was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// Its number in the repository.
    pub id: u64,
    /// Files that it holds.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Files that were not in the repository yet.
    pub new_files: u64,
    /// Bytes of those.
    pub new_bytes: u64,
}

impl Store {
    /// Adds a backup to `repository`, which is made if it does not exist, on whatever file system. It
    /// holds everything acknowledged before the call; only files that are new are copied. Writes
    /// go on meanwhile.
    ///
    /// # Errors
    /// `Invalid` for a folder that will not do, when another backup runs, or when `watch` ends it;
    /// `Stopped` if a disk refuses. The backups that were there stay whole.
    pub fn backup(&self, repository: &Path, watch: &mut Watch<'_>) -> Result<Taken, Error> {
        let shared = &self.shared;
        refuse_inside(&shared.directory, repository)?;
        let _alone = match shared.backing_up.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::WouldBlock) => {
                let text = "another backup of this data directory is running";
                return Err(Error::Invalid(text.into()));
            }
            // It guards nothing in memory.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        };
        let repository = Repository::open_for(repository, identity(shared)?)?;
        let mut meter = Meter::new(watch);
        meter.begin(Step::Flush, 0, 0)?;
        // What the head holds is then copied once, as segments, and not with every backup as log.
        if let Err(error) = self.flush() {
            tracing::warn!(%error, "the backup copies the log: the head was not flushed");
        }
        meter.begin(Step::Link, 0, 0)?;
        let staging = Staging::take(shared)?;
        let known = repository.ids()?.last().and_then(|&newest| repository.read(newest).ok());
        staging.copy_to(&repository, known, &mut meter)
    }
}

/// Tells a store from others. It survives a restore, so that a restored store goes on with its
/// repository.
fn identity(shared: &Shared) -> Result<u128, Error> {
    let seed = shared.kv.get(&Key::Fact(Fact::HashSeed))?;
    let seed = seed.ok_or_else(|| Error::corrupt("or missing hash seed", "the data directory"))?;
    // The seed itself protects the index from chosen keys; it stays in the data directory.
    Ok(xxhash_rust::xxh3::xxh3_128(&seed))
}

/// The snapshot that a backup copies. Removed when dropped.
struct Staging<'a> {
    shared: &'a Shared,
    list: FileList,
}

impl<'a> Staging<'a> {
    fn take(shared: &'a Shared) -> Result<Self, Error> {
        let path = shared.directory.join(STAGING);
        // What an earlier backup could not remove.
        folder::remove_staging(&shared.directory)?;
        Ok(Staging { shared, list: snapshot::take(shared, &path)? })
    }

    fn copy_to(
        &self,
        repository: &LoneRepository,
        known: Option<FileList>,
        meter: &mut Meter<'_, '_>,
    ) -> Result<Taken, Error> {
        let known: HashMap<String, FileEntry> = known
            .into_iter()
            .flat_map(|list| list.files)
            .map(|file| (file.path.clone(), file))
            .collect();
        let mut files = Vec::with_capacity(self.list.files.len());
        let mut new = Vec::new();
        for file in &self.list.files {
            let old = known.get(&file.path).filter(|old| is_same(old, file));
            match old.filter(|old| repository.has(old)) {
                Some(old) => files.push(old.clone()),
                None => new.push(file),
            }
        }
        let new_bytes = new.iter().map(|file| file.bytes).sum();
        meter.begin(Step::Copy, u64::try_from(new.len()).unwrap_or(u64::MAX), new_bytes)?;
        let mut taken = Taken {
            id: repository.next_id()?,
            files: self.list.files(),
            bytes: self.list.bytes(),
            new_files: 0,
            new_bytes: 0,
        };
        for file in new {
            let (copied, is_new) = self.add(repository, file, meter)?;
            taken.new_files += u64::from(is_new);
            taken.new_bytes += if is_new { copied.bytes } else { 0 };
            files.push(copied);
        }
        files::sync_folder(&repository.objects())?;
        fail_point::pass(Point::BackupCopied);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let list = FileList { id: taken.id, files, ..self.list.clone() };
        files::replace(&repository.list_path(taken.id), list.encode().as_bytes())?;
        Ok(taken)
    }

    /// Puts a file into the repository, unless one of the same name and content is there. The file
    /// with its checksum, and whether it was new.
    fn add(
        &self,
        repository: &LoneRepository,
        file: &FileEntry,
        meter: &mut Meter<'_, '_>,
    ) -> Result<(FileEntry, bool), Error> {
        let from = self.shared.directory.join(STAGING).join(&file.path);
        let incoming = Incoming(repository.incoming());
        let (bytes, checksum) = copy::copy(&from, &incoming.0, meter)?;
        if bytes != file.bytes {
            return Err(Error::corrupt("length (it changed)", from.display().to_string()));
        }
        let file = FileEntry { checksum: Some(checksum), ..file.clone() };
        let is_new = !repository.has(&file);
        // Also over an object that is there: if that has gone bad, it is mended.
        let object = repository.object(&file)?;
        fs::rename(&incoming.0, &object).map_err(|source| Error::io(&object, &source))?;
        meter.add_file()?;
        Ok((file, is_new))
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        let path = self.shared.directory.join(STAGING);
        if let Err(source) = fs::remove_dir_all(&path) {
            tracing::warn!(path = %path.display(), %source, "the staging folder was not removed");
        }
    }
}

/// A file on its way into the repository. Removed when dropped, if it has got no other name.
struct Incoming(std::path::PathBuf);

impl Drop for Incoming {
    fn drop(&mut self) {
        match fs::remove_file(&self.0) {
            Ok(()) => {}
            Err(source) if source.kind() == ErrorKind::NotFound => {}
            // The next backup removes it.
            Err(source) => {
                tracing::warn!(path = %self.0.display(), %source, "a part was not removed")
            }
        }
    }
}

/// Whether a file is the one that was copied earlier. Segments and table files never change, and a
/// hard link is the file itself; after a restore, inode and time differ and the bytes decide.
fn is_same(old: &FileEntry, now: &FileEntry) -> bool {
    let never_changes = now.path.ends_with(".seg") || now.path.ends_with(".sst");
    never_changes && old.bytes == now.bytes && old.origin == now.origin
}

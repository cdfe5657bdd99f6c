//! A repository: a folder that holds the backups of one store, each file of them once.
//!
//! ```text
//! REPOSITORY/
//! ├── repository      what this is, and of which store; written last when it is made
//! ├── lock            held alone by a backup or a prune, together by those who read
//! ├── objects/NAME-CHECKSUM.ENDING
//! └── backups/NNNNNNNNNN.list
//! ```
//!
//! A backup is there when its list is: the list is renamed into place after every object that it names
//! is synced, and an object is removed only when no list names it. So whatever is interrupted leaves
//! the backups that were there as they were, and files that the next backup or prune removes.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::list::{FileEntry, FileList, LIST_BYTES_MAX};
use crate::error::Error;
use crate::files;

/// First line of the file `repository`, before the version.
const TITLE: &str = "moneta repository ";
/// Version of everything in a repository but the lists, which have their own.
const VERSION: u32 = 1;
const OBJECTS: &str = "objects";
const BACKUPS: &str = "backups";
const DESCRIPTION: &str = "repository";
const LOCK: &str = "lock";
/// Ending of files that are being written.
const PART: &str = "part";

/// An open repository. Others can read it at the same time, and nobody can change it, as long as it
/// is open for reading.
#[derive(Debug)]
pub struct Repository {
    path: PathBuf,
    _lock: File,
}

/// A repository that nobody else has open, not even for reading: only of this one anything can be
/// removed.
#[derive(Debug)]
pub struct LoneRepository(Repository);

impl Deref for LoneRepository {
    type Target = Repository;

    fn deref(&self) -> &Repository {
        &self.0
    }
}

/// A backup in a repository.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its number.
    pub id: u64,
    /// What it holds, or how its list is damaged.
    pub list: Result<FileList, Error>,
}

impl Repository {
    /// Opens a repository for reading.
    ///
    /// # Errors
    /// `Invalid` if there is none, or if a backup or a prune has it open.
    pub fn open(path: &Path) -> Result<Self, Error> {
        described(path)?;
        let lock = lock_file(path, File::options().read(true))?;
        held(path, lock.try_lock_shared())?;
        Ok(Repository { path: path.to_path_buf(), _lock: lock })
    }

    /// Opens a repository for removing backups, and removes what interrupted backups have left.
    ///
    /// # Errors
    /// `Invalid` if there is none, or if anybody has it open.
    pub fn open_alone(path: &Path) -> Result<LoneRepository, Error> {
        described(path)?;
        Self::alone(path)
    }

    /// Opens the repository of a store for a backup, making it if there is none.
    pub(crate) fn open_for(path: &Path, store: u128) -> Result<LoneRepository, Error> {
        if !path.join(DESCRIPTION).exists() {
            refuse_foreign(path)?;
            for folder in [OBJECTS, BACKUPS] {
                files::create_folder(&path.join(folder))?;
            }
            let repository = Self::alone(path)?;
            let text = format!("{TITLE}{VERSION}\nstore {store:032x}\n");
            files::replace(&path.join(DESCRIPTION), text.as_bytes())?;
            return Ok(repository);
        }
        if described(path)? != store {
            return Err(Error::Invalid(format!(
                "{} holds backups of another data directory",
                path.display()
            )));
        }
        Self::alone(path)
    }

    fn alone(path: &Path) -> Result<LoneRepository, Error> {
        let lock =
            lock_file(path, File::options().read(true).write(true).create(true).truncate(false))?;
        held(path, lock.try_lock())?;
        let repository = Repository { path: path.to_path_buf(), _lock: lock };
        for folder in [OBJECTS, BACKUPS] {
            repository.remove_parts(&path.join(folder))?;
        }
        Ok(LoneRepository(repository))
    }

    fn remove_parts(&self, folder: &Path) -> Result<(), Error> {
        for name in files::below(folder)? {
            if name.extension().is_some_and(|ending| ending == PART) {
                let path = folder.join(name);
                fs::remove_file(&path).map_err(|source| Error::io(&path, &source))?;
            }
        }
        Ok(())
    }

    /// The backups, oldest first.
    ///
    /// # Errors
    /// `Stopped` if the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        Ok(self.ids()?.into_iter().map(|id| Listed { id, list: self.read(id) }).collect())
    }

    /// Numbers of all backups, ascending.
    pub(crate) fn ids(&self) -> Result<Vec<u64>, Error> {
        let names = files::below(&self.path.join(BACKUPS))?;
        let mut ids: Vec<u64> = names
            .iter()
            .filter(|name| name.extension().is_some_and(|ending| ending == "list"))
            .filter_map(|name| name.file_stem()?.to_str()?.parse().ok())
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The list of backup `id`, the newest one without.
    pub(crate) fn find(&self, id: Option<u64>) -> Result<FileList, Error> {
        let ids = self.ids()?;
        let missing = |what: String| {
            let text = format!("{} holds no backup{what}", self.path.display());
            Error::Invalid(text)
        };
        match id {
            Some(id) if ids.contains(&id) => self.read(id),
            Some(id) => Err(missing(format!(" {id}"))),
            None => self.read(*ids.last().ok_or_else(|| missing(String::new()))?),
        }
    }

    pub(crate) fn read(&self, id: u64) -> Result<FileList, Error> {
        let path = self.list_path(id);
        let failed = |source: std::io::Error| Error::io(&path, &source);
        let corrupt = || Error::corrupt("checksum", path.display().to_string());
        if fs::metadata(&path).map_err(failed)?.len() > LIST_BYTES_MAX {
            return Err(corrupt());
        }
        let text = String::from_utf8(fs::read(&path).map_err(failed)?).map_err(|_| corrupt())?;
        FileList::decode(&text).filter(|list| list.id == id).ok_or_else(corrupt)
    }

    pub(crate) fn list_path(&self, id: u64) -> PathBuf {
        self.path.join(BACKUPS).join(format!("{id:010}.list"))
    }

    pub(crate) fn backups(&self) -> PathBuf {
        self.path.join(BACKUPS)
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.path.join(OBJECTS)
    }

    /// Where the copy of a file lies.
    pub(crate) fn object(&self, file: &FileEntry) -> Result<PathBuf, Error> {
        let name = file.object().ok_or_else(|| {
            Error::corrupt("list (a file has no checksum)", self.path.display().to_string())
        })?;
        Ok(self.objects().join(name))
    }

    /// Whether the copy of a file is there, by its length.
    pub(crate) fn has(&self, file: &FileEntry) -> bool {
        self.object(file).and_then(|path| length(&path)).is_ok_and(|length| length == file.bytes)
    }

    /// Where an object is written before it has its name.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.objects().join("incoming").with_extension(PART)
    }

    /// Begins a list that names the objects to come.
    pub(crate) fn next_id(&self) -> Result<u64, Error> {
        Ok(self.ids()?.last().map_or(1, |last| last.saturating_add(1)))
    }
}

fn length(path: &Path) -> Result<u64, Error> {
    fs::metadata(path).map(|facts| facts.len()).map_err(|source| Error::io(path, &source))
}

/// The store whose backups a repository holds.
fn described(path: &Path) -> Result<u128, Error> {
    let file = path.join(DESCRIPTION);
    let text = fs::read_to_string(&file).map_err(|source| {
        if source.kind() == ErrorKind::NotFound {
            Error::Invalid(format!("{} is no repository of backups", path.display()))
        } else {
            Error::io(&file, &source)
        }
    })?;
    let corrupt = || Error::corrupt("description", file.display().to_string());
    let (first, second) = text.split_once('\n').ok_or_else(corrupt)?;
    let version = first.strip_prefix(TITLE).ok_or_else(corrupt)?;
    if version != VERSION.to_string() {
        return Err(Error::Invalid(format!(
            "{} has version {version}, this program reads version {VERSION}",
            path.display()
        )));
    }
    let store = second.trim_end().strip_prefix("store ").ok_or_else(corrupt)?;
    u128::from_str_radix(store, 16).map_err(|_| corrupt())
}

/// Refuses a folder that holds anything else.
fn refuse_foreign(path: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(source) if source.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Error::io(path, &source)),
    };
    for entry in entries {
        let name = entry.map_err(|source| Error::io(path, &source))?.file_name();
        let ours = [OBJECTS, BACKUPS, LOCK].map(std::ffi::OsStr::new);
        // What is left when the making of a repository was interrupted.
        let part = Path::new(DESCRIPTION).with_extension(PART);
        if !ours.contains(&name.as_os_str()) && name != part {
            return Err(Error::Invalid(format!(
                "{} is no repository of backups and not empty",
                path.display()
            )));
        }
    }
    Ok(())
}

fn lock_file(path: &Path, options: &mut fs::OpenOptions) -> Result<File, Error> {
    let lock = path.join(LOCK);
    options.open(&lock).map_err(|source| Error::io(&lock, &source))
}

fn held(path: &Path, outcome: Result<(), TryLockError>) -> Result<(), Error> {
    outcome.map_err(|error| match error {
        TryLockError::WouldBlock => {
            Error::Invalid(format!("{} is in use, try again later", path.display()))
        }
        TryLockError::Error(source) => Error::io(path, &source),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{STAGING, fresh, list, snapshot};
    use super::*;

    #[test]
    fn the_specification_agrees_with_the_code() {
        let spec = include_str!("../../FORMAT.md");
        let says = |text: String| assert!(spec.contains(&text), "FORMAT.md does not say: {text}");
        says(format!("| `{}{}` |", list::TITLE, list::VERSION));
        says(format!("├── {DESCRIPTION}      `{TITLE}{VERSION}`"));
        says(format!("├── {LOCK} "));
        says(format!("├── {OBJECTS}/NAME-CHECKSUM.ENDING\n"));
        says(format!("└── {BACKUPS}/NNNNNNNNNN.list\n"));
        says(format!("├── {}        list of files", snapshot::LIST));
        says(format!("├── {STAGING}/ "));
        says(format!("├── {} ", fresh::MARK));
        says(format!("end in `.{PART}`"));
    }
}

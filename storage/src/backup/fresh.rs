//! A folder that is being filled. Until it is whole it carries a mark, and a store refuses to open it.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::files;

/// The file that marks an unfinished data directory.
pub(crate) const MARK: &str = "unfinished";

/// Refuses a data directory that was never finished.
pub(crate) fn refuse_unfinished(directory: &Path) -> Result<(), Error> {
    if directory.join(MARK).exists() {
        return Err(Error::Invalid(format!(
            "{} is what an interrupted snapshot or restore has left; remove it and begin again",
            directory.display()
        )));
    }
    Ok(())
}

/// A folder that did not exist, or was empty. Dropped before [`finish`](Self::finish), it removes what
/// is in it.
pub(crate) struct FreshFolder {
    path: PathBuf,
    created: bool,
    finished: bool,
}

impl FreshFolder {
    /// Makes the folder and marks it.
    pub(crate) fn claim(path: &Path) -> Result<Self, Error> {
        let failed = |source: std::io::Error| Error::io(path, &source);
        let created = match fs::read_dir(path) {
            Ok(mut entries) => {
                refuse_unfinished(path)?;
                if entries.next().is_some() {
                    let text = format!("{} exists and is not empty", path.display());
                    return Err(Error::Invalid(text));
                }
                false
            }
            Err(source) if source.kind() == ErrorKind::NotFound => {
                files::create_folder(path)?;
                true
            }
            Err(source) => return Err(failed(source)),
        };
        let mark = path.join(MARK);
        // Of two that want the folder at the same time one fails here, and removes nothing.
        let mut file = File::create_new(&mark).map_err(|source| Error::io(&mark, &source))?;
        let fresh = FreshFolder { path: path.to_path_buf(), created, finished: false };
        file.write_all(b"This data directory is being made and is not whole.\n")
            .and_then(|()| file.sync_all())
            .map_err(|source| Error::io(&mark, &source))?;
        files::sync_folder(path)?;
        Ok(fresh)
    }

    /// Everything in it is written and synced: it is whole.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        files::sync_folder(&self.path)?;
        let mark = self.path.join(MARK);
        fs::remove_file(&mark).map_err(|source| Error::io(&mark, &source))?;
        self.finished = true;
        files::sync_folder(&self.path)
    }

    fn remove(&self) -> std::io::Result<()> {
        // The mark goes last, so that what is left in between stays marked.
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else if entry.file_name() != MARK {
                fs::remove_file(entry.path())?;
            }
        }
        fs::remove_file(self.path.join(MARK))?;
        if self.created { fs::remove_dir(&self.path) } else { Ok(()) }
    }
}

impl Drop for FreshFolder {
    fn drop(&mut self) {
        if !self.finished
            && let Err(source) = self.remove()
        {
            let path = self.path.display();
            tracing::warn!(%path, %source, "an unfinished folder was not removed");
        }
    }
}

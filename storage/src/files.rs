//! Files and folders that are there after a power cut: a name is durable when its folder is synced.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Makes what was created, renamed or removed in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| Error::io(folder, &source))
}

/// Makes the name of a segment file durable, and those of the folders above it up to the data directory,
/// which may be new as well.
pub(crate) fn sync_above(segment: &Path) -> Result<(), Error> {
    segment.ancestors().skip(1).take(4).try_for_each(sync_folder)
}

/// Creates a folder and those above it, and makes them durable.
pub(crate) fn create_folder(folder: &Path) -> Result<(), Error> {
    let missing: Vec<&Path> =
        folder.ancestors().take_while(|f| !f.as_os_str().is_empty() && !f.exists()).collect();
    for folder in missing.into_iter().rev() {
        match fs::create_dir(folder) {
            Ok(()) => {}
            // Another thread was quicker.
            Err(source) if source.kind() == ErrorKind::AlreadyExists => {}
            Err(source) => return Err(Error::io(folder, &source)),
        }
        match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent)?,
            Some(_) | None => sync_folder(Path::new("."))?,
        }
    }
    Ok(())
}

/// Every file below `root`, as paths relative to it, ascending. Symbolic links are not followed: none
/// is ever written.
pub(crate) fn below(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        let failed = |source| Error::io(&path, &source);
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let inside = folder.join(entry.file_name());
            if entry.file_type().map_err(failed)?.is_dir() {
                folders.push(inside);
            } else {
                files.push(inside);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Writes a small file, in place of another if there is one: it is there wholly or not at all, and
/// durable when this returns.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let part = path.with_extension("part");
    let failed = |source: std::io::Error| Error::io(&part, &source);
    let mut file = File::create(&part).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&part, path).map_err(|source| Error::io(path, &source))?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

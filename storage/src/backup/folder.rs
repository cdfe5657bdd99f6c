//! Folders: made and synced with all above them, listed, checked for where they lie.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::fresh;
use crate::error::Error;
use crate::offline::QUARANTINE;

/// Folder below the data directory in which a backup keeps the snapshot that it copies.
pub(crate) const STAGING: &str = "staging";

/// Folders of a data directory that belong to the store alone.
const OWN: [&str; 4] = ["rocksdb", "segments", QUARANTINE, STAGING];

/// What is to do before a data directory is opened: refuses one that is unfinished, and removes the
/// staging folder of a backup that was interrupted.
pub(crate) fn clear(directory: &Path) -> Result<(), Error> {
    fresh::refuse_unfinished(directory)?;
    remove_staging(directory)
}

/// Removes the staging folder, if it is there.
pub(super) fn remove_staging(directory: &Path) -> Result<(), Error> {
    let staging = directory.join(STAGING);
    match fs::remove_dir_all(&staging) {
        Ok(()) => sync(directory),
        Err(source) if source.kind() == ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::io(&staging, &source)),
    }
}

/// Makes what was created, renamed or removed in a folder durable.
pub(crate) fn sync(folder: &Path) -> Result<(), Error> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| Error::io(folder, &source))
}

/// Creates a folder and those above it, and makes them durable.
pub(crate) fn create(folder: &Path) -> Result<(), Error> {
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
            Some(parent) if !parent.as_os_str().is_empty() => sync(parent)?,
            Some(_) | None => sync(Path::new("."))?,
        }
    }
    Ok(())
}

/// Every file below `root`, as paths relative to it, ascending. Symbolic links are not followed: none
/// is ever written.
pub(crate) fn files(root: &Path) -> Result<Vec<PathBuf>, Error> {
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

/// Refuses a target that lies in a folder which belongs to the store alone.
pub(crate) fn refuse_inside(data: &Path, target: &Path) -> Result<(), Error> {
    let (data, target) = (resolved(data)?, resolved(target)?);
    for own in OWN {
        if target.starts_with(data.join(own)) {
            let (target, data) = (target.display(), data.display());
            return Err(Error::Invalid(format!(
                "{target} lies in {own}/ of the data directory {data}, which belongs to the store alone"
            )));
        }
    }
    Ok(())
}

/// The path without symbolic links, as far as it exists.
fn resolved(path: &Path) -> Result<PathBuf, Error> {
    let mut there = std::path::absolute(path).map_err(|source| Error::io(path, &source))?;
    let mut rest: Vec<OsString> = Vec::new();
    loop {
        match there.canonicalize() {
            Ok(found) => {
                return Ok(rest.iter().rev().fold(found, |path, part| path.join(part)));
            }
            Err(source) if source.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(Error::io(&there, &source)),
        }
        match there.components().next_back() {
            Some(Component::Normal(name)) => rest.push(name.to_owned()),
            Some(
                Component::ParentDir
                | Component::CurDir
                | Component::RootDir
                | Component::Prefix(_),
            )
            | None => {
                return Err(Error::Invalid(format!("{} cannot be resolved", path.display())));
            }
        }
        there.pop();
    }
}

/// Writes a small file so that it is there wholly or not at all.
pub(crate) fn place(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let part = path.with_extension("part");
    fs::write(&part, bytes)
        .and_then(|()| File::open(&part)?.sync_all())
        .map_err(|source| Error::io(&part, &source))?;
    fs::rename(&part, path).map_err(|source| Error::io(path, &source))?;
    sync(path.parent().unwrap_or(Path::new(".")))
}

//! Folders of backups and snapshots: where they may lie, and what is left of those that were interrupted.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::fresh;
use crate::error::Error;
use crate::files;
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
        Ok(()) => files::sync_folder(directory),
        Err(source) if source.kind() == ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::io(&staging, &source)),
    }
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

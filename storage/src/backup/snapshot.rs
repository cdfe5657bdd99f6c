//! Snapshots of an open store: a checkpoint of RocksDB and hard links of the segments that it lists.
//!
//! **Why they fit together.** The manifest is held still while the checkpoint is made, the manifest
//! read and the segments linked, so the checkpoint's manifest is the one that was read. A segment's file is complete and
//! synced before its entry is committed, and is removed only after a commit that deletes the entry,
//! which cannot come meanwhile: every file that the manifest lists is there to be linked. Numbers are
//! never used again, so what is linked under a name is what was committed under it. A segment that could
//! not be opened at start is linked where it lies, in quarantine; one that is gone is noted in the list.
//!
//! **What is inside.** RocksDB recovers a checkpoint to a prefix of its order of changes. The
//! checkpoint contains its log up to some moment after the call, so that prefix holds whatever was
//! acknowledged before the call, and of every batch all or nothing. Nothing is flushed for it: the
//! log is copied, at most about twice the live log.
//!
//! **What waits.** Only a flush or a merge that wants to commit; writes go on.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::fresh::{FreshFolder, MARK};
use super::list::{FileEntry, FileList, Origin};
use super::refuse_inside;
use crate::acknowledged::Acknowledged;
use crate::error::Error;
use crate::fail_point::{self, Point};
use crate::files;
use crate::key::{self, Family};
use crate::kv::Kv;
use crate::offline::Offline;
use crate::recovery::FORMAT_VERSION;
use crate::roster;
use crate::segment::SegmentAddress;
use crate::store::Store;
use crate::threads::Shared;

/// The file that lists a snapshot's files; written last.
pub(crate) const LIST: &str = "snapshot";

impl Store {
    /// Makes a data directory in `target` that holds everything acknowledged before the call, and
    /// perhaps some of what came during it. It shares files with this one, which costs next to
    /// no space until this store merges or drops them. Writes go on meanwhile.
    ///
    /// `target` does not exist yet or is an empty folder, on the file system of the data directory.
    ///
    /// # Errors
    /// `Invalid` for a target that will not do, `Stopped` if the disk refuses. The target is left
    /// as it was.
    pub fn snapshot(&self, target: &Path) -> Result<FileList, Error> {
        refuse_inside(&self.shared.directory, target)?;
        take(&self.shared, target)
    }
}

pub(crate) fn take(shared: &Shared, target: &Path) -> Result<FileList, Error> {
    let fresh = FreshFolder::claim(target)?;
    same_file_system(&shared.directory, target)?;
    let taken = shared.clock.now();
    let newest = shared.feed.newest();
    // Before the checkpoint, so that it is reached there.
    let newest_change = shared.kv.newest_change();
    let mut folders = BTreeSet::new();
    let mut missing = Vec::new();
    {
        let _still = shared.kv.hold_manifest();
        shared.kv.checkpoint(&target.join("rocksdb"))?;
        fail_point::pass(Point::SnapshotCheckpoint);
        for address in segments(&shared.kv)? {
            let Some(path) = below(&shared.directory, &address) else {
                missing.push(text(&address.path())?);
                continue;
            };
            link(&shared.directory, target, &path)?;
            let above = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
            folders.extend(above.map(Path::to_path_buf));
        }
    }
    // A new one is renamed over it, so what is linked stays as it is.
    if shared.directory.join(roster::NAME).is_file() {
        link(&shared.directory, target, Path::new(roster::NAME))?;
    }
    for folder in folders.iter().rev() {
        files::sync_folder(&target.join(folder))?;
    }
    Acknowledged::open(target)?.raise(newest_change)?;
    let acknowledged = target.join("acknowledged");
    File::open(&acknowledged)
        .and_then(|file| file.sync_all())
        .map_err(|source| Error::io(&acknowledged, &source))?;
    fail_point::pass(Point::SnapshotLinked);
    let list = FileList {
        id: 0,
        taken,
        newest,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        format: FORMAT_VERSION,
        files: entries(target)?,
        missing,
    };
    files::replace(&target.join(LIST), list.encode().as_bytes())?;
    fail_point::pass(Point::SnapshotListed);
    fresh.finish()?;
    Ok(list)
}

/// All segments of the manifest.
fn segments(kv: &Kv) -> Result<Vec<SegmentAddress>, Error> {
    let mut addresses = Vec::new();
    kv.scan(Family::Manifest, &[], &[], |key, _| {
        let corrupt = || Error::corrupt("manifest entry", format!("{key:02x?}"));
        let (tier, partition, number) = key::decode_segment(key).ok_or_else(corrupt)?;
        addresses.push(SegmentAddress { tier, partition, number });
        Ok::<_, Error>(true)
    })?;
    Ok(addresses)
}

/// Where a segment lies, below the data directory: at its place or in quarantine. `None` if it is gone.
fn below(directory: &Path, address: &SegmentAddress) -> Option<PathBuf> {
    let found = Offline::find(directory, address)?;
    Some(found.strip_prefix(directory).ok()?.to_path_buf())
}

fn text(path: &Path) -> Result<String, Error> {
    let not_text = || Error::Invalid(format!("the name of {} is no text", path.display()));
    path.to_str().map(str::to_owned).ok_or_else(not_text)
}

fn link(from: &Path, to: &Path, path: &Path) -> Result<(), Error> {
    let (source, target) = (from.join(path), to.join(path));
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(|source| Error::io(folder, &source))?;
    }
    fs::hard_link(&source, &target).map_err(|error| {
        if error.kind() == std::io::ErrorKind::CrossesDevices {
            elsewhere(from, to)
        } else {
            Error::io(&source, &error)
        }
    })
}

fn same_file_system(data: &Path, target: &Path) -> Result<(), Error> {
    let device = |path: &Path| {
        fs::metadata(path).map(|facts| facts.dev()).map_err(|source| Error::io(path, &source))
    };
    if device(data)? == device(target)? { Ok(()) } else { Err(elsewhere(data, target)) }
}

fn elsewhere(data: &Path, target: &Path) -> Error {
    let (data, target) = (data.display(), target.display());
    Error::Invalid(format!(
        "{target} is on another file system than {data}: a snapshot shares its files; a backup copies them"
    ))
}

/// The files of a snapshot as they are. Their bytes are not read: each part of each of them has a
/// checksum of its own.
fn entries(target: &Path) -> Result<Vec<FileEntry>, Error> {
    let mut entries = Vec::new();
    for path in files::below(target)? {
        if path == Path::new(MARK) {
            continue;
        }
        let whole = target.join(&path);
        let facts = fs::metadata(&whole).map_err(|source| Error::io(&whole, &source))?;
        let seconds = facts.mtime().saturating_mul(1_000_000_000);
        let origin =
            Origin { inode: facts.ino(), modified_ns: seconds.saturating_add(facts.mtime_nsec()) };
        entries.push(FileEntry { path: text(&path)?, bytes: facts.len(), checksum: None, origin });
    }
    Ok(entries)
}

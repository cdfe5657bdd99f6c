//! A data directory that no server has open, for those who look after it: it is locked, and RocksDB
//! is open without changing anything, if it opens at all.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::acknowledged;
use crate::config::StoreConfig;
use crate::error::Error;
use crate::files;
use crate::key::{self, Fact, Family};
use crate::kv::{Kv, KvSizes};
use crate::manifest;
use crate::recovery;
use crate::segment::{Segment, SegmentAddress, SegmentFacts};
use crate::store;

/// Where damaged files go, below the data directory.
pub(crate) const QUARANTINE: &str = "quarantine";

/// A locked directory.
pub(crate) struct Offline {
    pub(crate) directory: PathBuf,
    /// Why there is none: RocksDB's own words.
    pub(crate) kv: Result<Kv, Error>,
    /// The newest synced change, as recorded; `None` if the record does not verify.
    pub(crate) acknowledged: Option<u64>,
    _lock: File,
}

/// Sizes for reading: nothing that is open offline takes writes of any size.
pub(crate) fn sizes() -> KvSizes {
    let config = StoreConfig::default();
    KvSizes { live_log_bytes: config.live_log_bytes, cache_bytes: config.cache_bytes }
}

/// Where RocksDB lies.
pub(crate) fn database(directory: &Path) -> PathBuf {
    directory.join("rocksdb")
}

impl Offline {
    /// Locks the directory.
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        let there = database(directory).is_dir() || directory.join("segments").is_dir();
        if !there {
            let path = directory.display();
            return Err(Error::Invalid(format!("{path} holds no data of moneta")));
        }
        let lock = store::lock(directory)?;
        let rocksdb = database(directory);
        let kv = if rocksdb.join("CURRENT").is_file() {
            Kv::open_read_only(&rocksdb, &sizes())
        } else {
            Err(Error::corrupt("or missing content", rocksdb.join("CURRENT").display().to_string()))
        };
        recovery::check_layout(directory)?;
        if let Some(error @ Error::Invalid(_)) =
            kv.as_ref().ok().and_then(|kv| recovery::is_of_this_version(kv).err())
        {
            return Err(error); // What it could be taken for is damage.
        }
        let acknowledged = acknowledged::recorded(directory)?;
        Ok(Offline { directory: directory.to_path_buf(), kv, acknowledged, _lock: lock })
    }

    /// A number among the facts; 0 if it is not there.
    pub(crate) fn fact(kv: &Kv, fact: Fact) -> Result<u64, Error> {
        Ok(recovery::fact(kv, fact)?.unwrap_or(0))
    }

    /// Where a segment lies: among the segments, or in quarantine. `None` if it is gone.
    pub(crate) fn find(directory: &Path, address: &SegmentAddress) -> Option<PathBuf> {
        let quarantined = directory.join(QUARANTINE).join(address.below());
        [directory.join(address.path()), quarantined].into_iter().find(|path| path.is_file())
    }
}

/// The entries of the manifest; what does not decode goes to `bad`.
pub(crate) fn manifest_entries(
    kv: &Kv,
    mut bad: impl FnMut(Vec<u8>),
) -> Result<Vec<(SegmentAddress, SegmentFacts)>, Error> {
    let mut entries = Vec::new();
    kv.scan(Family::Manifest, &[], &[], |key, value| {
        match (key::decode_segment(key), manifest::decode(value)) {
            (Some((tier, partition, number)), Some(facts)) => {
                entries.push((SegmentAddress { tier, partition, number }, facts));
            }
            _ => bad(key.to_vec()),
        }
        Ok::<_, Error>(true)
    })?;
    Ok(entries)
}

/// The address of a segment file by its path below `segments/`.
pub(crate) fn address_of(root: &Path, path: &Path) -> Option<SegmentAddress> {
    let mut parts = path.strip_prefix(root).ok()?.iter().map(|part| part.to_str());
    let (tier, day, file) = (parts.next()??, parts.next()??, parts.next()??);
    Some(SegmentAddress {
        tier: tier.strip_prefix("tier-")?.parse().ok()?,
        partition: day.strip_prefix("day")?.parse().ok()?,
        number: file.strip_suffix(".seg")?.parse().ok()?,
    })
}

/// Moves a file to the same place below `quarantine/`, never over another, and syncs both folders.
pub(crate) fn quarantine(directory: &Path, address: &SegmentAddress) -> Result<PathBuf, Error> {
    let from = directory.join(address.path());
    let to = directory.join(QUARANTINE).join(address.below());
    let failed = |source: std::io::Error| Error::io(&to, &source);
    make_room(&to)?;
    fs::rename(&from, &to).map_err(failed)?;
    files::sync_above(&from)?;
    files::sync_above(&to)?;
    Ok(to)
}

/// Gives a file a second name at the same place below `quarantine/`, never over another file.
pub(crate) fn keep(directory: &Path, address: &SegmentAddress) -> Result<(), Error> {
    let from = directory.join(address.path());
    let to = directory.join(QUARANTINE).join(address.below());
    let inode = |path: &Path| fs::metadata(path).ok().map(|facts| (facts.dev(), facts.ino()));
    // An interrupted repair may have given it that name already.
    if inode(&to).is_none_or(|there| Some(there) != inode(&from)) {
        make_room(&to)?;
        fs::hard_link(&from, &to).map_err(|source| Error::io(&to, &source))?;
    }
    files::sync_above(&to)
}

/// Makes a place in quarantine free, with its folder. What is there was put aside before, and its file
/// came back to its place and is damaged again: both are kept.
fn make_room(to: &Path) -> Result<(), Error> {
    let failed = |source: std::io::Error| Error::io(to, &source);
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    if !to.exists() {
        return Ok(());
    }
    let free = (1..u32::MAX)
        .map(|number| to.with_extension(format!("seg.{number}")))
        .find(|path| !path.exists())
        .ok_or_else(|| Error::Invalid(format!("{} exists too often", to.display())))?;
    fs::rename(to, free).map_err(failed)
}

/// Opens a segment wherever it lies, as far as its directory can be found.
pub(crate) fn open_segment(
    directory: &Path,
    address: &SegmentAddress,
    facts: &SegmentFacts,
) -> Option<Segment> {
    if let Ok(segment) = Segment::open(directory, address.clone()) {
        return Some(segment);
    }
    let path = Offline::find(directory, address)?;
    Segment::open_damaged(&path, address.clone(), *facts).ok()?
}

/// The partition of a segment: sequences are compared within one.
pub(crate) fn home(address: &SegmentAddress) -> (u8, i32) {
    (address.tier, address.partition)
}

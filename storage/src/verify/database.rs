//! RocksDB's own files: every entry of every family is read, with checksums; a log that ends before
//! what was acknowledged is searched for the record that does not verify.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::problem::{Affected, Findings, Part};
use super::reading::Reading;
use super::record_log;
use crate::error::Error;
use crate::key::{Fact, Family, Key};
use crate::kv::Kv;
use crate::offline::{self, Offline};
use crate::roster;

/// Reads all families.
pub(crate) fn check(
    kv: &Kv,
    folder: &Path,
    findings: &Findings,
    reading: &Reading<'_>,
) -> Result<u64, Error> {
    let files = kv.files()?;
    let mut bytes = 0;
    for family in Family::ALL {
        let ours = || files.iter().filter(|file| file.family == family.name());
        let family_bytes: u64 = ours().map(|file| file.bytes).sum();
        if read(kv, family, &[], None).is_err() {
            // Whatever is damaged ends a reading, so the spans of the files are read apart. Files
            // overlap: RocksDB's words name the one that is damaged, and are given once.
            let mut said = BTreeSet::new();
            let spans = ours().map(|file| (file.first.as_slice(), Some(file.last.as_slice())));
            for (first, last) in spans.chain([(&[][..], None)]) {
                if let Err(error) = read(kv, family, first, last) {
                    said.insert(error.to_string());
                }
            }
            for words in said {
                let place = format!("{}, entries of {}", folder.display(), family.name());
                findings.add(Part::Database, place, words, Affected::default());
            }
        }
        bytes += family_bytes;
        reading.add(family_bytes);
    }
    Ok(bytes)
}

fn read(kv: &Kv, family: Family, from: &[u8], last: Option<&[u8]>) -> Result<(), Error> {
    kv.scan(family, &[], from, |key, _| Ok::<_, Error>(last.is_none_or(|last| key <= last)))
}

/// Whether changes that were acknowledged are missing, or nobody knows.
pub(crate) fn is_short(offline: &Offline) -> bool {
    let newest = offline.kv.as_ref().map_or(0, Kv::newest_change);
    let empty = offline.kv.as_ref().is_ok_and(|kv| {
        kv.get(&Key::Fact(Fact::FormatVersion)).is_ok_and(|version| version.is_none())
    });
    empty || offline.acknowledged.is_none_or(|acknowledged| acknowledged > newest)
}

/// Whether RocksDB's log reaches as far as was acknowledged.
pub(crate) fn check_end(offline: &Offline, findings: &Findings) {
    match (&offline.kv, offline.acknowledged) {
        (Ok(kv), Some(acknowledged)) if kv.newest_change() < acknowledged => {
            let what = format!(
                "the log ends at change {}, but change {acknowledged} was acknowledged",
                kv.newest_change()
            );
            let place = offline::database(&offline.directory).display().to_string();
            findings.add(Part::Database, place, what, Affected::default());
            check_records(offline, findings);
        }
        (Ok(_), Some(_)) => {}
        (Err(error), _) => {
            let place = offline::database(&offline.directory).display().to_string();
            findings.add(Part::Database, place, error.to_string(), Affected::default());
            check_records(offline, findings);
        }
        (Ok(_), None) => {}
    }
    if let Ok(kv) = &offline.kv
        && matches!(kv.get(&Key::Fact(Fact::FormatVersion)), Ok(None))
    {
        let place = offline::database(&offline.directory).display().to_string();
        findings.add(Part::Facts, place, "no format version", Affected::default());
    }
    if roster::is_damaged(&offline.directory) {
        let place = format!("{}:0", offline.directory.join(roster::NAME).display());
        findings.add(Part::Tenants, place, "bad checksum", Affected::default());
    }
    if offline.acknowledged.is_none() {
        let place = format!("{}:0", offline.directory.join("acknowledged").display());
        findings.add(Part::Acknowledged, place, "bad checksum", Affected::default());
    }
}

/// Looks for the first record of each log, and of the list of files, that does not verify.
fn check_records(offline: &Offline, findings: &Findings) {
    let folder = offline::database(&offline.directory);
    let Ok(entries) = fs::read_dir(&folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        if !name.ends_with(".log") && !name.starts_with("MANIFEST-") {
            continue;
        }
        match record_log::first_damage(&path) {
            Ok(None) => {}
            Ok(Some(damage)) => {
                let place = format!("{}:{}", path.display(), damage.at);
                findings.add(Part::Database, place, damage.what, Affected::default());
            }
            Err(error) => findings.error(Part::Database, &error, Affected::default()),
        }
    }
}

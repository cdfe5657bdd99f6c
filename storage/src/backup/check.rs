//! Reads a repository and compares every file with its checksum.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::copy;
use super::progress::{Meter, Step, Watch};
use super::repository::Repository;
use crate::error::Error;

/// What a check has read and found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Backups.
    pub backups: u64,
    /// Files, each counted once.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Every damage, with the file that has it and the backups that need it.
    pub damaged: Vec<(Error, Vec<u64>)>,
}

impl Repository {
    /// Reads every file that backup `id`, or any backup, needs. Damage is listed, not an error.
    ///
    /// # Errors
    /// `Invalid` if there is no such backup or `watch` ends it, `Stopped` if the folder cannot be
    /// read.
    pub fn check(&self, id: Option<u64>, watch: &mut Watch<'_>) -> Result<Checked, Error> {
        let ids = match id {
            Some(id) if !self.ids()?.contains(&id) => self.find(Some(id)).map(|_| Vec::new())?,
            Some(id) => vec![id],
            None => self.ids()?,
        };
        let mut checked = Checked::default();
        let mut objects: BTreeMap<PathBuf, Object> = BTreeMap::new();
        for id in ids {
            checked.backups += 1;
            match self.read(id) {
                Ok(list) => {
                    for file in &list.files {
                        let object =
                            Object { bytes: file.bytes, checksum: file.checksum, ids: Vec::new() };
                        objects.entry(self.object(file)?).or_insert(object).ids.push(id);
                    }
                }
                Err(error) => checked.damaged.push((error, vec![id])),
            }
        }
        let mut meter = Meter::new(watch);
        let files = u64::try_from(objects.len()).unwrap_or(u64::MAX);
        meter.begin(Step::Check, files, objects.values().map(|object| object.bytes).sum())?;
        for (path, object) in objects {
            checked.files += 1;
            checked.bytes += object.bytes;
            let before = meter.bytes();
            match copy::read(&path, &mut meter) {
                Ok((bytes, checksum))
                    if (bytes, Some(checksum)) == (object.bytes, object.checksum) => {}
                Ok(_) => {
                    let error = Error::corrupt("checksum", path.display().to_string());
                    checked.damaged.push((error, object.ids));
                }
                Err(error @ Error::Invalid(_)) => return Err(error),
                Err(error) => checked.damaged.push((error, object.ids)),
            }
            // A file that is too short or missing must not keep the end from being reached.
            meter.set_bytes(before.saturating_add(object.bytes));
            meter.add_file()?;
        }
        Ok(checked)
    }
}

/// A file of the repository and the backups that need it.
struct Object {
    bytes: u64,
    checksum: Option<u128>,
    ids: Vec<u64>,
}

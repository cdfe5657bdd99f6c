//! Removes old backups, and the files that no backup needs any more.

use std::collections::HashSet;
use std::fs;
use std::num::NonZeroU64;
use std::path::PathBuf;

use super::repository::LoneRepository;
use crate::error::Error;
use crate::files;

/// What a prune has removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pruned {
    /// Backups.
    pub backups: u64,
    /// Files.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl LoneRepository {
    /// Removes all backups but the newest `keep`, then the files that none of those needs.
    ///
    /// # Errors
    /// `Corrupt` if the list of a backup that stays is damaged: nothing is removed then, because
    /// nobody knows what it needs.
    pub fn prune(&self, keep: NonZeroU64) -> Result<Pruned, Error> {
        let ids = self.ids()?;
        let keep = usize::try_from(keep.get()).unwrap_or(usize::MAX);
        let (old, kept) = ids.split_at(ids.len().saturating_sub(keep));
        let mut needed: HashSet<PathBuf> = HashSet::new();
        for &id in kept {
            for file in &self.read(id)?.files {
                needed.insert(self.object(file)?);
            }
        }
        let mut pruned = Pruned::default();
        // First the lists, durably: a list must never name an object that is gone.
        for &id in old {
            let path = self.list_path(id);
            fs::remove_file(&path).map_err(|source| Error::io(&path, &source))?;
            pruned.backups += 1;
        }
        files::sync_folder(&self.backups())?;
        for name in files::below(&self.objects())? {
            let path = self.objects().join(name);
            if needed.contains(&path) {
                continue;
            }
            let failed = |source: std::io::Error| Error::io(&path, &source);
            pruned.bytes += fs::metadata(&path).map_err(failed)?.len();
            fs::remove_file(&path).map_err(failed)?;
            pruned.files += 1;
        }
        files::sync_folder(&self.objects())?;
        Ok(pruned)
    }
}

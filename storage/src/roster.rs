//! The names of the tenants, beside RocksDB: everything else of a series stands in segments as well,
//! so that with this file a store can be put together from its segments alone. It is derived: written
//! after a tenant is committed, and at start where it does not say what RocksDB says.
//!
//! ```text
//! ┌─────────┬───────────┬─────────────────────────────────────────────┬───────┐
//! │ version │ count u32 │ count × (tenant u32, length u32, name)      │ crc32 │
//! │ u8 = 1  │           │                                             │       │
//! └─────────┴───────────┴─────────────────────────────────────────────┴───────┘
//! ```
//! Of a tenant that was removed the length is the greatest number, and no name follows: without
//! RocksDB nothing else tells that its samples must not come back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::block::{seal, unseal};
use crate::error::Error;
use crate::files;
use crate::index::Index;
use crate::model::TenantId;

/// Name of the file.
pub(crate) const NAME: &str = "tenants";
const VERSION: u8 = 1;
/// Stands for the length of the name of a tenant that was removed.
const REMOVED: u32 = u32::MAX;

/// Every tenant there ever was: its name, or `None` if it was removed.
pub(crate) type Names = BTreeMap<TenantId, Option<String>>;

/// The names of those there are, and that the others up to number `removed_upto` were removed.
pub(crate) fn names(there: BTreeMap<TenantId, String>, removed_upto: u32) -> Names {
    let mut all: Names = (1..=removed_upto).map(|number| (TenantId::new(number), None)).collect();
    all.extend(there.into_iter().map(|(tenant, name)| (tenant, Some(name))));
    all
}

/// Writes the file.
pub(crate) struct Roster {
    directory: PathBuf,
    /// Held while writing, so that what is written last is what was taken last.
    writing: Mutex<()>,
}

impl Roster {
    pub(crate) fn new(directory: &Path) -> Self {
        Roster { directory: directory.to_path_buf(), writing: Mutex::default() }
    }

    /// Makes the file say what the index says.
    pub(crate) fn update(&self, index: &Index) -> Result<(), Error> {
        let _one_at_a_time = self.writing.lock().expect("no code panics while it writes");
        let named = |id| Some((id, index.tenant_by_id(id)?.name.to_string()));
        let there = index.tenants().into_iter().filter_map(named).collect();
        write(&self.directory, &names(there, index.removed_upto()))
    }
}

/// What the file says; nothing if it is not there or does not verify.
pub(crate) fn read(directory: &Path) -> Names {
    fs::read(directory.join(NAME)).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default()
}

/// Whether there is a file that does not verify.
pub(crate) fn is_damaged(directory: &Path) -> bool {
    fs::read(directory.join(NAME)).is_ok_and(|bytes| decode(&bytes).is_none())
}

/// Makes the file say `tenants`, unless it does.
pub(crate) fn write(directory: &Path, tenants: &Names) -> Result<(), Error> {
    let path = directory.join(NAME);
    let bytes = encode(tenants);
    if fs::read(&path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    files::replace(&path, &bytes)
}

pub(crate) fn encode(tenants: &Names) -> Vec<u8> {
    let count = |n: usize| u32::try_from(n).expect("tenants and their names are few").to_le_bytes();
    let mut out = vec![VERSION];
    out.extend_from_slice(&count(tenants.len()));
    for (tenant, name) in tenants {
        out.extend_from_slice(&tenant.number().to_le_bytes());
        match name {
            Some(name) => {
                out.extend_from_slice(&count(name.len()));
                out.extend_from_slice(name.as_bytes());
            }
            None => out.extend_from_slice(&REMOVED.to_le_bytes()),
        }
    }
    seal(&mut out, 0);
    out
}

pub(crate) fn decode(bytes: &[u8]) -> Option<Names> {
    let (&[version], rest) = unseal(bytes)?.split_first_chunk::<1>()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let mut tenants = BTreeMap::new();
    for _ in 0..u32::from_le_bytes(*count) {
        let (tenant, tail) = rest.split_first_chunk::<4>()?;
        let (length, tail) = tail.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        let name = if length == REMOVED {
            rest = tail;
            None
        } else {
            let (name, tail) = tail.split_at_checked(usize::try_from(length).ok()?)?;
            rest = tail;
            Some(String::from_utf8(name.to_vec()).ok()?)
        };
        tenants.insert(TenantId::new(u32::from_le_bytes(*tenant)), name);
    }
    (version == VERSION && rest.is_empty()).then_some(tenants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roster_round_trips_and_any_damage_is_noticed() {
        let there = [(1, "a"), (3, "ünïcode"), (4, "")];
        let there = there.map(|(tenant, name)| (TenantId::new(tenant), name.to_owned()));
        let tenants = names(there.into_iter().collect(), 2);
        assert_eq!(tenants.get(&TenantId::new(2)), Some(&None), "removed");
        let bytes = encode(&tenants);
        assert_eq!(decode(&bytes), Some(tenants));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(decode(&damaged), None, "byte {at}");
        }
    }
}

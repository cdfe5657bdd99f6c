//! Reads files whole, once: their checksum, and if wanted a synced copy.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::progress::Meter;
use crate::error::Error;

/// Read at a time, and between two looks at whether to go on.
const CHUNK_BYTES: usize = 1 << 20;

/// Length and XXH3-128 of a file.
pub(crate) type Content = (u64, u128);

/// What is in a file.
pub(crate) fn read(path: &Path, meter: &mut Meter<'_, '_>) -> Result<Content, Error> {
    each_chunk(path, meter, |_| Ok(()))
}

/// Copies a file to a place where there is none, and syncs the copy but not its folder.
pub(crate) fn copy(from: &Path, to: &Path, meter: &mut Meter<'_, '_>) -> Result<Content, Error> {
    let failed = |source: std::io::Error| Error::io(to, &source);
    let mut copy = File::create_new(to).map_err(failed)?;
    let content = each_chunk(from, meter, |chunk| copy.write_all(chunk).map_err(failed))?;
    copy.sync_all().map_err(failed)?;
    Ok(content)
}

fn each_chunk(
    path: &Path,
    meter: &mut Meter<'_, '_>,
    mut each: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<Content, Error> {
    let failed = |source: std::io::Error| Error::io(path, &source);
    let mut file = File::open(path).map_err(failed)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut hash = Xxh3::new();
    let mut total = 0_u64;
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => return Ok((total, hash.digest128())),
            Ok(count) => count,
            Err(source) if source.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(failed(source)),
        };
        let chunk = buffer.get(..count).unwrap_or_default();
        hash.update(chunk);
        each(chunk)?;
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        total = total.saturating_add(count);
        meter.add_bytes(count)?;
    }
}

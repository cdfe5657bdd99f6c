//! Opening a segment whose header, footer or top is damaged, for what can still be read of it. Every
//! group and block has a checksum of its own, so what a damaged frame leads to is believed only if it
//! verifies by itself.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::directory::{Extent, Top};
use super::open_files::OpenFile;
use super::reader::decode_footer;
use super::{FOOTER_LEN, HEADER_LEN, Segment, SegmentAddress, SegmentFacts, SeriesPlace};
use crate::error::Error;

/// Tops up to this length are searched for when the footer does not say where the top begins.
const TOP_BYTES_MAX: u64 = 64 << 20;

impl Segment {
    /// The first and the last series with samples, as the top says. Siblings differ in it.
    pub(crate) fn span(&self) -> Option<(SeriesPlace, SeriesPlace)> {
        let groups = || self.top.rows.iter().chain(&self.top.series);
        let first = groups().map(|group| group.first).min()?;
        Some((first, groups().map(|group| group.last).max()?))
    }

    /// Opens the file at `path`, of which the manifest says `facts`, as far as its directory can be
    /// found. `None` if it cannot.
    ///
    /// # Errors
    /// `Io` if the file cannot be read at all.
    pub(crate) fn open_damaged(
        path: &Path,
        address: SegmentAddress,
        facts: SegmentFacts,
    ) -> Result<Option<Self>, Error> {
        let failed = |source: std::io::Error| Error::io(path, &source);
        let file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let footer_length = u64::try_from(FOOTER_LEN).unwrap_or(u64::MAX);
        let Some(footer_at) = bytes.checked_sub(footer_length).filter(|&at| at >= HEADER_LEN)
        else {
            return Ok(None);
        };
        let mut footer = [0; FOOTER_LEN];
        let whole = file.read_exact_at(&mut footer, footer_at).is_ok();
        let found = if whole { decode_footer(&footer, bytes) } else { None };
        let top = match found {
            Some((_, extent)) => read(&file, extent, footer_at)
                .and_then(|bytes| Top::decode(&bytes).or_else(|| Top::decode_damaged(&bytes))),
            None => search_top(&file, footer_at),
        };
        Ok(top.map(|top| Segment {
            path: path.to_path_buf(),
            file: OpenFile::new(),
            address,
            facts: SegmentFacts { bytes, ..facts },
            top,
            replaced: AtomicBool::new(false),
        }))
    }
}

fn read(file: &File, extent: Extent, end: u64) -> Option<Vec<u8>> {
    let inside = extent.at.checked_add(u64::from(extent.length))? <= end;
    if !inside || u64::from(extent.length) > TOP_BYTES_MAX {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(extent.length).ok()?];
    file.read_exact_at(&mut bytes, extent.at).ok()?;
    Some(bytes)
}

/// The top ends where the footer begins, and begins with the numbers of its groups: the only place
/// from which numbers and length agree, and the checksum holds, is its beginning.
fn search_top(file: &File, end: u64) -> Option<Top> {
    let length = end.checked_sub(HEADER_LEN)?.min(TOP_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    file.read_exact_at(&mut bytes, end - length).ok()?;
    let starts = (0..bytes.len()).rev().skip(Top::BYTES_MIN - 1).step_by(Top::BYTES_STEP);
    starts.into_iter().find_map(|start| Top::decode(bytes.get(start..)?))
}

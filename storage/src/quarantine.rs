//! Segments that did not open at start: their files are moved aside and the store starts with the
//! rest. Their entries stay in the manifest, so each start tells of them until a repair has brought
//! back what is whole in them, and nothing is merged across the gap they leave.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::model::TimeRange;
use crate::offline::{self, Offline};
use crate::segment::{SegmentAddress, SegmentFacts};

/// A segment that is part of the store and cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quarantined {
    /// Where the file lies now; where it should lie if it is gone.
    pub path: PathBuf,
    /// Why it is there.
    pub reason: String,
    /// Samples in it.
    pub samples: u64,
    /// Span of their times.
    pub times: TimeRange,
    pub(crate) address: SegmentAddress,
}

impl std::fmt::Display for Quarantined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (start, end) = (self.times.start.millis(), self.times.end.millis());
        write!(
            f,
            "{} samples from {start} to {end} ms cannot be read: {}",
            self.samples, self.reason
        )
    }
}

/// Moves the file of a segment that did not open aside, unless that has been done or it is gone.
pub(crate) fn put_in(
    directory: &Path,
    address: SegmentAddress,
    facts: &SegmentFacts,
    error: &Error,
) -> Result<Quarantined, Error> {
    let listed = directory.join(address.path());
    let (path, reason) = if listed.is_file() {
        (offline::quarantine(directory, &address)?, error.to_string())
    } else {
        match Offline::find(directory, &address) {
            Some(path) => {
                let reason = format!("{} is in quarantine", path.display());
                (path, reason)
            }
            None => (listed, error.to_string()),
        }
    };
    let quarantined =
        Quarantined { path, reason, samples: facts.samples, times: facts.times, address };
    tracing::error!(
        path = %quarantined.path.display(),
        %quarantined,
        "starting without a segment; `moneta repair` brings back what is whole in it"
    );
    Ok(quarantined)
}

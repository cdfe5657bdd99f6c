//! Places where the crash test ends the process: between any two steps whose order matters. Without
//! the feature `fail-points`, which only the tests ask for, passing one costs nothing.

#[cfg(feature = "fail-points")]
use std::sync::atomic::{AtomicU32, Ordering};

/// A place in the flows of the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// A batch is about to be handed to RocksDB: samples, manifest or records.
    BatchBefore = 1,
    /// RocksDB has synced it.
    BatchAfter = 2,
    /// Samples are durable and nobody has been told.
    CommitDurable = 3,
    /// Samples can be read, and are not acknowledged yet.
    CommitPublished = 4,
    /// A segment file has its header and nothing else.
    SegmentBegun = 5,
    /// All of it is written and nothing synced.
    SegmentUnsynced = 6,
    /// The file is synced, its folders are not.
    SegmentNameless = 7,
    /// Everything is synced; the manifest does not know it.
    SegmentSynced = 8,
    /// The manifest knows of new segments, this process does not yet.
    ManifestCommitted = 9,
    /// RocksDB's own log is about to be replaced by tables.
    FlushBefore = 10,
    /// It has been.
    FlushAfter = 11,
    /// A replaced segment is about to be given up.
    SegmentReplaced = 12,
    /// Its file is gone.
    SegmentRemoved = 13,
    /// Everything is loaded; files nobody knows are about to be removed.
    RecoveryLoaded = 14,
    /// They are gone, and the store is about to start.
    RecoveryDone = 15,
    /// A tombstone is durable and not in force.
    DeletionDurable = 16,
    /// It hides, and is to be applied to every segment.
    DeletionHidden = 17,
    /// It is durable which segments it is to be applied to; nobody has been told.
    DeletionBounded = 18,
    /// A tenant's data is gone from RocksDB and not from memory.
    TenantRemoved = 19,
    /// Policies are about to be replaced.
    PoliciesBefore = 20,
    /// They are, durably; the old ones are in force.
    PoliciesAfter = 21,
    /// A sweep knows what has to go.
    SweepFound = 22,
    /// Segments of which nothing may be seen have gone.
    SweepRemoved = 23,
    /// Those of which a part may be seen are written again.
    SweepRewritten = 24,
    /// The activity of days is about to be corrected.
    ActivityBefore = 25,
    /// It is.
    ActivityCorrected = 26,
    /// A tombstone of which nothing is left is about to go.
    TombstoneBefore = 27,
    /// It is gone, durably.
    TombstoneAfter = 28,
    /// Series without samples are gone from RocksDB and not from memory.
    SeriesRemoved = 29,
    /// A snapshot has its checkpoint and no segments.
    SnapshotCheckpoint = 30,
    /// It has everything but its list.
    SnapshotLinked = 31,
    /// It has its list and is still marked as unfinished.
    SnapshotListed = 32,
    /// A backup has copied all files and has no list.
    BackupCopied = 33,
}

/// Ends the process if this is the pass asked for.
#[inline]
pub(crate) fn pass(point: Point) {
    #[cfg(feature = "fail-points")]
    if ARMED.load(Ordering::Relaxed) == point as u32 && LEFT.fetch_sub(1, Ordering::Relaxed) == 0 {
        std::process::abort();
    }
    #[cfg(not(feature = "fail-points"))]
    let _ = point;
}

/// The point at which the process ends; 0: at none.
#[cfg(feature = "fail-points")]
static ARMED: AtomicU32 = AtomicU32::new(0);
/// Passes of it before that.
#[cfg(feature = "fail-points")]
static LEFT: AtomicU32 = AtomicU32::new(0);

/// Makes the process end at `point`, after `passes` that it survives.
#[cfg(feature = "fail-points")]
pub fn arm(point: Point, passes: u32) {
    LEFT.store(passes, Ordering::Relaxed);
    ARMED.store(point as u32, Ordering::Relaxed);
}

#[cfg(feature = "fail-points")]
impl Point {
    /// Those that a process meets which only writes.
    pub const OF_WRITES: [Point; 15] = [
        Point::BatchBefore,
        Point::BatchAfter,
        Point::CommitDurable,
        Point::CommitPublished,
        Point::SegmentBegun,
        Point::SegmentUnsynced,
        Point::SegmentNameless,
        Point::SegmentSynced,
        Point::ManifestCommitted,
        Point::FlushBefore,
        Point::FlushAfter,
        Point::SegmentReplaced,
        Point::SegmentRemoved,
        Point::RecoveryLoaded,
        Point::RecoveryDone,
    ];

    /// Those that one meets only if it forgets, or copies itself.
    pub const OF_FORGETTING: [Point; 18] = [
        Point::DeletionDurable,
        Point::DeletionHidden,
        Point::DeletionBounded,
        Point::TenantRemoved,
        Point::PoliciesBefore,
        Point::PoliciesAfter,
        Point::SweepFound,
        Point::SweepRemoved,
        Point::SweepRewritten,
        Point::ActivityBefore,
        Point::ActivityCorrected,
        Point::TombstoneBefore,
        Point::TombstoneAfter,
        Point::SeriesRemoved,
        Point::SnapshotCheckpoint,
        Point::SnapshotLinked,
        Point::SnapshotListed,
        Point::BackupCopied,
    ];

    /// Every point, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Point> {
        Self::OF_WRITES.into_iter().chain(Self::OF_FORGETTING)
    }

    /// The point with this number.
    #[must_use]
    pub fn of_number(number: u32) -> Option<Self> {
        Self::all().find(|point| *point as u32 == number)
    }
}

//! Room on the disk. Below a watermark samples are refused, so that RocksDB, which cannot go on after a
//! failed write to its log, never meets a full disk. Flushes go on while they fit, merges only while
//! they leave the watermark free; when room comes back, so do writes.
//!
//! ```text
//!  total │······························│ writes come back │ watermark │ 0
//!        │  everything goes on          │   (an eighth     │ samples are refused, no merges,
//!        │                              │    more)         │ the head is flushed
//! ```

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::config::StoreConfig;
use crate::error::Error;

const FULL: Error = Error::Busy { what: "the disk" };

/// Bytes of a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// What this process may still write.
    pub free: u64,
    /// The whole.
    pub total: u64,
}

/// Who tells how much room there is.
pub trait Disk: Debug + Send + Sync + 'static {
    /// The room of the file system that holds `directory`.
    ///
    /// # Errors
    /// What the system answers.
    fn room(&self, directory: &Path) -> io::Result<Room>;
}

/// The machine's file systems.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn room(&self, directory: &Path) -> io::Result<Room> {
        let found = rustix::fs::statvfs(directory)?;
        Ok(Room {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }
}

/// A disk with as much room as it is told.
#[derive(Debug)]
pub struct ManualDisk {
    room: Mutex<Room>,
}

impl ManualDisk {
    /// A disk of `total` bytes, all of them free.
    #[must_use]
    pub fn of(total: u64) -> Arc<Self> {
        Arc::new(ManualDisk { room: Mutex::new(Room { free: total, total }) })
    }

    /// Leaves `free` bytes free.
    ///
    /// # Panics
    /// If a thread that held the disk has panicked.
    pub fn set_free(&self, free: u64) {
        self.room.lock().expect("no code panics while it holds the room").free = free;
    }
}

impl Disk for ManualDisk {
    fn room(&self, _directory: &Path) -> io::Result<Room> {
        Ok(*self.room.lock().expect("no code panics while it holds the room"))
    }
}

/// How much of the disk is kept free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FreeSpace {
    /// So many bytes; with 0 the disk is not looked at.
    Bytes(u64),
    /// So many hundredths of the file system, 1 to 99.
    Percent(u8),
}

impl FreeSpace {
    /// Bytes to keep free of `total`. At least `least`: what the head needs to become segments.
    fn bytes(self, total: u64, least: u64) -> u64 {
        match self {
            FreeSpace::Bytes(0) => 0,
            FreeSpace::Bytes(bytes) => bytes.max(least),
            FreeSpace::Percent(percent) => {
                (total / 100).saturating_mul(u64::from(percent)).max(least)
            }
        }
    }
}

/// The watermark over one data directory.
pub(crate) struct Space {
    directory: PathBuf,
    disk: Arc<dyn Disk>,
    min: FreeSpace,
    least: u64,
    /// As of the last look, less what has been logged since.
    free: AtomicU64,
    /// The watermark, in bytes.
    min_bytes: AtomicU64,
    /// Held for merges that are being written.
    reserved: AtomicU64,
    low: AtomicBool,
    /// The last look failed.
    blind: AtomicBool,
}

/// Room that is kept for a file being written.
pub(crate) struct Reservation<'a> {
    space: &'a Space,
    bytes: u64,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.space.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Space {
    /// Looks at once, so that nothing is taken on a disk that is full already.
    pub(crate) fn new(directory: &Path, config: &StoreConfig) -> Self {
        let space = Space {
            directory: directory.to_path_buf(),
            disk: config.disk.clone(),
            min: config.free_space_min,
            // A full head as segments, and RocksDB's buffers.
            least: config.live_log_bytes.saturating_mul(2),
            free: AtomicU64::new(u64::MAX),
            min_bytes: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            low: AtomicBool::new(false),
            blind: AtomicBool::new(false),
        };
        space.look();
        space
    }

    /// Asks how much is free, and judges. Called on each beat of the keeper.
    pub(crate) fn look(&self) {
        if self.min == FreeSpace::Bytes(0) {
            return;
        }
        match self.disk.room(&self.directory) {
            Ok(room) => {
                self.blind.store(false, Ordering::Relaxed);
                self.min_bytes.store(self.min.bytes(room.total, self.least), Ordering::Relaxed);
                self.free.store(room.free, Ordering::Relaxed);
                self.judge();
            }
            Err(error) => {
                // What was known last still holds; said once, not on every beat.
                if !self.blind.swap(true, Ordering::Relaxed) {
                    let directory = self.directory.display();
                    tracing::warn!(%directory, %error, "cannot tell how much of the disk is free");
                }
            }
        }
    }

    /// `bytes` have been logged since the last look.
    pub(crate) fn spend(&self, bytes: u64) {
        let less = |free: u64| (free != u64::MAX).then(|| free.saturating_sub(bytes));
        // Not counted while nothing is known.
        if self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
            self.judge();
        }
    }

    fn judge(&self) {
        let (free, min) = (self.free(), self.min());
        if free < min {
            if !self.low.swap(true, Ordering::Relaxed) {
                tracing::error!(free, min, "the disk is nearly full: samples are refused");
            }
        } else if free >= min.saturating_add(min / 8) && self.low.swap(false, Ordering::Relaxed) {
            tracing::info!(free, min, "there is room on the disk again: samples are taken");
        }
    }

    /// Free bytes, about; `u64::MAX` if that is not known.
    pub(crate) fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// The watermark; 0 if there is none.
    pub(crate) fn min(&self) -> u64 {
        self.min_bytes.load(Ordering::Relaxed)
    }

    /// Whether samples are refused.
    pub(crate) fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    /// Why samples are refused, if they are.
    pub(crate) fn reason(&self) -> Option<String> {
        self.is_low().then(|| {
            format!(
                "the disk is nearly full: {} bytes are free, {} are needed \
                 (storage.free_space_min) and an eighth more to go on",
                self.free(),
                self.min()
            )
        })
    }

    /// Whether a flush that writes about so much can be tried; `Busy` if not.
    pub(crate) fn fits(&self, bytes: u64) -> Result<(), Error> {
        let free = self.free().saturating_sub(self.reserved.load(Ordering::Relaxed));
        if free >= bytes { Ok(()) } else { Err(FULL) }
    }

    /// Room for a merge, held until the reservation is dropped; `Busy` if the watermark would not stay
    /// free.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<Reservation<'_>, Error> {
        let before = self.reserved.fetch_add(bytes, Ordering::Relaxed);
        let reservation = Reservation { space: self, bytes };
        let needed = before.saturating_add(bytes).saturating_add(self.min());
        if self.free() >= needed && !self.is_low() { Ok(reservation) } else { Err(FULL) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(min: FreeSpace, live_log_bytes: u64) -> (Space, Arc<ManualDisk>) {
        let disk = ManualDisk::of(10_000);
        let config = StoreConfig {
            free_space_min: min,
            live_log_bytes,
            disk: disk.clone(),
            ..StoreConfig::default()
        };
        (Space::new(Path::new("."), &config), disk)
    }

    #[test]
    fn samples_are_refused_below_the_watermark_and_taken_an_eighth_above_it() {
        let (space, disk) = space(FreeSpace::Bytes(800), 1);
        for (free, low) in
            [(10_000, false), (800, false), (799, true), (899, true), (900, false), (800, false)]
        {
            disk.set_free(free);
            space.look();
            assert_eq!(space.is_low(), low, "{free} bytes free");
            assert_eq!(space.reason().is_some(), low);
        }
    }

    #[test]
    fn what_is_logged_counts_before_the_next_look() {
        let (space, disk) = space(FreeSpace::Percent(50), 1);
        space.spend(5000);
        assert!(!space.is_low());
        space.spend(1);
        assert!(space.is_low(), "{}", space.free());
        disk.set_free(9000);
        space.look();
        assert!(!space.is_low());
    }

    #[test]
    fn the_watermark_holds_a_full_head() {
        let (space, _disk) = space(FreeSpace::Bytes(1), 3000);
        assert_eq!(space.min(), 6000);
    }

    #[test]
    fn without_a_watermark_nothing_is_refused() {
        let (space, disk) = space(FreeSpace::Bytes(0), 3000);
        disk.set_free(0);
        space.look();
        space.spend(1 << 40);
        assert!(!space.is_low());
        assert!(space.fits(1 << 40).is_ok() && space.reserve(1 << 40).is_ok());
    }

    #[test]
    fn merges_leave_the_watermark_free() {
        let (space, disk) = space(FreeSpace::Bytes(1000), 1);
        let first = space.reserve(5000).unwrap();
        assert!(space.reserve(4001).is_err(), "together they would take the watermark");
        let second = space.reserve(4000).unwrap();
        assert!(space.fits(1000).is_ok() && space.fits(1001).is_err());
        drop((first, second));
        assert!(space.reserve(9000).is_ok());
        disk.set_free(999);
        space.look();
        assert!(space.reserve(0).is_err());
        assert!(space.fits(999).is_ok(), "a flush goes on");
    }

    #[test]
    fn the_machine_tells_its_room() {
        let room = SystemDisk.room(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(room.total > 0 && room.free <= room.total);
        assert!(SystemDisk.room(Path::new("/nowhere/at/all")).is_err());
    }
}

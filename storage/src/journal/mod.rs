//! Journals: what happened, in order of time, never changed, gone when its time is over.
//!
//! A tenant has one journal of each [`JournalKind`]. An entry is bytes under (time, id) together with
//! the *terms* it can be found by; what both mean belongs to the layer that writes it.
//!
//! ```text
//! entry   tenant kind 1 │ time │ id                      ▶ the entry
//! term    tenant kind 2 │ partition │ term │ time │ id   ▶ a note of the writer
//! id      tenant kind 3 │ partition │ id                 ▶ time
//! word    tenant kind 4 │ partition │ word               ▶ nothing
//! horizon tenant kind 5                                  ▶ time: entries before it have been removed
//! ```
//!
//! Keys of terms, ids and words begin with a *partition*, a span of some days that the entry's time
//! lies in. So everything that is too old lies together in each of the four, and expiry is four range
//! deletes however many terms there were; and a reader of one term goes through few partitions. What is
//! older than the journal is kept is invisible at once; the space follows later.
//!
//! ```text
//! append   batch ▶ reserve ids ▶ look ids up ▶ ONE synced RocksDB batch, with other records ▶ release
//! read     terms ▶ places that have them all, in order, partition by partition ▶ entries
//! expire   keeper, hourly ▶ range deletes
//! ```

mod append;
mod derived;
mod entry;
mod keep;
mod listing;
mod places;
mod read;

use std::sync::Arc;

use crate::error::Error;
use crate::key::Key;
use crate::model::{Keep, Moment, TenantId};
use crate::record::Records;
use crate::store::Store;
use crate::threads::Shared;

pub(crate) use append::{Admission, Journaled, admit};
pub use append::{Appended, Refusal, Refused};
pub(crate) use derived::Derived;
pub use entry::{Entry, Place, Term};
pub(crate) use keep::{bad_setting, expire_when_due, stored_horizon};
pub(crate) use listing::Listing;
pub use read::{Order, PAGE_MAX, Page, Query, TERMS_MAX};

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Days of a partition of ids. Every one that is kept is looked into before an entry is stored.
pub(crate) const ID_DAYS: i64 = 28;

/// What a journal holds. The numbers stand in keys and are never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum JournalKind {
    /// Events. Their ids are unique in the tenant: one that is appended again is not stored again.
    Event = 1,
    /// State changes of alarms. Time and id together are unique; their writer sees to it.
    Transition = 2,
}

impl JournalKind {
    pub(crate) const ALL: [JournalKind; 2] = [JournalKind::Event, JournalKind::Transition];

    /// Days of a partition of terms and words. Short ones waste less space, because they go as a
    /// whole; long ones are fewer to look into.
    pub(crate) const fn term_days(self) -> i64 {
        match self {
            JournalKind::Event => 7,
            JournalKind::Transition => 28,
        }
    }

    /// Whether an id is stored once only, and found without its time.
    const fn has_unique_ids(self) -> bool {
        match self {
            JournalKind::Event => true,
            JournalKind::Transition => false,
        }
    }
}

/// The partition of `days` days that `time` lies in.
pub(crate) fn partition_of(time: Moment, days: i64) -> i32 {
    // 2^63 microseconds are 107 million days.
    i32::try_from(time.micros().div_euclid(MICROS_PER_DAY.saturating_mul(days))).unwrap_or(i32::MAX)
}

/// When the partition begins.
pub(crate) fn partition_start(partition: i32, days: i64) -> Moment {
    let span = MICROS_PER_DAY.saturating_mul(days);
    Moment::from_micros(i64::from(partition).saturating_mul(span))
}

/// A tenant's journal of one kind. Cheap to clone; usable from every thread.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
    tenant: TenantId,
    kind: JournalKind,
}

impl Store {
    /// A tenant's journal of one kind.
    #[must_use]
    pub fn journal(&self, tenant: TenantId, kind: JournalKind) -> Journal {
        Journal::new(self.shared().clone(), tenant, kind)
    }
}

impl Journal {
    pub(crate) fn new(shared: Arc<Shared>, tenant: TenantId, kind: JournalKind) -> Self {
        Journal { shared, tenant, kind }
    }

    pub(crate) fn records(&self) -> Records {
        Records::new(self.shared.clone())
    }

    pub(crate) fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The entry at a place.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read.
    pub fn get(&self, place: &Place) -> Result<Option<Vec<u8>>, Error> {
        if place.time < keep::visible_from(&self.shared, self.tenant, self.kind)? {
            return Ok(None);
        }
        self.shared.kv.get(&Key::JournalEntry(self.tenant, self.kind, place.time, &place.id))
    }

    /// The time of the entry with an id, if ids of this kind are unique and there is one.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read, `Corrupt` if an entry of the index does not verify.
    pub fn find(&self, id: &[u8]) -> Result<Option<Moment>, Error> {
        let from = keep::visible_from(&self.shared, self.tenant, self.kind)?;
        append::time_of(&self.shared, self.tenant, self.kind, id, from)
    }

    /// How long entries are kept.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read, `Corrupt` if the setting does not verify.
    pub fn keep(&self) -> Result<Keep, Error> {
        keep::keep_of(&self.shared, self.tenant, self.kind)
    }

    /// Sets how long this tenant's entries are kept; `None`: as long as the store's settings say. What
    /// is older is invisible from now on and its space given back later; what is not gone yet is
    /// visible again if the new time is longer.
    ///
    /// # Errors
    /// `Stopped` if the store can no longer write.
    pub fn set_keep(&self, keep: Option<Keep>) -> Result<(), Error> {
        keep::set(&self.shared, self.tenant, self.kind, keep)
    }
}

/// The part of the specification about journals.
#[cfg(test)]
pub(crate) fn agrees_with(says: &dyn Fn(String)) {
    use crate::key::JournalPart;
    for (name, part) in [
        ("entry", JournalPart::Entry),
        ("term", JournalPart::Term),
        ("id", JournalPart::Id),
        ("word", JournalPart::Word),
    ] {
        says(format!("| journal | journal {name} | tenant u32, journal u8, `{:02}`, ", part as u8));
    }
    let horizon = JournalPart::Horizon as u8;
    says(format!("| journal | journal horizon | tenant u32, journal u8, `{horizon:02}` |"));
    for kind in JournalKind::ALL {
        let name = match kind {
            JournalKind::Event => "event",
            JournalKind::Transition => "transition",
        };
        says(format!("\n| {name} | {} | {} |\n", kind as u8, kind.term_days()));
        let setting = String::from_utf8_lossy(keep::setting(kind)).into_owned();
        says(format!("`{setting}`"));
    }
    says(format!("that of ids is {ID_DAYS} days"));
    says(format!("kept and {} days at least", keep::ID_KEEP.as_secs() / 86_400));
    let indexed = crate::event::INDEXED_BYTES_MAX;
    says(format!("a text of more than {indexed} bytes, `04` and the first {indexed}."));
}

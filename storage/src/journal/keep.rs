//! How long entries are kept, and their removal.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{ID_DAYS, Journal, JournalKind, MICROS_PER_DAY, partition_of};
use crate::error::{Error, ErrorKind};
use crate::key::{self, Family, JournalPart, Key};
use crate::kv::{Batch, Kv, Sync};
use crate::model::{Keep, Moment, TenantId};
use crate::record::RecordKind;
use crate::store::Store;
use crate::threads::Shared;

/// An id counts as stored for so long at least, also if its entry is gone before.
pub(super) const ID_KEEP: Duration = Duration::from_secs(7 * 86_400);
/// Between two removals, milliseconds. Nobody sees what waits for them.
const BEAT_MS: i64 = 3_600_000;
/// Version of the setting.
const VERSION: u8 = 1;

/// What is older at `now` is over.
fn horizon(keep: Keep, now: Moment) -> Moment {
    match keep {
        Keep::Forever => Moment::MIN,
        Keep::For(span) => now.minus(span),
    }
}

fn of_ids(keep: Keep) -> Keep {
    match keep {
        Keep::Forever => Keep::Forever,
        Keep::For(span) => Keep::For(span.max(ID_KEEP)),
    }
}

/// The record of the tenant's own setting.
pub(super) fn setting(kind: JournalKind) -> &'static [u8] {
    match kind {
        JournalKind::Event => b"journal.event",
        JournalKind::Transition => b"journal.transition",
    }
}

pub(super) fn keep_of(shared: &Shared, tenant: TenantId, kind: JournalKind) -> Result<Keep, Error> {
    let key = Key::Record(tenant, RecordKind::Setting, setting(kind));
    let Some(value) = shared.kv.get(&key)? else {
        return Ok(match kind {
            JournalKind::Event => shared.config.keep_events,
            JournalKind::Transition => shared.config.keep_transitions,
        });
    };
    decode(&value)
        .ok_or_else(|| Error::corrupt("setting", format!("retention of tenant {tenant}'s journal")))
}

fn encode(seconds: u64) -> Vec<u8> {
    [&[VERSION][..], &seconds.to_le_bytes()].concat()
}

/// Reads what [`encode`] wrote.
fn decode(value: &[u8]) -> Option<Keep> {
    let (&VERSION, seconds) = value.split_first()? else { return None };
    match u64::from_le_bytes(seconds.try_into().ok()?) {
        0 => Some(Keep::Forever),
        seconds => Some(Keep::For(Duration::from_secs(seconds))),
    }
}

/// The journal of a record that says how long it is kept, if it does not decode, and the record that
/// keeps everything until somebody says something else.
pub(crate) fn bad_setting(id: &[u8], value: &[u8]) -> Option<(JournalKind, Vec<u8>)> {
    let kind = JournalKind::ALL.into_iter().find(|kind| setting(*kind) == id)?;
    decode(value).is_none().then(|| (kind, encode(0)))
}

/// Before which time entries have been removed, if any have; `Err` with what stands there if that is no
/// time.
pub(crate) fn stored_horizon(
    kv: &Kv,
    tenant: TenantId,
    kind: JournalKind,
) -> Result<Option<Result<Moment, Vec<u8>>>, Error> {
    let value = kv.get(&Key::JournalHorizon(tenant, kind))?;
    Ok(value.map(|value| {
        let bytes = <[u8; 8]>::try_from(value)?;
        Ok(Moment::from_micros(i64::from_le_bytes(bytes)))
    }))
}

pub(super) fn set(
    shared: &Shared,
    tenant: TenantId,
    kind: JournalKind,
    keep: Option<Keep>,
) -> Result<(), Error> {
    if let Some(reason) = shared.stopped() {
        return Err(Error::Stopped { reason });
    }
    let seconds = match keep {
        None => None,
        Some(Keep::Forever) => Some(0),
        Some(Keep::For(span)) if span.as_secs() == 0 => {
            return Err(Error::Invalid("entries are kept for a second at least".into()));
        }
        Some(Keep::For(span)) => Some(span.as_secs()),
    };
    let key = Key::Record(tenant, RecordKind::Setting, setting(kind));
    let mut batch = Batch::default();
    match seconds {
        Some(seconds) => batch.put(&key, encode(seconds)),
        None => batch.delete(&key),
    }
    shared.kv.commit(batch, Sync::Disk).inspect_err(|error| shared.stop(error))
}

fn now(shared: &Shared) -> Moment {
    Moment::from(shared.clock.now())
}

/// Entries before this are over.
pub(super) fn visible_from(
    shared: &Shared,
    tenant: TenantId,
    kind: JournalKind,
) -> Result<Moment, Error> {
    Ok(horizon(keep_of(shared, tenant, kind)?, now(shared)))
}

/// From when on an entry's id counts as stored.
pub(super) fn ids_from(
    shared: &Shared,
    tenant: TenantId,
    kind: JournalKind,
) -> Result<Moment, Error> {
    Ok(horizon(of_ids(keep_of(shared, tenant, kind)?), now(shared)))
}

impl Store {
    /// Removes what is over from every journal, now. The keeper does it by itself every hour; nothing
    /// of it was visible before.
    ///
    /// # Errors
    /// `Stopped` if the store can no longer write.
    pub fn expire_journals(&self) -> Result<(), Error> {
        let shared = self.shared();
        shared.retention.look(shared.clock.now(), true);
        expire(shared)
    }
}

/// The keeper's call.
pub(crate) fn expire_when_due(shared: &Shared) -> Result<(), Error> {
    let now = shared.clock.now().millis();
    let due = shared.journals.expired_ms.load(Ordering::Relaxed).saturating_add(BEAT_MS);
    if now < due {
        return Ok(());
    }
    shared.journals.expired_ms.store(now, Ordering::Relaxed);
    expire(shared)
}

fn expire(shared: &Shared) -> Result<(), Error> {
    if let Some(reason) = shared.stopped() {
        return Err(Error::Stopped { reason });
    }
    let mut next = 0_u32;
    while let Some(tenant) = tenant_from(shared, next)? {
        for kind in JournalKind::ALL {
            match expire_one(shared, tenant, kind) {
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    // Nothing is removed by a setting that cannot be read.
                    tracing::error!(%error, %tenant, "a journal is not cleaned");
                }
                done => done?,
            }
        }
        let Some(after) = tenant.number().checked_add(1) else { break };
        next = after;
    }
    // Words of a partition that is gone must be written again if it ever comes back.
    shared.journals.forget_words();
    Ok(())
}

/// The first tenant that has a journal, from `number` on.
fn tenant_from(shared: &Shared, number: u32) -> Result<Option<TenantId>, Error> {
    let cursor = shared.kv.cursor(Family::Journal, &number.to_be_bytes());
    let found = cursor.entry()?.and_then(|(key, _)| key.first_chunk::<4>().copied());
    Ok(found.map(|bytes| TenantId::new(u32::from_be_bytes(bytes))))
}

fn expire_one(shared: &Shared, tenant: TenantId, kind: JournalKind) -> Result<(), Error> {
    let keep = keep_of(shared, tenant, kind)?;
    if keep == Keep::Forever {
        return Ok(());
    }
    // Not by a clock that has leapt.
    let now = Moment::from(shared.retention.removed_by(shared.clock.now()));
    let over = horizon(keep, now);
    let terms = partition_of(over, kind.term_days());
    let ids = partition_of(horizon(of_ids(keep), now), ID_DAYS);
    let none: &[u8] = &[];
    let ranges = [
        (JournalPart::Entry, Key::JournalEntry(tenant, kind, over, none)),
        (JournalPart::Term, Key::JournalTerm(tenant, kind, terms, none, Moment::MIN, none)),
        (JournalPart::Id, Key::JournalId(tenant, kind, ids, none)),
        (JournalPart::Word, Key::JournalWord(tenant, kind, terms, none)),
    ];
    for (part, to) in ranges {
        let mut batch = Batch::default();
        if part == JournalPart::Entry {
            // Terms and words go later than the entries they are of, by whole partitions. Where they
            // may be alone is told by this.
            let before = stored_horizon(&shared.kv, tenant, kind)?.and_then(Result::ok);
            let horizon = before.unwrap_or(over).max(over).micros().to_le_bytes().to_vec();
            batch.put(&Key::JournalHorizon(tenant, kind), horizon);
        }
        remove_before(shared, batch, &key::journal_prefix(tenant, kind, part), &to)?;
    }
    Ok(())
}

/// Removes the keys with `prefix` before `to`, in one batch with other changes, if there are any: a
/// range delete that covers nothing would only slow reads down.
fn remove_before(
    shared: &Shared,
    mut batch: Batch,
    prefix: &[u8],
    to: &Key<'_>,
) -> Result<(), Error> {
    let first = {
        let cursor = shared.kv.cursor(Family::Journal, prefix);
        let before = |key: &&[u8]| *key < to.encode().as_slice();
        cursor.entry()?.map(|(key, _)| key).filter(before).map(<[u8]>::to_vec)
    };
    let Some(first) = first else { return Ok(()) };
    batch.delete_range_from(&first, to);
    shared.kv.commit(batch, Sync::Disk)?;
    shared.kv.drop_files(&first, to)
}

impl Journal {
    /// The earliest instant that is visible.
    pub(crate) fn visible_from(&self) -> Result<Moment, Error> {
        visible_from(&self.shared, self.tenant, self.kind)
    }
}

/// A day, for those who write entries ahead of the clock.
pub(super) const AHEAD_MAX: Duration = Duration::from_micros(MICROS_PER_DAY.unsigned_abs());

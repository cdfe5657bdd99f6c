//! The log: records that do not decode, or are missing, are replaced by empty ones, so that what
//! comes after them is not lost with them.

use std::ops::ControlFlow;

use super::Mending;
use crate::batch::Batch as Joint;
use crate::error::Error;
use crate::key::{Fact, Family, Key};
use crate::kv::{Batch, Sync};
use crate::model::{Sequence, TenantId, Timestamp};
use crate::offline::Offline;
use crate::verify::{Affected, Examination, Part};

/// Requests of an empty record.
const REQUESTS_MAX: u64 = 1 << 16;
/// A wider gap is not filled: far more requests than a log ever holds, so it is the key behind it that
/// is wrong.
const GAP_MAX: u64 = 1 << 24;
/// No store ever comes to a sequence like this.
const DOUBTFUL: u64 = 1 << 62;

impl Mending<'_> {
    pub(super) fn log(&mut self, examination: &Examination) -> Result<(), Error> {
        let Some(logged) = &examination.logged else { return Ok(()) };
        let Some(kv) = self.kv.clone() else { return Ok(()) };
        let mut batch = Batch::default();
        // Where the log begins may have been mended in this round.
        let begin = Sequence::new(Offline::fact(&kv, Fact::TrimmedTo).unwrap_or(0)).next();
        for &(first, arrival) in &logged.unreadable {
            if first < begin {
                continue;
            }
            let key = Key::Wal(first);
            let next = kv.key_from(Family::Wal, &Key::Wal(first.next()).encode())?;
            let next = next.and_then(|key| crate::key::decode_wal(&key));
            match next {
                Some(next) => {
                    if self.fill(first, next, arrival)?.is_break() {
                        batch.delete(&key);
                    }
                }
                // Nothing comes after it.
                None => batch.delete(&key),
            }
            let place = format!("log record {first}");
            self.lost.add(Part::Log, place, "all its samples", Affected::default());
            self.step(format!("empty log record {first}, which does not decode"));
        }
        for &(first, next, arrival) in &logged.gaps {
            let first = first.max(begin);
            if first >= next {
                continue;
            }
            if first == begin && next.number() < DOUBTFUL {
                // Nothing is before it, so there is nothing to fill.
                let last = next.number().saturating_sub(1);
                self.put_fact(Fact::TrimmedTo, last)?;
                self.step(format!("the log begins after sequence {last}"));
            } else if self.fill(first, next, arrival)?.is_break() {
                break;
            } else {
                self.step(format!("put empty log records from {first} to before {next}"));
            }
            let place = format!("log records from {first} to before {next}");
            self.lost.add(Part::Log, place, "all their samples", Affected::default());
        }
        let undefined = self.still_undefined(examination);
        if !undefined.is_empty() {
            kv.scan(Family::Wal, &[], &[], |key, value| {
                let Some(first) = crate::key::decode_wal(key) else { return Ok(true) };
                let Ok(joint) = Joint::decode(first, value) else { return Ok(true) };
                let known = |at: usize| {
                    joint.rows.get(at).is_some_and(|row| {
                        !undefined.contains(&(row.tenant.number(), row.series.number()))
                    })
                };
                let dropped = (0..joint.rows.len()).filter(|at| !known(*at)).count();
                if dropped > 0 {
                    let affects =
                        Affected { samples: u64::try_from(dropped).ok(), ..Affected::default() };
                    let what = "samples of series whose definitions are lost";
                    self.lost.add(Part::Log, format!("log record {first}"), what, affects);
                    batch.put(&Key::Wal(first), keep(&joint, known).encode());
                }
                Ok::<_, Error>(true)
            })?;
        }
        self.commit(batch)
    }

    /// Writes empty records for the requests from `first` to before `next`. If they are too many, removes
    /// the record `next` and all behind it.
    fn fill(
        &mut self,
        first: Sequence,
        next: Sequence,
        arrival: Timestamp,
    ) -> Result<ControlFlow<()>, Error> {
        if next.number().saturating_sub(first.number()) > GAP_MAX {
            let place = format!("log records from {next} on");
            let what = "all their samples: so far behind the record before that it is the key that \
                        is wrong";
            self.lost.add(Part::Log, place, what, Affected::default());
            self.step(format!("remove the log records from {next} on"));
            let mut batch = Batch::default();
            batch.delete_range(&Key::Wal(next), &Key::Wal(Sequence::new(u64::MAX)));
            batch.delete(&Key::Wal(Sequence::new(u64::MAX)));
            self.commit(batch)?;
            return Ok(ControlFlow::Break(()));
        }
        let Some(kv) = self.kv.clone().filter(|_| self.applies()) else {
            return Ok(ControlFlow::Continue(()));
        };
        let mut at = first;
        while at < next {
            let end = Sequence::new(at.number().saturating_add(REQUESTS_MAX)).min(next);
            let mut batch = Batch::default();
            batch.put(&Key::Wal(at), empty(at, end, arrival));
            kv.commit(batch, Sync::Disk)?;
            at = end;
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// A record for the requests from `first` to before `next`, without rows.
fn empty(first: Sequence, next: Sequence, arrival: Timestamp) -> Vec<u8> {
    let count = next.number().saturating_sub(first.number());
    let requests = (0..count).map(|_| (TenantId::SYSTEM, 0)).collect();
    Joint { first, arrival, requests, rows: Vec::new(), metas: Vec::new() }.encode()
}

/// The rows of a record that are to be kept, in the same requests.
fn keep(joint: &Joint, known: impl Fn(usize) -> bool) -> Joint {
    let mut rows = Vec::new();
    let mut metas = Vec::new();
    let mut requests = Vec::new();
    let mut from = 0_u32;
    for &(tenant, end) in &joint.requests {
        for at in from..end {
            let index = usize::try_from(at).unwrap_or(usize::MAX);
            if let Some(row) = joint.rows.get(index).filter(|_| known(index)) {
                let new = u32::try_from(rows.len()).unwrap_or(u32::MAX);
                let meta = joint.metas.iter().find(|(row, _)| *row == at);
                metas.extend(meta.map(|(_, meta)| (new, meta.clone())));
                rows.push(*row);
            }
        }
        from = end;
        requests.push((tenant, u32::try_from(rows.len()).unwrap_or(u32::MAX)));
    }
    Joint { first: joint.first, arrival: joint.arrival, requests, rows, metas }
}

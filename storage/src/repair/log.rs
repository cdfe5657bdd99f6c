//! The log: records that do not decode, or are missing, are replaced by empty ones, so that what
//! comes after them is not lost with them.

use super::Mending;
use crate::batch::Batch as Joint;
use crate::error::Error;
use crate::key::{Fact, Family, Key};
use crate::kv::Batch;
use crate::model::{Sequence, TenantId, Timestamp};
use crate::offline::Offline;
use crate::verify::{Affected, Examination, Part};

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
                Some(next) => batch.put(&key, empty(first, next, arrival)),
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
            batch.put(&Key::Wal(first), empty(first, next, arrival));
            let place = format!("log records from {first} to before {next}");
            self.lost.add(Part::Log, place, "all their samples", Affected::default());
            self.step(format!("put an empty log record {first} before {next}"));
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

//! The log: every record decodes, none is missing, and every row belongs to a series.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::Verified;
use super::problem::{Affected, Findings, Part};
use crate::batch::Batch;
use crate::error::Error;
use crate::key::{self, Family, Key};
use crate::kv::Kv;
use crate::model::{Sequence, TenantId, Timestamp};

/// What the check has found out of the log.
pub(crate) struct Logged {
    /// Series with rows.
    pub(crate) present: BTreeMap<TenantId, RoaringBitmap>,
    /// Records that do not decode, by the sequence of their first request, each with the arrival of
    /// the record before it.
    pub(crate) unreadable: Vec<(Sequence, Timestamp)>,
    /// Stretches of sequences without a record: the first, the one after the last, and the arrival of
    /// the record before.
    pub(crate) gaps: Vec<(Sequence, Sequence, Timestamp)>,
    /// The sequence of the last request.
    pub(crate) newest: Sequence,
    /// The arrival of the last record that decodes.
    pub(crate) last_arrival: Timestamp,
}

/// Reads all of the log after `trimmed`.
pub(crate) fn check(
    kv: &Kv,
    trimmed: Sequence,
    findings: &Findings,
    verified: &mut Verified,
) -> Result<Logged, Error> {
    let mut logged = Logged {
        present: BTreeMap::new(),
        unreadable: Vec::new(),
        gaps: Vec::new(),
        newest: trimmed,
        last_arrival: Timestamp::from_millis(0),
    };
    let mut after_unreadable = false;
    kv.scan(Family::Wal, &[], &Key::Wal(trimmed.next()).encode(), |key, value| {
        let Some(first) = key::decode_wal(key) else {
            findings.add(Part::Log, format!("log {key:02x?}"), "bad key", Affected::default());
            return Ok(true);
        };
        let place = format!("log record {first}");
        // How many requests an unreadable record had is told by the record after it.
        if first != logged.newest.next() && !after_unreadable {
            let what = format!("gap before it, from {}", logged.newest.next());
            findings.add(Part::Log, place.clone(), what, Affected::default());
            logged.gaps.push((logged.newest.next(), first, logged.last_arrival));
        }
        verified.log_records += 1;
        match Batch::decode(first, value) {
            Ok(batch) => {
                after_unreadable = false;
                logged.newest = batch.last_sequence();
                logged.last_arrival = batch.arrival;
                verified.log_rows += u64::try_from(batch.rows.len()).unwrap_or(u64::MAX);
                for row in &batch.rows {
                    logged.present.entry(row.tenant).or_default().insert(row.series.number());
                }
            }
            Err(error) => {
                after_unreadable = true;
                logged.newest = first;
                logged.unreadable.push((first, logged.last_arrival));
                findings.error(Part::Log, &error, Affected::default());
            }
        }
        Ok::<_, Error>(true)
    })?;
    Ok(logged)
}

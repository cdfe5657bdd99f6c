//! Deletions and tombstones as they are stored.
//!
//! Record of a deletion: version u8 = 1, state u8 (0 hidden, 1 cancelled, 2 done), start and end ms i64,
//! requested and finished ms i64 (finished: the least number while it goes on), series, samples, bytes,
//! segments left u64, then tenant, what and by, each its length u32 and its bytes.

use std::sync::Arc;

use super::tombstone::Tombstone;
use super::{Deletion, DeletionPlan, DeletionState};
use crate::error::Error;
use crate::key::{self, Family, Key};
use crate::kv::{Batch, Kv, Sync};
use crate::model::{TimeRange, Timestamp};
use crate::text;

const VERSION: u8 = 1;

pub(super) fn encode(deletion: &Deletion) -> Vec<u8> {
    let state = match deletion.state {
        DeletionState::Hidden => 0,
        DeletionState::Cancelled => 1,
        DeletionState::Done => 2,
    };
    let mut out = vec![VERSION, state];
    let finished = deletion.finished.unwrap_or(Timestamp::MIN);
    let Deletion { times, requested, plan, .. } = deletion;
    for time in [times.start, times.end, *requested, finished] {
        out.extend_from_slice(&time.millis().to_le_bytes());
    }
    for number in [plan.series, plan.samples, plan.bytes, deletion.segments_left] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for said in [&deletion.tenant, &deletion.what, &deletion.by] {
        text::put(&mut out, said);
    }
    out
}

pub(super) fn decode(number: u64, value: &[u8]) -> Option<Deletion> {
    let (&state, rest) = value.strip_prefix(&[VERSION])?.split_first()?;
    let (numbers, mut rest) = rest.split_first_chunk::<64>()?;
    let numbers = numbers.as_chunks::<8>().0;
    let numbers: Vec<u64> = numbers.iter().map(|number| u64::from_le_bytes(*number)).collect();
    let &[start, end, requested, finished, series, samples, bytes, segments_left] =
        numbers.as_slice()
    else {
        return None;
    };
    let [start, end, requested, finished] = [start, end, requested, finished]
        .map(|number| Timestamp::from_millis(number.cast_signed()));
    let state = match state {
        0 => DeletionState::Hidden,
        1 => DeletionState::Cancelled,
        2 => DeletionState::Done,
        _ => return None,
    };
    let (tenant, what, by) =
        (text::take(&mut rest)?, text::take(&mut rest)?, text::take(&mut rest)?);
    rest.is_empty().then_some(Deletion {
        number,
        tenant,
        what,
        by,
        times: TimeRange::new(start, end),
        requested,
        finished: (finished > Timestamp::MIN).then_some(finished),
        plan: DeletionPlan { series, samples, bytes },
        state,
        segments_left,
    })
}

fn tombstones(kv: &Kv) -> Result<Vec<Tombstone>, Error> {
    let mut found = Vec::new();
    let prefix = key::TOMBSTONE_PREFIX;
    kv.scan(Family::Meta, &prefix, &prefix, |key, value| {
        let number = key::decode_numbered(key);
        let decoded = number.and_then(|number| Tombstone::decode(number, value));
        found.push(decoded.ok_or_else(|| Error::corrupt("value", "a tombstone"))?);
        Ok::<_, Error>(true)
    })?;
    Ok(found)
}

/// The tombstones that are in force. One whose deletion was cut short by a crash has to be applied to
/// every segment so far, those before `next_segment`; and none to later ones: numbers that were taken
/// and never came to a commit are given once more.
pub(crate) fn load_tombstones(kv: &Kv, next_segment: u64) -> Result<Vec<Arc<Tombstone>>, Error> {
    let mut found = tombstones(kv)?;
    let mut batch = Batch::default();
    for tombstone in &mut found {
        if tombstone.clean_from > next_segment {
            tombstone.clean_from = next_segment;
            batch.put(&Key::Tombstone(tombstone.number), tombstone.encode());
        }
    }
    kv.commit(batch, Sync::Disk)?;
    Ok(found.into_iter().map(Arc::new).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip() {
        let mut deletion = Deletion {
            number: 4,
            tenant: "a".into(),
            what: "cpu".into(),
            by: "me".into(),
            times: TimeRange::new(Timestamp::from_millis(-1), Timestamp::from_millis(9)),
            requested: Timestamp::from_millis(5),
            finished: None,
            plan: DeletionPlan { series: 1, samples: 2, bytes: 3 },
            state: DeletionState::Hidden,
            segments_left: 7,
        };
        let bytes = encode(&deletion);
        assert_eq!(decode(4, &bytes), Some(deletion.clone()));
        for length in 0..bytes.len() {
            assert_eq!(decode(4, &bytes[..length]), None, "{length}");
        }
        deletion.finished = Some(Timestamp::from_millis(6));
        deletion.state = DeletionState::Done;
        assert_eq!(decode(4, &encode(&deletion)), Some(deletion));
    }
}

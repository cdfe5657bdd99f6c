//! The manifest: which segment files are part of the store. A segment exists from the moment its
//! entry is committed until the moment its entry is deleted; files without an entry are rubbish.
//! [`Change`] is the one critical section in which flush, merge and expiry meet.
//!
//! Value: version u8 = 1, level u8, samples u64, first and last sequence u64, start and end ms i64,
//! bytes of the file u64, little-endian.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::Error;
use crate::key::{Fact, Key};
use crate::kv::{Batch, Sync};
use crate::live::State;
use crate::model::{Sequence, TimeRange, Timestamp};
use crate::segment::{Segment, SegmentAddress, SegmentFacts};
use crate::threads::Shared;

const VERSION: u8 = 1;

pub(crate) fn key(address: &SegmentAddress) -> Key<'static> {
    Key::Segment(address.tier, address.partition, address.number)
}

pub(crate) fn encode(facts: &SegmentFacts) -> Vec<u8> {
    let mut out = vec![VERSION, facts.level];
    for number in [
        facts.samples,
        facts.sequences.0.number(),
        facts.sequences.1.number(),
        facts.times.start.millis().cast_unsigned(),
        facts.times.end.millis().cast_unsigned(),
        facts.bytes,
    ] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out
}

pub(crate) fn decode(value: &[u8]) -> Option<SegmentFacts> {
    let (&[version, level], numbers) = value.split_first_chunk::<2>()?;
    let (numbers, rest) = numbers.as_chunks::<8>();
    let numbers: Vec<u64> = numbers.iter().map(|number| u64::from_le_bytes(*number)).collect();
    let &[samples, first, last, start, end, bytes] = numbers.as_slice() else { return None };
    (version == VERSION && rest.is_empty()).then_some(SegmentFacts {
        samples,
        sequences: (Sequence::new(first), Sequence::new(last)),
        times: TimeRange::new(
            Timestamp::from_millis(start.cast_signed()),
            Timestamp::from_millis(end.cast_signed()),
        ),
        bytes,
        level,
    })
}

/// A change of what segments there are. The only way in which segments come and go.
#[derive(Default)]
pub(crate) struct Change {
    /// What else becomes durable with it.
    pub(crate) batch: Batch,
    /// Segments that go; their files follow when the last view is gone.
    pub(crate) removed: Vec<Arc<Segment>>,
    /// Segments that come, with what was written of them synced.
    pub(crate) added: Vec<Arc<Segment>>,
}

impl Change {
    /// Makes the change durable in one synced batch, then visible together with what `also` changes.
    /// `false`: one of the removed segments had gone already; nothing has changed then, and the files
    /// of the added ones are removed.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot write. The added files stay: the batch may have reached the disk.
    pub(crate) fn commit(
        self,
        shared: &Shared,
        also: impl FnOnce(&mut State),
    ) -> Result<bool, Error> {
        let Change { mut batch, removed, added } = self;
        if let Some(reason) = shared.stopped() {
            added.iter().for_each(|segment| segment.replaced());
            return Err(Error::Stopped { reason });
        }
        // Flush, merge and expiry run at the same time. Each change is checked, committed and shown
        // in one turn, which is why this lock is held across a synced write.
        let turn = shared.live.turn();
        if !shared.live.lock().holds(&removed) {
            added.iter().for_each(|segment| segment.replaced());
            return Ok(false);
        }
        for segment in &removed {
            batch.delete(&key(&segment.address));
        }
        for segment in &added {
            batch.put(&key(&segment.address), encode(&segment.facts));
        }
        let next = shared.next_segment.load(Ordering::Relaxed);
        batch.put(&Key::Fact(Fact::NextSegment), next.to_le_bytes().to_vec());
        // A clock that goes back after this brings nothing back of what was left out.
        let passed = shared.retention.passed().millis();
        batch.put(&Key::Fact(Fact::Passed), passed.to_le_bytes().to_vec());
        shared.kv.commit(batch, Sync::Disk)?;
        let numbers: Vec<u64> = removed.iter().map(|segment| segment.address.number).collect();
        {
            let mut live = shared.live.lock();
            live.swap_segments(&numbers, added);
            also(&mut live);
        }
        drop(turn);
        if !removed.is_empty() {
            // The removal of an entry must not be lost with a damaged log once its file is gone.
            shared.kv.flush_manifest()?;
            removed.iter().for_each(|segment| segment.replaced());
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_round_trip() {
        let facts = SegmentFacts {
            samples: 5,
            sequences: (Sequence::new(1), Sequence::new(9)),
            times: TimeRange::new(Timestamp::from_millis(-5), Timestamp::from_millis(77)),
            bytes: 1 << 30,
            level: 3,
        };
        assert_eq!(decode(&encode(&facts)), Some(facts));
        assert_eq!(decode(&encode(&facts)[1..]), None);
    }
}

//! The manifest: which segment files are part of the store. A segment exists from the moment its
//! entry is committed until the moment its entry is deleted; files without an entry are rubbish.
//!
//! Value: version u8 = 1, level u8, samples u64, first and last sequence u64, start and end ms i64,
//! bytes of the file u64, little-endian.

use crate::key::Key;
use crate::model::{Sequence, TimeRange, Timestamp};
use crate::segment::{SegmentAddress, SegmentFacts};

const VERSION: u8 = 1;

pub(crate) fn key(address: &SegmentAddress) -> Key<'static> {
    Key::Segment(address.class, address.partition, address.number)
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

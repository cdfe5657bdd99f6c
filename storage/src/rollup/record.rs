//! The record of a rollup of one day: what it was made of.
//!
//! Value: version u8 = 1, newest sequence u64, greatest number of a deletion u64, generation u64,
//! little-endian.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Error;
use crate::key::{self, Family};
use crate::kv::Kv;
use crate::model::Sequence;
use crate::segment::Segment;

const VERSION: u8 = 1;

/// Tier and day.
pub(crate) type Home = (u8, i32);

/// What a rollup of a day was made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// The newest sequence of the segments it was made of.
    pub(crate) covered: Sequence,
    /// The greatest number of a deletion that it knows.
    pub(crate) deletions: u64,
    /// Which rollups of what were asked for; see `Rules::generation`.
    pub(crate) generation: u64,
}

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for number in [self.covered.number(), self.deletions, self.generation] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let (numbers, rest) = value.strip_prefix(&[VERSION])?.as_chunks::<8>();
        let numbers: Vec<u64> = numbers.iter().map(|number| u64::from_le_bytes(*number)).collect();
        let &[covered, deletions, generation] = numbers.as_slice() else { return None };
        rest.is_empty().then_some(Record { covered: Sequence::new(covered), deletions, generation })
    }
}

/// Loads all records. A rollup without one, which only damage leaves, is taken for outdated.
pub(crate) fn load(kv: &Kv, rollups: &[Arc<Segment>]) -> Result<BTreeMap<Home, Record>, Error> {
    let mut found = BTreeMap::new();
    kv.scan(Family::Meta, &key::ROLLUP_PREFIX, &key::ROLLUP_PREFIX, |key, value| {
        let corrupt = || Error::corrupt("record", format!("rollup {key:02x?}"));
        let home = key::decode_rollup(key).ok_or_else(corrupt)?;
        found.insert(home, Record::decode(value).ok_or_else(corrupt)?);
        Ok::<_, Error>(true)
    })?;
    for segment in rollups {
        found.entry((segment.address.tier, segment.address.partition)).or_default();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip() {
        let record = Record { covered: Sequence::new(7), deletions: 3, generation: u64::MAX };
        assert_eq!(Record::decode(&record.encode()), Some(record));
        assert_eq!(Record::decode(&record.encode()[1..]), None);
        assert_eq!(Record::decode(b"\x01"), None);
    }
}

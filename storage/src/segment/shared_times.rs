//! Times parts of a segment that later series blocks may share: series that are measured together
//! have equal times, wherever they stand in the order.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};

use xxhash_rust::xxh3;

use super::directory::Extent;

/// Times that are compared as they are: those of the series just written.
const RECENT: usize = 8;
/// Parts remembered by the hash of their bytes, in each of two halves: 3 MB together.
const HALF_MAX: usize = 32 * 1024;

/// The times parts written so far, as far as they are remembered.
pub(super) struct SharedTimes {
    recent: VecDeque<(Vec<i64>, Extent)>,
    /// 128 bits with a seed that nobody outside knows: two parts share a hash only by an accident
    /// that will not happen.
    seed: u64,
    young: HashMap<u128, Extent>,
    old: HashMap<u128, Extent>,
}

impl SharedTimes {
    pub(super) fn new() -> Self {
        SharedTimes {
            recent: VecDeque::new(),
            seed: RandomState::new().build_hasher().finish(),
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    /// A part with these times, if one was written lately. Costs no encoding.
    pub(super) fn find(&self, times: &[i64]) -> Option<Extent> {
        self.recent.iter().rev().find(|(known, _)| known == times).map(|(_, extent)| *extent)
    }

    /// A part with these bytes.
    pub(super) fn find_encoded(&self, bytes: &[u8]) -> Option<Extent> {
        let hash = xxh3::xxh3_128_with_seed(bytes, self.seed);
        self.young.get(&hash).or_else(|| self.old.get(&hash)).copied()
    }

    /// A part with these times has been found or written.
    pub(super) fn learn(&mut self, times: &[i64], extent: Extent) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((times.to_vec(), extent));
    }

    /// A part with these bytes has been written.
    pub(super) fn learn_encoded(&mut self, bytes: &[u8], extent: Extent) {
        if self.young.len() >= HALF_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(xxh3::xxh3_128_with_seed(bytes, self.seed), extent);
    }
}

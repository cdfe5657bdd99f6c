//! Maps by ids that this process gives out itself. Every sample costs a few lookups in them, and
//! nobody outside can choose the ids, so the hash is cheap and has no secret.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by tenant, series, group or definition.
pub(crate) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Multiplies and rotates, as compilers do for their own tables.
#[derive(Clone, Copy, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            self.write_u64(chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0xf135_7aea_2e62_a9c5);
    }

    fn finish(&self) -> u64 {
        // The good bits are the high ones; tables look at the low ones first.
        self.0.rotate_left(26)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher, Hash};

    use super::*;

    #[test]
    fn dense_ids_spread_over_a_table() {
        fn check<K: Hash>(keys: impl Iterator<Item = K>) {
            let build = BuildHasherDefault::<IdHasher>::default();
            let places: HashSet<u64> = keys.map(|key| build.hash_one(key) & 0xffff).collect();
            // 65 536 keys thrown at random would reach about 41 000 of as many places.
            assert!(places.len() > 30_000, "{}", places.len());
        }
        check((0u32..65_536).map(|series| (1u32, series)));
        check((0u32..65_536).map(|tenant| (tenant, 7u32)));
        check(0u64..65_536);
        check((0u64..65_536).map(|n| [n, 5].map(u64::to_be_bytes)));
    }
}

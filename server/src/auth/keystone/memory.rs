//! What is remembered of tokens, bounded: known and unknown ones apart, so that a flood of made-up
//! tokens drives out nobody who is known.

use std::collections::HashMap;

use moneta_storage::model::Timestamp;

use super::Known;
use crate::auth::{Digest, Identity};

/// Two halves each: when the young one is full it becomes the old one, and the old one is forgotten.
#[derive(Default)]
struct Halves<T> {
    young: HashMap<Digest, T>,
    old: HashMap<Digest, T>,
}

impl<T> Halves<T> {
    fn get(&self, digest: &Digest) -> Option<&T> {
        self.young.get(digest).or_else(|| self.old.get(digest))
    }

    fn insert(&mut self, digest: Digest, value: T, max: usize) {
        if self.young.len() >= max / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, value);
    }

    fn remove(&mut self, digest: &Digest) {
        self.young.remove(digest);
        self.old.remove(digest);
    }
}

pub(super) struct Memory {
    max: usize,
    /// And when it was checked last.
    known: Halves<(Known, Timestamp)>,
    unknown: Halves<Timestamp>,
}

impl Memory {
    /// For `max` tokens of each kind.
    pub(super) fn new(max: usize) -> Self {
        let (known, unknown) = (
            Halves { young: HashMap::new(), old: HashMap::new() },
            Halves { young: HashMap::new(), old: HashMap::new() },
        );
        Memory { max, known, unknown }
    }

    /// What counts without asking: what was checked less than so many milliseconds ago. `None`: ask.
    pub(super) fn look(
        &self,
        digest: &Digest,
        now: Timestamp,
        known_ms: i64,
        unknown_ms: i64,
    ) -> Option<Option<Identity>> {
        let is_fresh = |at: Timestamp, ms: i64| (0..ms).contains(&(now.millis() - at.millis()));
        if let Some((known, at)) = self.known.get(digest) {
            if known.expires <= now {
                return Some(None);
            }
            return is_fresh(*at, known_ms).then(|| Some(known.identity.clone()));
        }
        let at = self.unknown.get(digest)?;
        is_fresh(*at, unknown_ms).then_some(None)
    }

    /// What was known last, however long ago.
    pub(super) fn last(&self, digest: &Digest) -> Option<Known> {
        self.known.get(digest).map(|(known, _)| known.clone())
    }

    pub(super) fn remember(&mut self, digest: Digest, known: Option<Known>, now: Timestamp) {
        match known {
            Some(known) => {
                self.unknown.remove(&digest);
                self.known.insert(digest, (known, now), self.max);
            }
            None => {
                self.known.remove(&digest);
                self.unknown.insert(digest, now, self.max);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u32) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    fn known(expires: i64) -> Known {
        let identity = Identity { tenant: "t".into(), roles: Vec::new() };
        Known { identity, expires: Timestamp::from_millis(expires) }
    }

    #[test]
    fn what_is_old_is_asked_again() {
        let mut memory = Memory::new(10);
        let check = |memory: &Memory, at: i64, want: Option<bool>| {
            let found = memory.look(&digest(1), Timestamp::from_millis(at), 300, 30);
            assert_eq!(found.map(|identity| identity.is_some()), want, "{at}");
        };
        check(&memory, 0, None);
        memory.remember(digest(1), None, Timestamp::from_millis(1000));
        check(&memory, 1029, Some(false));
        check(&memory, 1030, None);
        check(&memory, 999, None);
        memory.remember(digest(1), Some(known(2000)), Timestamp::from_millis(1500));
        check(&memory, 1799, Some(true));
        check(&memory, 1800, None);
        check(&memory, 2000, Some(false));
        assert_eq!(memory.last(&digest(1)), Some(known(2000)));
        memory.remember(digest(1), None, Timestamp::from_millis(1900));
        assert_eq!(memory.last(&digest(1)), None, "revoked");
    }

    #[test]
    fn a_flood_of_unknown_ones_drives_out_nobody() {
        let mut memory = Memory::new(10);
        let now = Timestamp::from_millis(5);
        memory.remember(digest(0), Some(known(1000)), now);
        for number in 1..1000 {
            memory.remember(digest(number), None, now);
        }
        assert!(memory.look(&digest(0), now, 300, 30).is_some_and(|found| found.is_some()));
        assert!(memory.unknown.young.len() + memory.unknown.old.len() <= 11);
        for number in 1..1000 {
            memory.remember(digest(number), Some(known(1000)), now);
        }
        assert!(memory.known.young.len() + memory.known.old.len() <= 11);
    }
}

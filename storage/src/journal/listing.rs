//! What terms and words there are: each once, in byte order, leaping over the entries that share one.

use std::collections::BTreeSet;
use std::ops::Range;

use super::places::{Budget, SEEK_STEPS, Span};
use super::read::Stop;
use super::{Journal, Place, partition_of};
use crate::error::Error;
use crate::key::{self, Family, JournalPart, take_bytes};
use crate::kv::Cursor;
use crate::model::Moment;

/// Steps that a listing may cost, a second or so.
const STEPS_MAX: usize = 1_000_000;

/// Which terms or words are wanted.
pub(crate) struct Listing {
    /// Those of entries with a time in this half-open span; words, of the partitions it touches.
    pub(crate) range: Range<Moment>,
    /// Those that begin so.
    pub(crate) head: Vec<u8>,
    /// Those that are greater than this.
    pub(crate) after: Option<Vec<u8>>,
    /// At most so many, the least.
    pub(crate) limit: usize,
}

impl Listing {
    /// Whether `term` would be beyond the limit.
    fn is_beyond(&self, found: &BTreeSet<Vec<u8>>, term: &[u8]) -> bool {
        found.len() >= self.limit && found.last().is_none_or(|last| last.as_slice() < term)
    }

    fn insert(&self, found: &mut BTreeSet<Vec<u8>>, term: Vec<u8>) {
        found.insert(term);
        if found.len() > self.limit {
            found.pop_last();
        }
    }
}

impl Journal {
    /// Terms of visible entries whose note `accepts` for at least one of them.
    ///
    /// # Errors
    /// `Limit` if too much would have to be looked at, `Stopped` if RocksDB cannot read.
    pub(crate) fn terms(
        &self,
        listing: &Listing,
        accepts: impl Fn(&[u8]) -> bool,
    ) -> Result<BTreeSet<Vec<u8>>, Error> {
        let mut found = BTreeSet::new();
        let bytes = |time| Place { time, id: Vec::new() }.bytes();
        let range = listing.range.start.max(self.visible_from()?)..listing.range.end;
        let span = Span { low: bytes(range.start), high: bytes(range.end) };
        self.in_partitions(JournalPart::Term, range, |cursor, partition, budget| {
            terms_of_partition(cursor, partition, listing, &span, &accepts, budget, &mut found)
        })?;
        Ok(found)
    }

    /// Words of the partitions that the span touches.
    ///
    /// # Errors
    /// As for [`terms`](Self::terms).
    pub(crate) fn words(&self, listing: &Listing) -> Result<BTreeSet<Vec<u8>>, Error> {
        let mut found = BTreeSet::new();
        let range = listing.range.start.max(self.visible_from()?)..listing.range.end;
        self.in_partitions(JournalPart::Word, range, |cursor, partition, budget| {
            let from = match &listing.after {
                Some(after) => [partition, after, &[0][..]].concat(),
                None => Vec::new(),
            };
            let head = [partition, listing.head.as_slice()].concat();
            cursor.seek(&from.max(head.clone()));
            budget.take(SEEK_STEPS)?;
            while let Some((key, _)) = cursor.entry()? {
                let word = key.strip_prefix(partition).filter(|_| key.starts_with(&head));
                let Some(word) = word.filter(|word| !listing.is_beyond(&found, word)) else {
                    break;
                };
                listing.insert(&mut found, word.to_vec());
                cursor.next();
                budget.take(1)?;
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Calls `each` with what begins the keys of each partition that there is in a span.
    fn in_partitions(
        &self,
        part: JournalPart,
        range: Range<Moment>,
        mut each: impl FnMut(&mut Cursor<'_>, &[u8], &mut Budget) -> Result<(), Stop>,
    ) -> Result<(), Error> {
        if range.is_empty() {
            return Ok(());
        }
        let prefix = key::journal_prefix(self.tenant, self.kind, part);
        let days = self.kind.term_days();
        let last = partition_of(Moment::from_micros(range.end.micros().saturating_sub(1)), days);
        let mut budget = Budget::new(STEPS_MAX);
        let mut next = Some(partition_of(range.start, days));
        let mut cursor = self.shared.kv.unplaced_cursor(Family::Journal);
        while let Some(partition) = next.filter(|next| *next <= last) {
            cursor.seek(&key::with_partition(&prefix, partition));
            let found = cursor.entry()?.filter(|(key, _)| key.starts_with(&prefix));
            let Some((key, _)) = found else { break };
            let corrupt = || Error::corrupt("key", "the index of a journal");
            let (partition, _) = key::decode_partition(key).ok_or_else(corrupt)?;
            if partition > last {
                break;
            }
            let begin = key::with_partition(&prefix, partition);
            let done = budget.take(SEEK_STEPS);
            match done.and_then(|()| each(&mut cursor, &begin, &mut budget)) {
                Ok(()) => next = partition.checked_add(1),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Spent) => {
                    let max = u64::try_from(STEPS_MAX).unwrap_or(u64::MAX);
                    return Err(Error::Limit { limit: "what a listing may look at", max });
                }
            }
        }
        Ok(())
    }
}

fn terms_of_partition(
    cursor: &mut Cursor<'_>,
    partition: &[u8],
    listing: &Listing,
    span: &Span,
    accepts: &impl Fn(&[u8]) -> bool,
    budget: &mut Budget,
    found: &mut BTreeSet<Vec<u8>>,
) -> Result<(), Stop> {
    let head = [partition, &key::bytes_prefix(&listing.head)].concat();
    let from = listing.after.as_ref().map(|after| behind(partition, after));
    let mut target = from.map_or(head.clone(), |from| from.max(head.clone()));
    loop {
        cursor.seek(&target);
        budget.take(SEEK_STEPS)?;
        // Entries of one term, until it is decided or gone through.
        loop {
            let Some((key, note)) = cursor.entry()? else { return Ok(()) };
            if !key.starts_with(&head) {
                return Ok(());
            }
            let corrupt = || Error::corrupt("key", "the terms of a journal");
            let rest = key.get(partition.len()..).ok_or_else(corrupt)?;
            let (term, place) = take_bytes(rest).ok_or_else(corrupt)?;
            if listing.is_beyond(found, &term) {
                return Ok(());
            }
            let decided = found.contains(&term) || place >= span.high.as_slice();
            if !decided && place < span.low.as_slice() {
                target = [partition, &key::whole_bytes(&term), &span.low].concat();
                break;
            }
            if !decided && !accepts(note) {
                cursor.next();
                budget.take(1)?;
                continue;
            }
            target = behind(partition, &term);
            if !decided {
                listing.insert(found, term);
            }
            break;
        }
    }
}

/// What comes after all keys of a term: those end it with two zero bytes.
fn behind(partition: &[u8], term: &[u8]) -> Vec<u8> {
    [partition, &key::bytes_prefix(term), &[0, 1][..]].concat()
}

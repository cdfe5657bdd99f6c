//! Reading a journal in order, by time and by terms, a page at a time.
//!
//! Every page costs a bounded number of steps and bytes: when they are spent, the page ends early and
//! says where the next goes on. A page's end is a *place*, not a count, so it stays good while entries
//! come and go.

use std::cmp::Ordering;
use std::ops::Range;

use super::entry::Place;
use super::places::{Begin, Budget, SEEK_STEPS, Span, Union, position, step};
use super::{Journal, partition_of, partition_start};
use crate::error::Error;
use crate::key::{self, Family, JournalPart};
use crate::model::Moment;

/// Most entries of a page: those of an API's largest page, and one more to see whether any follow.
pub const PAGE_MAX: usize = 10_001;
/// Most terms of a query.
pub const TERMS_MAX: usize = 1000;
/// Steps that a page may cost: a tenth of a second or so.
const STEPS_MAX: usize = 200_000;
/// Bytes of entries that a page may read.
const BYTES_MAX: usize = 32 << 20;
/// Entries read together once their places are known.
const TOGETHER: usize = 64;

/// Which end of time comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// Ascending.
    #[default]
    OldestFirst,
    /// Descending.
    NewestFirst,
}

impl Order {
    /// Compares places, as bytes, by which comes first.
    pub(super) fn compare(self, a: &[u8], b: &[u8]) -> Ordering {
        match self {
            Order::OldestFirst => a.cmp(b),
            Order::NewestFirst => b.cmp(a),
        }
    }
}

/// What is asked of a journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    /// Only entries with a time in this half-open span.
    pub range: Range<Moment>,
    /// In this order of (time, id).
    pub order: Order,
    /// Only entries that come after this place in that order.
    pub after: Option<Place>,
    /// Only entries that carry a term of every list. An empty list lets nothing through.
    pub terms: Vec<Vec<Vec<u8>>>,
    /// Most entries to find, at least one; more than [`PAGE_MAX`] count as so many.
    pub limit: usize,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page<T> {
    /// In the order asked for.
    pub found: Vec<T>,
    /// Where to go on; `None` when everything was looked at. A page with fewer than `limit` entries has
    /// it too when its cost reached the bound, and a full one also when nothing follows.
    pub next: Option<Place>,
}

/// Why a read ends early.
pub(super) enum Stop {
    /// The page is full or has cost enough.
    Spent,
    /// RocksDB cannot read.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

impl Journal {
    /// The entries that `query` asks for and `keep` makes something of, up to its limit.
    ///
    /// # Errors
    /// `Limit` for too many terms, `Stopped` if RocksDB cannot read, and what `keep` returns.
    pub fn read<T, E: From<Error>>(
        &self,
        query: &Query,
        keep: impl FnMut(&Place, &[u8]) -> Result<Option<T>, E>,
    ) -> Result<Page<T>, E> {
        if query.terms.iter().map(Vec::len).sum::<usize>() > TERMS_MAX {
            let max = u64::try_from(TERMS_MAX).unwrap_or(u64::MAX);
            return Err(E::from(Error::Limit { limit: "the terms of a query", max }));
        }
        let span = self.span(query)?;
        let mut read = Read {
            journal: self,
            query,
            span: &span,
            limit: query.limit.clamp(1, PAGE_MAX),
            budget: Budget::new(STEPS_MAX),
            bytes: 0,
            keep,
            failed: None,
            found: Vec::new(),
            settled: None,
        };
        if span.low >= span.high {
            return Ok(Page { found: Vec::new(), next: None });
        }
        let done = if query.terms.is_empty() { read.all() } else { read.by_terms() };
        let next = match done {
            Ok(()) => None,
            Err(Stop::Failed(error)) => return Err(E::from(error)),
            Err(Stop::Spent) => match read.failed {
                Some(error) => return Err(error),
                // A page that settled nothing goes on where it began.
                None => match read.settled {
                    Some(place) => Some(Place::parse(&place)?),
                    None => query.after.clone().or_else(|| Some(beginning(query))),
                },
            },
        };
        Ok(Page { found: read.found, next })
    }

    /// What is asked for and visible.
    fn span(&self, query: &Query) -> Result<Span, Error> {
        let edge = |time: Moment| Place { time, id: Vec::new() }.bytes();
        let mut low = edge(query.range.start.max(self.visible_from()?));
        let mut high = edge(query.range.end);
        if let Some(after) = &query.after {
            match query.order {
                Order::OldestFirst => low = low.max([&after.bytes()[..], &[0]].concat()),
                Order::NewestFirst => high = high.min(after.bytes()),
            }
        }
        Ok(Span { low, high })
    }
}

/// The place that comes before everything a query may find.
fn beginning(query: &Query) -> Place {
    let time = match query.order {
        Order::OldestFirst => query.range.start,
        Order::NewestFirst => query.range.end,
    };
    Place { time, id: Vec::new() }
}

struct Read<'a, T, E, K> {
    journal: &'a Journal,
    query: &'a Query,
    span: &'a Span,
    limit: usize,
    budget: Budget,
    bytes: usize,
    keep: K,
    failed: Option<E>,
    found: Vec<T>,
    /// All up to here are in `found` or not asked for.
    settled: Option<Vec<u8>>,
}

impl<'a, T, E, K> Read<'a, T, E, K>
where
    E: From<Error>,
    K: FnMut(&Place, &[u8]) -> Result<Option<T>, E>,
{
    fn prefix(&self) -> Vec<u8> {
        key::journal_prefix(self.journal.tenant, self.journal.kind, JournalPart::Entry)
    }

    /// Looks at every entry of the span.
    fn all(&mut self) -> Result<(), Stop> {
        let journal = self.journal;
        let prefix = self.prefix();
        let mut cursor = journal.shared.kv.unplaced_cursor(Family::Journal);
        self.budget.take(SEEK_STEPS)?;
        position(&mut cursor, &prefix, self.span, self.query.order, &Begin::Span)?;
        while let Some((key, value)) = cursor.entry()? {
            let inside = |place: &&[u8]| self.span.holds(place);
            let Some(place) = key.strip_prefix(prefix.as_slice()).filter(inside) else { break };
            self.budget.take(1)?;
            self.offer(place, value)?;
            step(&mut cursor, self.query.order);
        }
        Ok(())
    }

    /// Lets `keep` decide about an entry.
    fn offer(&mut self, place: &[u8], value: &[u8]) -> Result<(), Stop> {
        self.bytes += value.len();
        match (self.keep)(&Place::parse(place)?, value) {
            Ok(kept) => self.found.extend(kept),
            Err(error) => {
                self.failed = Some(error);
                return Err(Stop::Spent);
            }
        }
        self.settled = Some(place.to_vec());
        let full = self.found.len() >= self.limit || self.bytes >= BYTES_MAX;
        if full { Err(Stop::Spent) } else { Ok(()) }
    }

    /// Goes through the partitions that have entries.
    fn by_terms(&mut self) -> Result<(), Stop> {
        if self.query.terms.iter().any(Vec::is_empty) {
            return Ok(());
        }
        let days = self.journal.kind.term_days();
        let mut next = self.partition_from(None)?;
        while let Some(partition) = next {
            self.one_partition(partition)?;
            let beyond = match self.query.order {
                Order::OldestFirst => partition.checked_add(1),
                Order::NewestFirst => Some(partition),
            };
            let Some(edge) = beyond.map(|partition| partition_start(partition, days)) else {
                break;
            };
            let edge = Place { time: edge, id: Vec::new() }.bytes();
            next = self.partition_from(Some(&edge))?;
            if next.is_some() {
                self.settled = Some(edge);
            }
        }
        Ok(())
    }

    /// The partition of the first entry, from an edge between partitions on.
    fn partition_from(&mut self, edge: Option<&[u8]>) -> Result<Option<i32>, Stop> {
        let prefix = self.prefix();
        self.budget.take(SEEK_STEPS)?;
        let mut cursor = self.journal.shared.kv.unplaced_cursor(Family::Journal);
        let begin = edge.map_or(Begin::Span, Begin::After);
        position(&mut cursor, &prefix, self.span, self.query.order, &begin)?;
        let inside = |place: &&[u8]| self.span.holds(place);
        let found = cursor.entry()?.and_then(|(key, _)| key.strip_prefix(prefix.as_slice()));
        let Some(place) = found.filter(inside) else { return Ok(None) };
        let days = self.journal.kind.term_days();
        Ok(Some(partition_of(Place::parse(place)?.time, days)))
    }

    /// Entries of one partition that carry a term of every list: the unions leap over one another
    /// until all stand at the same place.
    fn one_partition(&mut self, partition: i32) -> Result<(), Stop> {
        let mut unions = self.unions(partition);
        let order = self.query.order;
        let mut places: Vec<Vec<u8>> = Vec::new();
        loop {
            let outcome = meet(&mut unions, order, &mut self.budget);
            let (meeting, stop) = match outcome {
                Ok(meeting) => (meeting, None),
                Err(stop) => (Meeting::End, Some(stop)),
            };
            let end = matches!(meeting, Meeting::End);
            if let Meeting::At(place) = meeting {
                for union in &mut unions {
                    union.pass(&place);
                }
                places.push(place);
            } else if let Meeting::Passed(place) = meeting {
                // All before it have been offered only once the places found are.
                if places.is_empty() {
                    self.settled = Some(place);
                }
            }
            let wanted = (self.limit - self.found.len()).clamp(8, TOGETHER);
            if end || places.len() >= wanted {
                self.offer_all(&std::mem::take(&mut places))?;
            }
            match stop {
                Some(stop) => return Err(stop),
                None if end => return Ok(()),
                None => {}
            }
        }
    }

    fn unions(&self, partition: i32) -> Vec<Union<'a>> {
        let Journal { shared, tenant, kind } = self.journal;
        let mut unions = Vec::with_capacity(self.query.terms.len());
        for terms in &self.query.terms {
            let mut terms: Vec<&Vec<u8>> = terms.iter().collect();
            terms.sort();
            terms.dedup();
            let prefix = |term: &Vec<u8>| key::journal_term_prefix(*tenant, *kind, partition, term);
            let cursor = shared.kv.unplaced_cursor(Family::Journal);
            let prefixes = terms.into_iter().map(prefix);
            let wanted = if self.query.terms.len() == 1 { self.limit } else { usize::MAX };
            unions.push(Union::new(cursor, self.span, self.query.order, prefixes, wanted));
        }
        unions
    }

    fn offer_all(&mut self, places: &[Vec<u8>]) -> Result<(), Stop> {
        if places.is_empty() {
            return Ok(());
        }
        let prefix = self.prefix();
        let keys: Vec<_> = places.iter().map(|place| [prefix.as_slice(), place].concat()).collect();
        let values = self.journal.shared.kv.get_many(Family::Journal, &keys)?;
        for (place, value) in places.iter().zip(values) {
            // An entry may be removed between its term and itself.
            if let Some(value) = value {
                self.offer(place, &value)?;
            }
        }
        Ok(())
    }
}

/// What a leap of unions leads to.
enum Meeting {
    /// All stand at this place.
    At(Vec<u8>),
    /// Not all have this place, nor one before it.
    Passed(Vec<u8>),
    /// One has no more places.
    End,
}

/// Moves the unions towards each other by one leap.
fn meet(unions: &mut [Union<'_>], order: Order, budget: &mut Budget) -> Result<Meeting, Stop> {
    let mut first: Option<Vec<u8>> = None;
    let mut last: Option<Vec<u8>> = None;
    for union in unions.iter_mut() {
        let Some(head) = union.head(budget)? else { return Ok(Meeting::End) };
        if first.as_ref().is_none_or(|first| order.compare(head, first) == Ordering::Less) {
            first = Some(head.to_vec());
        }
        if last.as_ref().is_none_or(|last| order.compare(head, last) == Ordering::Greater) {
            last = Some(head.to_vec());
        }
    }
    let (Some(first), Some(last)) = (first, last) else { return Ok(Meeting::End) };
    if first == last {
        return Ok(Meeting::At(last));
    }
    for union in unions {
        union.seek(&last, budget)?;
    }
    Ok(Meeting::Passed(first))
}

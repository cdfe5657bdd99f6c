//! Places of entries that carry one of some terms, in order, within one partition.
//!
//! ```text
//! term a  │ 3 · 7 · 9 · …  ◀ lane: a few places read ahead
//! term b  │ 5 · 8 · …      ◀ lane
//! union     3 5 7 8 9
//! ```
//! All lanes share one RocksDB iterator, so a thousand terms cost a thousand short buffers.

use std::cmp::Ordering;
use std::collections::VecDeque;

use super::read::{Order, Stop};
use crate::error::Error;
use crate::kv::Cursor;

/// Places read ahead by all lanes of a union together, and by one at least.
const READ_AHEAD: usize = 256;
/// What a seek costs, in steps.
pub(super) const SEEK_STEPS: usize = 4;

/// Steps that a call may still make in RocksDB. This is what bounds a read that finds little.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) const fn new(steps: usize) -> Self {
        Budget(steps)
    }

    /// Takes `steps`, or stops the read.
    pub(super) fn take(&mut self, steps: usize) -> Result<(), Stop> {
        self.0 = self.0.checked_sub(steps).ok_or(Stop::Spent)?;
        Ok(())
    }
}

/// What a read covers, as bytes of places: from `low` up to, but without, `high`.
pub(super) struct Span {
    pub(super) low: Vec<u8>,
    pub(super) high: Vec<u8>,
}

impl Span {
    pub(super) fn holds(&self, place: &[u8]) -> bool {
        self.low.as_slice() <= place && place < self.high.as_slice()
    }
}

/// Where reading begins.
pub(super) enum Begin<'a> {
    /// At the end of the span that comes first.
    Span,
    /// At this place.
    At(&'a [u8]),
    /// Behind this place.
    After(&'a [u8]),
}

struct Lane {
    /// What the keys of the term begin with in this partition.
    prefix: Vec<u8>,
    ahead: VecDeque<Vec<u8>>,
    last: Option<Vec<u8>>,
    ended: bool,
}

/// Places of the entries that carry any of some terms.
pub(super) struct Union<'a> {
    cursor: Cursor<'a>,
    span: &'a Span,
    order: Order,
    read_ahead: usize,
    lanes: Vec<Lane>,
}

impl<'a> Union<'a> {
    pub(super) fn new(
        cursor: Cursor<'a>,
        span: &'a Span,
        order: Order,
        prefixes: impl Iterator<Item = Vec<u8>>,
        wanted: usize,
    ) -> Self {
        let lane = |prefix| Lane { prefix, ahead: VecDeque::new(), last: None, ended: false };
        let lanes: Vec<Lane> = prefixes.map(lane).collect();
        let read_ahead = (READ_AHEAD / lanes.len().max(1)).min(wanted).max(1);
        Union { cursor, span, order, read_ahead, lanes }
    }

    /// The next place, if there is one.
    pub(super) fn head(&mut self, budget: &mut Budget) -> Result<Option<&[u8]>, Stop> {
        for at in 0..self.lanes.len() {
            self.fill(at, None, budget)?;
        }
        let order = self.order;
        let heads = self.lanes.iter().filter_map(|lane| lane.ahead.front());
        Ok(heads.min_by(|a, b| order.compare(a, b)).map(Vec::as_slice))
    }

    /// Drops what comes before `target`.
    pub(super) fn seek(&mut self, target: &[u8], budget: &mut Budget) -> Result<(), Stop> {
        let order = self.order;
        for at in 0..self.lanes.len() {
            if let Some(lane) = self.lanes.get_mut(at) {
                let before = |place: &Vec<u8>| order.compare(place, target) == Ordering::Less;
                while lane.ahead.front().is_some_and(before) {
                    lane.ahead.pop_front();
                }
            }
            self.fill(at, Some(target), budget)?;
        }
        Ok(())
    }

    /// Drops `place` and what comes before it.
    pub(super) fn pass(&mut self, place: &[u8]) {
        let order = self.order;
        for lane in &mut self.lanes {
            let passed = |head: &Vec<u8>| order.compare(head, place) != Ordering::Greater;
            while lane.ahead.front().is_some_and(passed) {
                lane.ahead.pop_front();
            }
        }
    }

    /// Reads ahead in a lane that has nothing left, from `target` or from where it stood.
    fn fill(&mut self, at: usize, target: Option<&[u8]>, budget: &mut Budget) -> Result<(), Stop> {
        let Some(lane) = self.lanes.get_mut(at) else { return Ok(()) };
        if lane.ended || !lane.ahead.is_empty() {
            return Ok(());
        }
        budget.take(SEEK_STEPS)?;
        let last = lane.last.take();
        let from = match (target, &last) {
            (Some(target), _) => Begin::At(target),
            (None, Some(last)) => Begin::After(last),
            (None, None) => Begin::Span,
        };
        position(&mut self.cursor, &lane.prefix, self.span, self.order, &from)?;
        while lane.ahead.len() < self.read_ahead {
            let Some((key, _)) = self.cursor.entry()? else {
                lane.ended = true;
                break;
            };
            let Some(place) = key.strip_prefix(lane.prefix.as_slice()) else {
                lane.ended = true;
                break;
            };
            if !self.span.holds(place) {
                lane.ended = true;
                break;
            }
            lane.ahead.push_back(place.to_vec());
            budget.take(1)?;
            step(&mut self.cursor, self.order);
        }
        lane.last = lane.ahead.back().cloned();
        Ok(())
    }
}

/// Moves one entry on.
pub(super) fn step(cursor: &mut Cursor<'_>, order: Order) {
    match order {
        Order::OldestFirst => cursor.next(),
        Order::NewestFirst => cursor.previous(),
    }
}

/// Moves to the first entry under `prefix` from there on.
pub(super) fn position(
    cursor: &mut Cursor<'_>,
    prefix: &[u8],
    span: &Span,
    order: Order,
    from: &Begin<'_>,
) -> Result<(), Error> {
    let key = |place: &[u8]| [prefix, place].concat();
    match (order, from) {
        (Order::OldestFirst, Begin::Span) => cursor.seek(&key(&span.low)),
        (Order::OldestFirst, Begin::At(place)) => cursor.seek(&key(place)),
        // The next greater key is this one with a zero byte behind it.
        (Order::OldestFirst, Begin::After(place)) => cursor.seek(&[&key(place), &[0][..]].concat()),
        (Order::NewestFirst, Begin::At(place)) => cursor.seek_back(&key(place)),
        (Order::NewestFirst, Begin::Span) => before(cursor, &key(&span.high))?,
        (Order::NewestFirst, Begin::After(place)) => before(cursor, &key(place))?,
    }
    Ok(())
}

/// Moves to the last entry before `key`.
fn before(cursor: &mut Cursor<'_>, key: &[u8]) -> Result<(), Error> {
    cursor.seek_back(key);
    let here = cursor.entry()?;
    if here.is_some_and(|(found, _)| found == key) {
        cursor.previous();
    }
    Ok(())
}

//! What the engine sees of the stored samples at this instant and at this place in the log: what has
//! arrived, is not held back, and is finite.
//!
//! The store answers as of the request before the one in hand; the rows of the request in hand that
//! have been handled lie over it. So a row is seen exactly as if each row were a write of its own.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use moneta_storage::model::{Sequence, SeriesId, TenantId, TimeRange, Timestamp};

use crate::error::Error;
use crate::held::HeldBack;
use crate::samples::Samples;

/// A place in the log and in time: all writes up to `sequence`, all timers and releases up to `instant`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The last write.
    pub sequence: Sequence,
    /// The last instant.
    pub instant: Timestamp,
}

impl Position {
    /// Before everything.
    pub const START: Position = Position { sequence: Sequence::ZERO, instant: Timestamp::MIN };

    /// The later of both, in each respect.
    #[must_use]
    pub fn later(self, other: Position) -> Position {
        Position {
            sequence: self.sequence.max(other.sequence),
            instant: self.instant.max(other.instant),
        }
    }

    /// Whether an arrival lies at or before this place.
    pub(crate) fn covers(&self, arrival: Arrival) -> bool {
        match arrival {
            Arrival::Row(sequence) => sequence <= self.sequence,
            Arrival::Released(instant) => instant <= self.instant,
        }
    }
}

/// How a sample came to be judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// As a row of this write.
    Row(Sequence),
    /// It was held back until this instant.
    Released(Timestamp),
}

/// See the head of this file.
pub(crate) struct Sight {
    /// Everything up to here has been handled.
    pub(crate) position: Position,
    pub(crate) tolerance_ms: i64,
    pub(crate) held: HeldBack,
    request: RefCell<Request>,
}

/// The rows of the request in hand that have been handled.
#[derive(Default)]
struct Request {
    sequence: Sequence,
    rows: Vec<(TenantId, SeriesId, i64, f64)>,
    /// How many of `rows` are in `by_series`: filled only when something is read.
    indexed: usize,
    by_series: HashMap<(TenantId, SeriesId), BTreeMap<i64, f64>>,
}

impl Sight {
    pub(crate) fn new(position: Position, tolerance_ms: i64) -> Self {
        Sight {
            position,
            tolerance_ms,
            held: HeldBack::default(),
            request: RefCell::new(Request::default()),
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.position.instant.millis()
    }

    /// The latest time that is not too far ahead, milliseconds.
    pub(crate) fn horizon_ms(&self) -> i64 {
        self.now_ms().saturating_add(self.tolerance_ms)
    }

    /// Begins the request with this sequence, unless it is in hand already.
    pub(crate) fn begin(&mut self, sequence: Sequence) {
        let request = self.request.get_mut();
        if request.sequence != sequence {
            *request = Request { sequence, ..Request::default() };
            self.position.sequence = Sequence::new(sequence.number().saturating_sub(1));
        }
    }

    /// Ends the request in hand: all up to `upto` has been handled.
    pub(crate) fn end(&mut self, upto: Sequence) {
        *self.request.get_mut() = Request::default();
        self.position.sequence = self.position.sequence.max(upto);
    }

    /// Makes a row of the request in hand visible.
    pub(crate) fn show(&mut self, tenant: TenantId, series: SeriesId, time: i64, value: f64) {
        self.request.get_mut().rows.push((tenant, series, time, value));
    }

    /// Calls `each` with the data of a series in `[start, end)`, in no particular order.
    pub(crate) fn read(
        &self,
        samples: &dyn Samples,
        (tenant, series): (TenantId, SeriesId),
        (start, end): (i64, i64),
        each: &mut dyn FnMut(i64, f64),
    ) -> Result<(), Error> {
        let end = end.min(self.horizon_ms().saturating_add(1));
        if start >= end {
            return Ok(());
        }
        let request = self.indexed_request();
        let written = request.by_series.get(&(tenant, series));
        let mut visible = |time: i64, value: f64| {
            if value.is_finite() && !self.held.holds(tenant, series, time) {
                each(time, value);
            }
        };
        let range = TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(end));
        samples.read(tenant, series, range, self.position.sequence, &mut |time, value| {
            if written.is_none_or(|rows| !rows.contains_key(&time)) {
                visible(time, value);
            }
        })?;
        for (time, value) in written.into_iter().flat_map(|rows| rows.range(start..end)) {
            visible(*time, *value);
        }
        Ok(())
    }

    /// The value of a series at `time`.
    pub(crate) fn value(
        &self,
        samples: &dyn Samples,
        series: (TenantId, SeriesId),
        time: i64,
    ) -> Result<Option<f64>, Error> {
        let mut found = None;
        self.read(samples, series, (time, time.saturating_add(1)), &mut |_, value| {
            found = Some(value);
        })?;
        Ok(found)
    }

    /// The newest of the data of a series in `[start, end)`.
    pub(crate) fn newest(
        &self,
        samples: &dyn Samples,
        (tenant, series): (TenantId, SeriesId),
        (start, end): (i64, i64),
    ) -> Result<Option<(i64, f64)>, Error> {
        let end = end.min(self.horizon_ms().saturating_add(1));
        if start >= end {
            return Ok(None);
        }
        let request = self.indexed_request();
        let written = request.by_series.get(&(tenant, series));
        let visible =
            |time: i64, value: f64| value.is_finite() && !self.held.holds(tenant, series, time);
        let mut newest = written
            .into_iter()
            .flat_map(|rows| rows.range(start..end).rev())
            .map(|(time, value)| (*time, *value))
            .find(|(time, value)| visible(*time, *value));
        let mut end = end;
        loop {
            let range = TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(end));
            let stored = samples.newest(tenant, series, range, self.position.sequence)?;
            let Some((time, value)) = stored else { break };
            if newest.is_some_and(|(newer, _)| newer >= time) {
                break;
            }
            let hidden = written.is_some_and(|rows| rows.contains_key(&time));
            if !hidden && visible(time, value) {
                newest = Some((time, value));
                break;
            }
            end = time;
        }
        Ok(newest)
    }

    fn indexed_request(&self) -> std::cell::Ref<'_, Request> {
        {
            let request = &mut *self.request.borrow_mut();
            for (tenant, series, time, value) in
                request.rows.get(request.indexed..).unwrap_or_default()
            {
                request.by_series.entry((*tenant, *series)).or_default().insert(*time, *value);
            }
            request.indexed = request.rows.len();
        }
        self.request.borrow()
    }
}

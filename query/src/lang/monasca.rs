//! Monasca measurements and statistics.
//!
//! A question names a metric, conditions on dimensions and how series are put together; it compiles
//! to one expression of the algebra.

use moneta_storage::Store;
use moneta_storage::model::{
    DimensionMatcher, Selector, TenantId, TimeRange, Timestamp, ValueMatcher, ValueMeta,
};

use crate::asker::Asker;
use crate::error::Error;
use crate::exec::{self, Source, StoreSource, Watched};
pub use crate::expr::{Aggregate as Statistic, Group, Page, PageStart, Warning};
use crate::expr::{GroupBy, Matches, Paging, Samples, Select, Windowed};
use crate::window::{WindowLength, Windows};

#[cfg(test)]
mod tests;

/// How the matching series are put together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Grouping {
    /// Exactly one series may match.
    Single,
    /// All together, as one.
    Merged,
    /// One group per distinct combination of values of these dimensions; a series that lacks one
    /// counts with the value "".
    By(Vec<String>),
    /// Each series by itself (`group_by=*`).
    Every,
}

/// The series and rows asked for.
#[derive(Clone, Debug)]
pub struct Question {
    /// Metric name.
    pub metric: String,
    /// Conditions on dimensions.
    pub dimensions: Vec<DimensionMatcher>,
    /// Span of time.
    pub range: TimeRange,
    /// How series are put together.
    pub grouping: Grouping,
    /// Where to go on, if not at the beginning.
    pub page: Option<PageStart>,
    /// At most so many rows over all groups (at least 1).
    pub rows_max: usize,
    /// At most so many samples may be decoded.
    pub samples_max: u64,
    /// Who waits for the answer.
    pub asker: Asker,
}

/// One measurement: time, value, extra facts.
pub type Measurement = (Timestamp, f64, Option<ValueMeta>);

/// One window: its start, and one number per statistic asked for, in that order.
pub type StatisticRow = (Timestamp, Vec<f64>);

/// The measurements of the matching series. Rows of a merged group with equal timestamps all
/// appear; a page is extended over equal timestamps so that none is lost between pages. Values that
/// are not finite are left out: the API's JSON has no form for them.
///
/// # Errors
/// `SeveralSeries` if grouping is `Single` and more than one known series matches, whenever its
/// samples were; `Limit` if more series or samples are needed than allowed; `Invalid` if the page
/// begins in a group that is not there (any more); `Unwanted` if the asker leaves; failures of the store.
pub fn measurements(
    store: &Store,
    tenant: TenantId,
    question: &Question,
) -> Result<Page<Measurement>, Error> {
    measurements_from(&StoreSource::new(store, tenant), question)
}

/// Statistics of the matching series in windows of `period_ms`, aligned to the epoch and labelled
/// with their start; windows without samples are left out. `period_ms` 0: one window, labelled with
/// the start of the span. Values that are not finite are left out.
///
/// # Errors
/// As for [`measurements`], and `Invalid` for a negative period.
pub fn statistics(
    store: &Store,
    tenant: TenantId,
    question: &Question,
    period_ms: i64,
    statistics: &[Statistic],
) -> Result<Page<StatisticRow>, Error> {
    statistics_from(&StoreSource::new(store, tenant), question, period_ms, statistics)
}

fn measurements_from(
    source: &impl Source,
    question: &Question,
) -> Result<Page<Measurement>, Error> {
    let expression = Samples { select: question.select(), group: question.group_by() };
    exec::samples(&Watched::new(source, &question.asker), &expression, &question.paging())
}

fn statistics_from(
    source: &impl Source,
    question: &Question,
    period_ms: i64,
    statistics: &[Statistic],
) -> Result<Page<StatisticRow>, Error> {
    let windows = match WindowLength::from_millis(period_ms) {
        Some(length) => Windows::Every(length),
        None if period_ms == 0 => Windows::Whole { start: question.range.start },
        None => return Err(Error::Invalid(format!("a period of {period_ms} ms is negative"))),
    };
    let expression = Windowed {
        select: question.select(),
        windows,
        aggregates: statistics.to_vec(),
        group: question.group_by(),
    };
    exec::windowed(&Watched::new(source, &question.asker), &expression, &question.paging())
}

impl Question {
    fn select(&self) -> Select {
        let matches = match self.grouping {
            Grouping::Single => Matches::AtMostOne,
            Grouping::Merged | Grouping::By(_) | Grouping::Every => Matches::Any,
        };
        let selector = Selector {
            metric: Some(self.metric.clone()),
            dimensions: self.dimensions.clone(),
            active: None,
        };
        Select { selector, range: self.range, matches }
    }

    fn group_by(&self) -> GroupBy {
        match &self.grouping {
            Grouping::Single | Grouping::Every => GroupBy::Series,
            Grouping::Merged => GroupBy::All { name: self.filter_bytes() },
            Grouping::By(names) => GroupBy::Dimensions(names.clone()),
        }
    }

    fn paging(&self) -> Paging {
        Paging { start: self.page.clone(), rows_max: self.rows_max, samples_max: self.samples_max }
    }

    /// The metric and the conditions as bytes: equal filters and only equal filters have equal
    /// bytes, in whichever order the conditions were written.
    fn filter_bytes(&self) -> Vec<u8> {
        let mut conditions: Vec<Vec<u8>> = self.dimensions.iter().map(condition_bytes).collect();
        conditions.sort_unstable();
        let mut out = Vec::new();
        put_text(&mut out, &self.metric);
        out.extend(conditions.into_iter().flatten());
        out
    }
}

fn condition_bytes(condition: &DimensionMatcher) -> Vec<u8> {
    let mut out = Vec::new();
    put_text(&mut out, &condition.name);
    match &condition.value {
        ValueMatcher::Present => out.push(0),
        ValueMatcher::Equals(value) => {
            out.push(1);
            put_text(&mut out, value);
        }
        ValueMatcher::OneOf(values) => {
            out.push(2);
            out.extend_from_slice(&(values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| put_text(&mut out, value));
        }
        ValueMatcher::Absent => out.push(3),
        ValueMatcher::NotEquals(value) => {
            out.push(4);
            put_text(&mut out, value);
        }
        ValueMatcher::NoneOf(values) => {
            out.push(5);
            out.extend_from_slice(&(values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| put_text(&mut out, value));
        }
        ValueMatcher::Matches(pattern) => {
            out.push(6);
            put_text(&mut out, pattern.text());
        }
        ValueMatcher::NotMatches(pattern) => {
            out.push(7);
            put_text(&mut out, pattern.text());
        }
    }
    out
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

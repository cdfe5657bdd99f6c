//! Monasca measurements and statistics.

use moneta_storage::Store;
use moneta_storage::model::{
    DimensionMatcher, Dimensions, TenantId, TimeRange, Timestamp, ValueMeta,
};

use crate::error::Error;

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

/// Where a page begins: after `after` inside the group with this id, then all later groups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageStart {
    /// Group id; `None`: every group continues after `after`.
    pub group: Option<String>,
    /// Last row already delivered.
    pub after: Timestamp,
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
}

/// A statistic of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Statistic {
    /// Mean.
    Avg,
    /// Smallest value.
    Min,
    /// Greatest value.
    Max,
    /// Sum.
    Sum,
    /// Number of samples.
    Count,
}

/// Rows of one group of series.
#[derive(Clone, Debug, PartialEq)]
pub struct Group<Row> {
    /// Stable over time and pages: lower-case hexadecimal, a hash of what the group is.
    pub id: String,
    /// Of a single series (or `Every`) all its dimensions; of `By` the grouping dimensions; of
    /// `Merged` none.
    pub dimensions: Dimensions,
    /// Ascending in time, never empty.
    pub rows: Vec<Row>,
}

/// A page of groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<Row> {
    /// Groups with rows in the span, ascending by their dimensions.
    pub groups: Vec<Group<Row>>,
    /// Where the next page begins, if there is more.
    pub next: Option<PageStart>,
}

/// One measurement: time, value, extra facts.
pub type Measurement = (Timestamp, f64, Option<ValueMeta>);

/// One window: its start, and one number per statistic asked for, in that order.
pub type StatisticRow = (Timestamp, Vec<f64>);

/// The measurements of the matching series. Rows of a merged group with equal timestamps all
/// appear; a page is extended over equal timestamps so that none is lost between pages.
///
/// # Errors
/// `SeveralSeries` if grouping is `Single` and more than one known series matches, whenever its
/// samples were; `Limit`; failures of the store.
pub fn measurements(
    store: &Store,
    tenant: TenantId,
    question: &Question,
) -> Result<Page<Measurement>, Error> {
    let _ = (store, tenant, question);
    unimplemented!()
}

/// Statistics of the matching series in windows of `period_ms`, aligned to the epoch and labelled
/// with their start; windows without samples are left out. `period_ms` 0: one window, labelled with
/// the start of the span. Values that are not finite are left out.
///
/// # Errors
/// As for [`measurements`].
pub fn statistics(
    store: &Store,
    tenant: TenantId,
    question: &Question,
    period_ms: i64,
    statistics: &[Statistic],
) -> Result<Page<StatisticRow>, Error> {
    let _ = (store, tenant, question, period_ms, statistics);
    unimplemented!()
}

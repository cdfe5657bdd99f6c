//! Pages of answers.

use moneta_storage::model::{Dimensions, Timestamp};

/// Where a page begins: after `after` inside the group with this id, then all later groups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageStart {
    /// Group id; `None`: every group continues after `after`.
    pub group: Option<String>,
    /// Last row already delivered.
    pub after: Timestamp,
}

/// Rows of one group of series.
#[derive(Clone, Debug, PartialEq)]
pub struct Group<Row> {
    /// Stable over time and pages: lower-case hexadecimal, a hash of what the group is.
    pub id: String,
    /// Of a single series all its dimensions; of series grouped by dimensions those; of all series
    /// together none.
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
    /// What is to be said of the numbers.
    pub warnings: Vec<Warning>,
}

/// Why numbers are not quite what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Samples have expired, and rollups with slots of up to this length have answered for windows that
    /// they do not fit into.
    Resolution {
        /// Milliseconds.
        step_ms: i64,
    },
}

/// Which page, and what it may cost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Paging {
    /// Where to go on, if not at the beginning.
    pub start: Option<PageStart>,
    /// At most so many rows over all groups; 0 counts as 1. Rows with equal timestamps in one group
    /// stay together, so a page may be longer by those.
    pub rows_max: usize,
    /// At most so many samples may be decoded.
    pub samples_max: u64,
}

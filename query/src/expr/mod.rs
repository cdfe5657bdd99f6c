//! The algebra that every language compiles to: *select ▶ window ▶ aggregate ▶ group*.
//!
//! ```text
//! Samples    select ▶ group                        the samples themselves
//! Windowed   select ▶ window ▶ aggregate ▶ group   one row of numbers per window
//! ```
//!
//! Both answer in pages: groups in a fixed order, rows ascending in time.

mod page;

pub use page::{Group, Page, PageStart, Paging, Warning};

use moneta_storage::model::{Selector, TimeRange};

use crate::window::Windows;

/// Which series, and which span of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Select {
    /// Conditions on the series.
    pub selector: Selector,
    /// Span of time.
    pub range: TimeRange,
    /// How many series may match.
    pub matches: Matches,
}

/// How many series may match a selection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Matches {
    /// Any number.
    Any,
    /// At most one, counting series without samples in the span too.
    AtMostOne,
}

/// How series are put together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupBy {
    /// All series are one group. The text says what the group is: equal texts, equal id.
    All {
        /// What the group is.
        name: Vec<u8>,
    },
    /// One group per combination of values of these dimensions; a series without one of them
    /// counts with the value "".
    Dimensions(Vec<String>),
    /// Each series is a group.
    Series,
}

/// A number over the samples of a window. Samples that are not finite do not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aggregate {
    /// Mean.
    Avg,
    /// Smallest value.
    Min,
    /// Greatest value.
    Max,
    /// Sum. Infinite if it leaves the range of a double.
    Sum,
    /// Number of samples.
    Count,
}

/// The samples of groups of series.
#[derive(Clone, PartialEq, Debug)]
pub struct Samples {
    /// Which series.
    pub select: Select,
    /// How they are put together.
    pub group: GroupBy,
}

/// Aggregates over windows of groups of series.
#[derive(Clone, PartialEq, Debug)]
pub struct Windowed {
    /// Which series.
    pub select: Select,
    /// How time is cut.
    pub windows: Windows,
    /// What is computed of each window, in this order.
    pub aggregates: Vec<Aggregate>,
    /// How series are put together.
    pub group: GroupBy,
}

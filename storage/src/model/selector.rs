//! Which series a reader wants.

use super::TimeRange;

/// A condition on the value of one dimension (or on the metric name).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ValueMatcher {
    /// Has exactly this value.
    Equals(String),
    /// Has one of these values.
    OneOf(Vec<String>),
    /// Has any value.
    Present,
}

impl ValueMatcher {
    /// Whether a value satisfies the condition.
    #[must_use]
    pub fn accepts(&self, value: &str) -> bool {
        match self {
            ValueMatcher::Equals(want) => want == value,
            ValueMatcher::OneOf(wants) => wants.iter().any(|want| want == value),
            ValueMatcher::Present => true,
        }
    }
}

/// A condition on one dimension. A series without the dimension does not satisfy it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DimensionMatcher {
    /// Dimension name.
    pub name: String,
    /// What its value must be.
    pub value: ValueMatcher,
}

/// Selects series of one tenant: all conditions must hold. The default selects every series.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selector {
    /// Metric name, exact.
    pub metric: Option<String>,
    /// Conditions on dimensions.
    pub dimensions: Vec<DimensionMatcher>,
    /// Only series that have a sample in this span. `None`: every known series.
    pub active: Option<TimeRange>,
}

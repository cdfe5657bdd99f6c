//! Which series a reader wants.

use super::{Pattern, TimeRange};

/// A condition on the value of one dimension (or on the metric name).
///
/// The first three ask for the dimension to be there, as Monasca does. The others take a series
/// without the dimension for one whose value is the empty text, as Prometheus does. A language whose
/// rules differ combines them: `zone=""` of Prometheus is `Matches` with the empty pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ValueMatcher {
    /// Has exactly this value.
    Equals(String),
    /// Has one of these values.
    OneOf(Vec<String>),
    /// Has any value.
    Present,
    /// Does not have the dimension at all; the opposite of `Present`.
    Absent,
    /// Has another value; a missing one is another, unless this is the empty text.
    NotEquals(String),
    /// Has a value that is none of these; a missing one is none, unless the empty text is among them.
    NoneOf(Vec<String>),
    /// Has a value that matches; a missing one does if the empty text does.
    Matches(Pattern),
    /// Has a value that does not match; a missing one does not if the empty text does not.
    NotMatches(Pattern),
}

impl ValueMatcher {
    /// Whether a value, `None` for a missing one, satisfies the condition.
    #[must_use]
    pub fn accepts(&self, value: Option<&str>) -> bool {
        let or_empty = value.unwrap_or_default();
        match self {
            ValueMatcher::Equals(want) => value == Some(want),
            ValueMatcher::OneOf(wants) => {
                value.is_some_and(|value| wants.iter().any(|want| want == value))
            }
            ValueMatcher::Present => value.is_some(),
            ValueMatcher::Absent => value.is_none(),
            ValueMatcher::NotEquals(other) => or_empty != other,
            ValueMatcher::NoneOf(others) => others.iter().all(|other| other != or_empty),
            ValueMatcher::Matches(pattern) => pattern.is_match(or_empty),
            ValueMatcher::NotMatches(pattern) => !pattern.is_match(or_empty),
        }
    }
}

/// A condition on one dimension, or on the metric name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DimensionMatcher {
    /// Dimension name. The empty name, which no dimension has, stands for the metric name.
    pub name: String,
    /// What its value must be.
    pub value: ValueMatcher,
}

impl DimensionMatcher {
    /// A condition on the metric name, for those that [`Selector::metric`] cannot say.
    #[must_use]
    pub fn on_metric(value: ValueMatcher) -> Self {
        DimensionMatcher { name: String::new(), value }
    }

    /// Whether it is about the metric name.
    #[must_use]
    pub fn is_on_metric(&self) -> bool {
        self.name.is_empty()
    }

    /// Whether a series satisfies the condition.
    #[must_use]
    pub fn accepts(&self, key: &super::SeriesKey) -> bool {
        let metric = self.is_on_metric().then_some(key.metric.as_str());
        self.value.accepts(metric.or_else(|| key.dimensions.get(&self.name)))
    }
}

/// Selects series of one tenant: all conditions must hold. The default selects every series.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selector {
    /// Metric name, exact.
    pub metric: Option<String>,
    /// Conditions on dimensions and the metric name.
    pub dimensions: Vec<DimensionMatcher>,
    /// Only series that have a sample in this span. `None`: every known series.
    pub active: Option<TimeRange>,
}

impl Selector {
    /// Whether a series satisfies metric and conditions, whenever it had samples.
    #[must_use]
    pub fn accepts(&self, key: &super::SeriesKey) -> bool {
        self.metric.as_ref().is_none_or(|metric| *metric == key.metric)
            && self.dimensions.iter().all(|matcher| matcher.accepts(key))
    }
}

//! What a definition says: comparisons (parts) joined by `and` and `or`.
//!
//! [`Expression::parse`] reads the text; [`Part`] prints its canonical text, which is what reasons and
//! messages show.

mod parser;

use std::fmt;

use moneta_storage::model::{Dimensions, SeriesKey};

use crate::error::Error;
use crate::model::PartExpression;

/// Longest expression, in characters.
pub const EXPRESSION_CHARS_MAX: usize = 4096;
/// Deepest nesting of parentheses.
pub const NESTING_MAX: usize = 64;
/// Most comparisons in one expression. A set of parts fits a `u64`.
pub const PARTS_MAX: usize = 64;

/// A parsed expression.
#[derive(Clone, PartialEq, Debug)]
pub struct Expression {
    /// The boolean structure.
    pub root: Node,
    /// The comparisons, from left to right.
    pub parts: Vec<Part>,
}

/// The boolean structure over the parts.
#[derive(Clone, PartialEq, Debug)]
pub enum Node {
    /// The part with this index.
    Part(usize),
    /// All of them.
    And(Vec<Node>),
    /// Any of them.
    Or(Vec<Node>),
}

/// How the values of a slot become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Function {
    /// Smallest.
    Min,
    /// Greatest.
    Max,
    /// Sum.
    Sum,
    /// Number of samples.
    Count,
    /// Mean of all samples.
    Avg,
    /// The newest sample, whatever its age.
    Last,
}

impl Function {
    /// The functions and their lower-case names.
    pub(crate) const NAMED: [(&'static str, Function); 6] = [
        ("min", Function::Min),
        ("max", Function::Max),
        ("sum", Function::Sum),
        ("count", Function::Count),
        ("avg", Function::Avg),
        ("last", Function::Last),
    ];

    /// Lower-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Function::Min => "min",
            Function::Max => "max",
            Function::Sum => "sum",
            Function::Count => "count",
            Function::Avg => "avg",
            Function::Last => "last",
        }
    }
}

/// How a value is compared with the threshold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operator {
    /// `<`
    Lt,
    /// `<=`
    Lte,
    /// `>`
    Gt,
    /// `>=`
    Gte,
}

impl Operator {
    /// The sign.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Operator::Lt => "<",
            Operator::Lte => "<=",
            Operator::Gt => ">",
            Operator::Gte => ">=",
        }
    }

    /// The word, upper case.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Operator::Lt => "LT",
            Operator::Lte => "LTE",
            Operator::Gt => "GT",
            Operator::Gte => "GTE",
        }
    }

    /// Whether greater values satisfy it.
    #[must_use]
    pub fn upward(self) -> bool {
        match self {
            Operator::Lt | Operator::Lte => false,
            Operator::Gt | Operator::Gte => true,
        }
    }
}

/// One comparison.
#[derive(Clone, PartialEq, Debug)]
pub struct Part {
    /// Function.
    pub function: Function,
    /// Metric name.
    pub metric: String,
    /// Dimensions a series must have.
    pub dimensions: Dimensions,
    /// Operator.
    pub operator: Operator,
    /// Threshold, finite.
    pub threshold: f64,
    /// Width of a slot in seconds, at least 1.
    pub period: u32,
    /// Consecutive slots that must breach, at least 1.
    pub periods: u32,
    /// Whether missing data count as `OK`.
    pub deterministic: bool,
}

impl Part {
    /// Whether `value` satisfies the comparison.
    #[must_use]
    pub fn breaches(&self, value: f64) -> bool {
        match self.operator {
            Operator::Lt => value < self.threshold,
            Operator::Lte => value <= self.threshold,
            Operator::Gt => value > self.threshold,
            Operator::Gte => value >= self.threshold,
        }
    }

    /// Whether a series is one this part looks at.
    #[must_use]
    pub fn fits(&self, series: &SeriesKey) -> bool {
        series.metric == self.metric && series.dimensions.contains_all(&self.dimensions)
    }

    /// Whether both look at the same series.
    #[must_use]
    pub fn same_metric(&self, other: &Part) -> bool {
        self.metric == other.metric && self.dimensions == other.dimensions
    }

    /// Slot width in milliseconds.
    #[must_use]
    pub fn period_ms(&self) -> i64 {
        i64::from(self.period) * 1000
    }

    /// The form that messages and history show.
    #[must_use]
    pub fn shown(&self) -> PartExpression {
        PartExpression {
            function: self.function.name().to_uppercase(),
            metric_name: self.metric.clone(),
            dimensions: self
                .dimensions
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            operator: self.operator.word().to_owned(),
            threshold: self.threshold,
            period: self.period,
            periods: self.periods,
            deterministic: self.deterministic,
        }
    }
}

impl fmt::Display for Part {
    /// The canonical text: `avg(cpu{host=h}, deterministic, 120) < 10.5 times 3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}", self.function.name(), self.metric)?;
        if !self.dimensions.is_empty() {
            write!(f, "{}", self.dimensions)?;
        }
        if self.deterministic {
            f.write_str(", deterministic")?;
        }
        if self.period != 60 {
            write!(f, ", {}", self.period)?;
        }
        write!(f, ") {} {}", self.operator.symbol(), decimal(self.threshold))?;
        if self.periods != 1 {
            write!(f, " times {}", self.periods)?;
        }
        Ok(())
    }
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// `Expression` with the column of the first character that does not fit.
    pub fn parse(text: &str) -> Result<Self, Error> {
        parser::parse(text)
    }

    /// Whether every part is deterministic.
    #[must_use]
    pub fn deterministic(&self) -> bool {
        self.parts.iter().all(|part| part.deterministic)
    }

    /// The set of parts that a series fits, as bits.
    #[must_use]
    pub fn fits(&self, series: &SeriesKey) -> u64 {
        let bits = self.parts.iter().enumerate().filter(|(_, part)| part.fits(series));
        bits.fold(0, |set, (at, _)| set | (1 << at))
    }

    /// The set of all parts, as bits.
    #[must_use]
    pub fn all_parts(&self) -> u64 {
        (0..self.parts.len()).fold(0, |set, at| set | (1 << at))
    }
}

/// A number with at least one and at most fifteen decimals and no exponent: `5.0`.
#[must_use]
pub fn decimal(value: f64) -> String {
    let mut text = format!("{value}");
    match text.split_once('.') {
        None => text.push_str(".0"),
        Some((_, decimals)) if decimals.len() > 15 => {
            text = format!("{value:.15}");
            let kept = text.trim_end_matches('0').len();
            text.truncate(kept);
            if text.ends_with('.') {
                text.push('0');
            }
        }
        Some(_) => {}
    }
    text
}

#[cfg(test)]
mod tests;

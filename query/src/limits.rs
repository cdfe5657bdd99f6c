//! What one question may cost. Every limit is an error that names it, never a shorter answer.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// A question may select at most so many series: each costs memory before anything is read.
pub const SERIES_MAX: usize = 1_000_000;

/// Samples that may still be decoded for one question, shared by its threads.
pub(crate) struct SampleBudget {
    max: u64,
    used: AtomicU64,
}

/// A budget is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Exceeded;

impl SampleBudget {
    pub(crate) fn new(max: u64) -> Self {
        SampleBudget { max, used: AtomicU64::new(0) }
    }

    /// How many samples may still be decoded.
    pub(crate) fn left(&self) -> u64 {
        self.max.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    /// Counts decoded samples.
    pub(crate) fn spend(&self, samples: usize) -> Result<(), Exceeded> {
        let samples = u64::try_from(samples).unwrap_or(u64::MAX);
        let before = self.used.fetch_add(samples, Ordering::Relaxed);
        if before.saturating_add(samples) > self.max { Err(Exceeded) } else { Ok(()) }
    }

    /// Counts what was decoded within a part of this budget.
    pub(crate) fn add(&self, part: &SampleBudget) {
        self.used.fetch_add(part.used.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The error of a question that needs more.
    pub(crate) fn exceeded(&self) -> Error {
        Error::Limit { limit: "samples", max: self.max }
    }
}

/// Refuses more series than a question may select.
pub(crate) fn check_series(count: usize) -> Result<(), Error> {
    if count > SERIES_MAX {
        return Err(Error::Limit { limit: "series", max: SERIES_MAX as u64 });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sample_of_a_budget_is_free_and_the_next_is_refused_by_name() {
        let budget = SampleBudget::new(3);
        budget.spend(2).unwrap();
        assert_eq!(budget.left(), 1);
        budget.spend(1).unwrap();
        assert_eq!(budget.spend(1), Err(Exceeded));
        assert_eq!(budget.exceeded().to_string(), "the query would exceed the limit of 3 samples");
        assert!(check_series(SERIES_MAX).is_ok());
        assert!(check_series(SERIES_MAX + 1).is_err());
    }
}

//! A sum that does not depend on the order of its terms.
//!
//! A window kept in memory has to equal one rebuilt from the store, and permuted arrivals have to give
//! the same state, so the sum of a slot is exact until it is asked for: it is kept as a few doubles
//! that do not overlap (Shewchuk, 1997), and rounded once.

/// The exact sum of finite doubles.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ExactSum {
    /// Ascending in magnitude, not overlapping, none zero.
    partials: Vec<f64>,
}

impl ExactSum {
    /// Adds a finite term. Where the sum itself leaves the range of a double it stays at its end.
    pub(crate) fn add(&mut self, term: f64) {
        let mut carry = term;
        let mut kept = 0;
        for at in 0..self.partials.len() {
            let Some(partial) = self.partials.get(at).copied() else { break };
            let (large, small) =
                if carry.abs() < partial.abs() { (partial, carry) } else { (carry, partial) };
            let high = (large + small).clamp(f64::MIN, f64::MAX);
            let low = small - (high - large);
            if low != 0.0
                && let Some(slot) = self.partials.get_mut(kept)
            {
                *slot = low;
                kept += 1;
            }
            carry = high;
        }
        self.partials.truncate(kept);
        if carry != 0.0 {
            self.partials.push(carry);
        }
    }

    /// The sum, rounded once to the nearest double.
    pub(crate) fn value(&self) -> f64 {
        let mut rest = self.partials.iter().rev().copied();
        let Some(mut high) = rest.next() else { return 0.0 };
        let mut low = 0.0;
        for partial in rest.by_ref() {
            let before = high;
            high = (before + partial).clamp(f64::MIN, f64::MAX);
            low = partial - (high - before);
            if low != 0.0 {
                break;
            }
        }
        // Half-way cases round by the sign of what lies beyond.
        if let Some(next) = rest.next()
            && ((low < 0.0 && next < 0.0) || (low > 0.0 && next > 0.0))
        {
            let twice = low * 2.0;
            let rounded = high + twice;
            if twice == rounded - high {
                high = rounded;
            }
        }
        high
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(terms: &[f64]) -> f64 {
        let mut sum = ExactSum::default();
        for term in terms {
            sum.add(*term);
        }
        sum.value()
    }

    #[test]
    fn nothing_is_lost() {
        assert_eq!(sum(&[]), 0.0);
        assert_eq!(sum(&[1e100, 1.0, -1e100]), 1.0);
        assert_eq!(sum(&[0.1; 10]), 1.0);
        assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::MAX);
    }

    proptest! {
        #[test]
        fn the_order_does_not_matter(
            (terms, shuffled) in prop::collection::vec(-1e20f64..1e20, 0..20)
                .prop_flat_map(|terms| (Just(terms.clone()), Just(terms).prop_shuffle()))
        ) {
            prop_assert_eq!(sum(&terms).to_bits(), sum(&shuffled).to_bits());
        }
    }
}

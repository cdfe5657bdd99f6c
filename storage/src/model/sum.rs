//! Sums whose error does not grow with what is added.

/// A sum of many numbers: what is lost to rounding is kept beside it. So it hardly depends on the order,
/// or on whether parts were summed up before: by no more than some 2^-52 of the sum of the magnitudes.
/// Added one by one, a day of a sample a second has lost the twelfth digit.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    /// Adds a number.
    pub fn add(&mut self, number: f64) {
        // Knuth's two-sum: exact, whichever of the two is greater.
        let sum = self.sum + number;
        let of_number = sum - self.sum;
        self.lost += (self.sum - (sum - of_number)) + (number - of_number);
        self.sum = sum;
    }

    /// Adds what another has summed up.
    pub fn join(&mut self, other: &Sum) {
        self.add(other.sum);
        self.lost += other.lost;
    }

    /// The sum.
    #[must_use]
    pub fn total(&self) -> f64 {
        // What goes beyond the greatest number is infinite, and nothing is known of what is lost.
        if self.lost.is_finite() { self.sum + self.lost } else { self.sum }
    }
}

impl From<f64> for Sum {
    fn from(sum: f64) -> Self {
        Sum { sum, lost: 0.0 }
    }
}

impl FromIterator<f64> for Sum {
    fn from_iter<I: IntoIterator<Item = f64>>(numbers: I) -> Self {
        let mut sum = Sum::default();
        numbers.into_iter().for_each(|number| sum.add(number));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(numbers: &[f64], want: f64) {
        let total = |numbers: &[f64]| numbers.iter().copied().collect::<Sum>();
        assert_eq!(total(numbers).total(), want, "{numbers:?}");
        for at in 0..numbers.len() {
            let (first, rest) = numbers.split_at(at);
            let mut joined = total(first);
            joined.join(&total(rest));
            assert_eq!(joined.total(), want, "{numbers:?} at {at}");
        }
    }

    #[test]
    fn what_rounding_takes_comes_back() {
        check(&[], 0.0);
        check(&[-0.0], 0.0);
        check(&[1e16, 1.0, -1e16], 1.0);
        check(&[1.0, 1e16, 1.0, -1e16], 2.0);
        check(&[1e300, 1.0, -1e300, 5e-324, 1.0], 2.0);
        check(&[5e-324, 5e-324, -5e-324], 5e-324);
        check(&[f64::MAX, f64::MAX], f64::INFINITY);
        check(&[f64::MIN, f64::MIN, 1.0], f64::NEG_INFINITY);
        let tenths = vec![0.1; 1000];
        check(&tenths, 100.0);
    }
}

//! Values of traits, and how they compare.

use std::cmp::Ordering;

use crate::model::Moment;

/// The value of a trait.
#[derive(Clone, PartialEq, Debug)]
pub enum TraitValue {
    /// Nothing, said explicitly.
    Null,
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A finite number.
    Float(f64),
    /// Text, at most 64 KiB.
    Text(String),
    /// An instant.
    Time(Moment),
}

impl TraitValue {
    /// How two values compare, if they can: integers and floats by the number, all others only with
    /// their own kind. Texts compare by bytes.
    #[must_use]
    pub fn compare(&self, other: &TraitValue) -> Option<Ordering> {
        use TraitValue::{Boolean, Float, Integer, Null, Text, Time};
        match (self, other) {
            (Null, Null) => Some(Ordering::Equal),
            (Boolean(a), Boolean(b)) => Some(a.cmp(b)),
            (Integer(a), Integer(b)) => Some(a.cmp(b)),
            (Float(a), Float(b)) => a.partial_cmp(b),
            (Integer(a), Float(b)) => whole_with_float(*a, *b),
            (Float(a), Integer(b)) => whole_with_float(*b, *a).map(Ordering::reverse),
            (Text(a), Text(b)) => Some(a.cmp(b)),
            (Time(a), Time(b)) => Some(a.cmp(b)),
            (Null | Boolean(_) | Integer(_) | Float(_) | Text(_) | Time(_), _) => None,
        }
    }

    /// Whether both are the same value.
    #[must_use]
    pub fn equals(&self, other: &TraitValue) -> bool {
        self.compare(other) == Some(Ordering::Equal)
    }
}

/// 2^63: the least float that is greater than every integer.
const WHOLE_END: f64 = 9_223_372_036_854_775_808.0;

/// The integer that equals a float, if there is one.
pub(super) fn whole(float: f64) -> Option<i64> {
    let fits = float.fract() == 0.0 && (-WHOLE_END..WHOLE_END).contains(&float);
    fits.then(|| truncated(float))
}

#[expect(clippy::cast_possible_truncation, reason = "the callers hold it between -2^63 and 2^63")]
fn truncated(float: f64) -> i64 {
    float as i64
}

/// Exact, where turning the integer into a float would round it.
fn whole_with_float(whole: i64, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    if float >= WHOLE_END {
        return Some(Ordering::Less);
    }
    if float < -WHOLE_END {
        return Some(Ordering::Greater);
    }
    let by_fraction = 0.0_f64.partial_cmp(&float.fract())?;
    Some(whole.cmp(&truncated(float)).then(by_fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_exactly() {
        let check = |a: i64, b: f64, want: Ordering| {
            assert_eq!(
                TraitValue::Integer(a).compare(&TraitValue::Float(b)),
                Some(want),
                "{a} {b}"
            );
            let back = TraitValue::Float(b).compare(&TraitValue::Integer(a));
            assert_eq!(back, Some(want.reverse()), "{b} {a}");
        };
        check(5, 5.0, Ordering::Equal);
        check(5, 5.5, Ordering::Less);
        check(-5, -5.5, Ordering::Greater);
        check(0, -0.0, Ordering::Equal);
        check(i64::MAX, WHOLE_END, Ordering::Less);
        check(i64::MIN, -WHOLE_END, Ordering::Equal);
        check((1 << 53) + 1, 9_007_199_254_740_992.0, Ordering::Greater);
        check(i64::MIN, -1e300, Ordering::Greater);
    }

    #[test]
    fn kinds_do_not_mix() {
        let text = TraitValue::Text("4096".into());
        assert_eq!(text.compare(&TraitValue::Integer(4096)), None);
        assert_eq!(TraitValue::Null.compare(&TraitValue::Boolean(false)), None);
        assert!(TraitValue::Null.equals(&TraitValue::Null));
    }
}

//! Decimal numbers in text, read fast where they are short.

/// Powers of ten that a double holds exactly.
const POWERS_OF_TEN: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The double nearest to a number as JSON writes it, unless that is infinite or not a number.
pub(crate) fn finite(text: &str) -> Option<f64> {
    if let Some(value) = short_decimal(text) {
        return Some(value);
    }
    // "NaN" and "Infinity" parse as well, and are filtered out like overflow.
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// A number of at most 15 digits without exponent: digits and power of ten are exact doubles, so one
/// division rounds correctly.
fn short_decimal(text: &str) -> Option<f64> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.len() > 16 {
        return None;
    }
    let mut number: u64 = 0;
    let mut decimals = None;
    let mut count = 0_usize;
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                number = number * 10 + u64::from(byte - b'0');
                count += 1;
                decimals = decimals.map(|n: usize| n + 1);
            }
            b'.' => decimals = Some(0),
            _ => return None,
        }
    }
    if count > 15 {
        return None;
    }
    let power = POWERS_OF_TEN.get(decimals.unwrap_or(0))?;
    #[expect(clippy::cast_precision_loss, reason = "15 digits are exact")]
    let value = number as f64 / power;
    Some(if negative { -value } else { value })
}

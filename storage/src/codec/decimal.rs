//! Floats that were written as short decimals: 93.7 is the integer 937 and the exponent 1.
//!
//! Dividing an integer below 2⁵¹ by a power of ten up to 10¹⁴ gives the double nearest to the
//! decimal, which is the double that a parser gave. So the integers and one exponent per column
//! say it all, and integers compress many times better. Values for which the division does not
//! give back every bit (averages, NaN, infinities, -0.0) are kept aside as they are.

use super::Effort;
use super::input::{Input, Malformed};
use super::integers;
use super::scheme::Codec;
use super::varint;

/// The powers of ten a column may be divided by. All are exact in a double.
const POWERS: [f64; 15] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

/// Adding and taking away 1.5 × 2⁵² rounds a double below 2⁵¹ to an integer.
const ROUNDING: f64 = 6_755_399_441_055_744.0;
const INTEGER_LIMIT: f64 = 2_251_799_813_685_248.0;

/// Values looked at to find the exponent.
const SAMPLE: usize = 64;

/// At most one value in this many may be kept aside.
const EXCEPTION_SHARE: usize = 8;

/// Bytes of a value kept aside, place included.
const EXCEPTION_LEN: usize = 10;

/// A value kept aside.
#[derive(Clone, Copy, Debug)]
struct Exception {
    place: usize,
    bits: u64,
}

/// A column as integers.
#[derive(Debug)]
pub(super) struct Decimals {
    exponent: u8,
    integers: Vec<i64>,
    exceptions: Vec<Exception>,
}

/// The integer that, divided by `power`, gives every bit of `value`.
fn integer(value: f64, power: f64) -> Option<i64> {
    let scaled = value * power;
    // False for NaN.
    let small = scaled.abs() < INTEGER_LIMIT;
    let shifted = scaled + ROUNDING;
    let same = ((shifted - ROUNDING) / power).to_bits() == value.to_bits();
    // The integer stands in the low bits of the sum.
    let integer = shifted.to_bits().wrapping_sub(ROUNDING.to_bits()).cast_signed();
    (small && same).then_some(integer)
}

impl Decimals {
    /// The column as integers, if nearly all of it are short decimals.
    pub(super) fn of(column: &[f64]) -> Option<Self> {
        let (exponent, power) = likely_exponent(column)?;
        let exceptions_max = column.len() / EXCEPTION_SHARE;
        let mut exceptions = Vec::new();
        let mut integers = Vec::with_capacity(column.len());
        let mut last = 0;
        for (place, &value) in column.iter().enumerate() {
            if let Some(integer) = integer(value, power) {
                last = integer;
            } else {
                if exceptions.len() == exceptions_max {
                    return None;
                }
                exceptions.push(Exception { place, bits: value.to_bits() });
            }
            // The place of an exception repeats the value before, which costs least.
            integers.push(last);
        }
        Some(Self { exponent, integers, exceptions })
    }

    /// Whether no value is kept aside.
    pub(super) fn is_exact(&self) -> bool {
        self.exceptions.is_empty()
    }

    /// The encoding of the column.
    pub(super) fn encode(&self, effort: Effort) -> Vec<u8> {
        let mut out = vec![Codec::Decimal.byte(), self.exponent];
        varint::put(self.exceptions.len() as u64, &mut out);
        let mut next = 0;
        for exception in &self.exceptions {
            varint::put((exception.place - next) as u64, &mut out);
            out.extend_from_slice(&exception.bits.to_le_bytes());
            next = exception.place + 1;
        }
        integers::encode(&self.integers, effort, &mut out);
        out
    }
}

/// The exponent, with its power of ten, that makes a sample of the column smallest.
fn likely_exponent(column: &[f64]) -> Option<(u8, f64)> {
    let stride = (column.len() / SAMPLE).max(1);
    let mut hits = [0_usize; POWERS.len()];
    let mut sampled = 0;
    for value in column.iter().step_by(stride).take(SAMPLE) {
        sampled += 1;
        if let Some(exponent) = POWERS.iter().position(|&power| integer(*value, power).is_some())
            && let Some(hits) = hits.get_mut(exponent)
        {
            *hits += 1;
        }
    }
    let mut covered = 0;
    let mut best: Option<(usize, u8, f64)> = None;
    for ((exponent, &power), &hits) in (0_u8..).zip(&POWERS).zip(&hits) {
        covered += hits;
        if hits == 0 {
            continue;
        }
        // Each digit more costs every value ten bits in three; each value missed, its whole.
        let digits_bits = covered * usize::from(exponent) * 10 / 3;
        let cost = digits_bits + (sampled - covered) * EXCEPTION_LEN * 8;
        if best.is_none_or(|(least, ..)| cost < least) {
            best = Some((cost, exponent, power));
        }
    }
    best.map(|(_, exponent, power)| (exponent, power))
}

/// Takes decimals and appends the column.
pub(super) fn decode(
    input: &mut Input<'_>,
    count: usize,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let power = *POWERS.get(usize::from(input.byte()?)).ok_or(Malformed)?;
    let exceptions = take_exceptions(input, count)?;
    let mut integers = Vec::<i64>::new();
    integers::decode(Input::new(input.rest()), count, &mut integers)?;
    let start = out.len();
    out.extend(integers.iter().map(|&integer| double(integer) / power));
    let column = out.get_mut(start..).unwrap_or_default();
    for exception in exceptions {
        let value = column.get_mut(exception.place).ok_or(Malformed)?;
        *value = f64::from_bits(exception.bits);
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "what we wrote is below 2^51, and so exact")]
fn double(integer: i64) -> f64 {
    integer as f64
}

fn take_exceptions(input: &mut Input<'_>, count: usize) -> Result<Vec<Exception>, Malformed> {
    let exceptions = input.count(count / EXCEPTION_SHARE)?;
    let mut next = 0;
    (0..exceptions)
        .map(|_| {
            let place = next + input.count(count)?;
            next = place + 1;
            Ok(Exception { place, bits: input.word()? })
        })
        .collect()
}

/// The codec of the integers, for inspection.
pub(super) fn integers_codec(input: &mut Input<'_>, count_max: usize) -> Result<Codec, Malformed> {
    input.byte()?;
    take_exceptions(input, count_max)?;
    Codec::take(input)
}

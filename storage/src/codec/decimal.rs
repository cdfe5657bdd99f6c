//! Floats that were written as short decimals: 93.7 is the integer 937 and the exponent 1.
//!
//! Dividing an integer below 2⁵¹ by a power of ten up to 10¹⁴ gives the double nearest to the
//! decimal, which is the double that a parser gave. So the integers and one exponent per column
//! say it all, and integers compress many times better.
//!
//! Sums of decimals are off in the last places: 51.846000000000004 is 51846, exponent 3, and one
//! unit in the last place more. Such units are a second column, of very small integers. Values that
//! are not even near a decimal (fractions, NaN, infinities, -0.0) are kept aside as they are.

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

/// Units in the last place that a value may be off. Sums of a few decimals stay below; more would
/// find a decimal of fourteen digits near any fraction.
const ULPS_MAX: u64 = 8;

/// One value in so many is looked at to find the exponent, within bounds: a value that is no decimal
/// takes fifteen divisions.
const SAMPLE_SHARE: usize = 32;
const SAMPLE_MIN: usize = 16;
const SAMPLE_MAX: usize = 64;

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
    /// One per value, or none when all are zero.
    ulps: Vec<i64>,
    exceptions: Vec<Exception>,
}

/// The integer that, divided by `power`, gives `value` less some units in the last place.
fn nearest(value: f64, power: f64) -> Option<(i64, i64)> {
    let scaled = value * power;
    // False for NaN.
    let small = scaled.abs() < INTEGER_LIMIT;
    let shifted = scaled + ROUNDING;
    let decimal = (shifted - ROUNDING) / power;
    let ulps = value.to_bits().wrapping_sub(decimal.to_bits()).cast_signed();
    // The integer stands in the low bits of the sum.
    let integer = shifted.to_bits().wrapping_sub(ROUNDING.to_bits()).cast_signed();
    (small && ulps.unsigned_abs() <= ULPS_MAX).then_some((integer, ulps))
}

impl Decimals {
    /// The column as integers, if nearly all of it are short decimals or near one.
    pub(super) fn of(column: &[f64]) -> Option<Self> {
        let (exponent, power) = likely_exponent(column)?;
        let exceptions_max = column.len() / EXCEPTION_SHARE;
        let mut exceptions = Vec::new();
        let mut integers = Vec::with_capacity(column.len());
        let mut ulps = Vec::new();
        let mut last = 0;
        for (place, &value) in column.iter().enumerate() {
            let mut off = 0;
            if let Some(near) = nearest(value, power) {
                (last, off) = near;
            } else {
                if exceptions.len() == exceptions_max {
                    return None;
                }
                exceptions.push(Exception { place, bits: value.to_bits() });
            }
            // The place of an exception repeats the value before, which costs least.
            integers.push(last);
            if off != 0 || !ulps.is_empty() {
                ulps.resize(place, 0);
                ulps.push(off);
            }
        }
        Some(Self { exponent, integers, ulps, exceptions })
    }

    /// Whether no value is kept aside.
    pub(super) fn is_exact(&self) -> bool {
        self.exceptions.is_empty()
    }

    /// The encoding of the column.
    pub(super) fn encode(&self, effort: Effort) -> Vec<u8> {
        let codec = if self.ulps.is_empty() { Codec::Decimal } else { Codec::NearDecimal };
        let mut out = vec![codec.byte(), self.exponent];
        varint::put(self.exceptions.len() as u64, &mut out);
        let mut next = 0;
        for exception in &self.exceptions {
            varint::put((exception.place - next) as u64, &mut out);
            out.extend_from_slice(&exception.bits.to_le_bytes());
            next = exception.place + 1;
        }
        if self.ulps.is_empty() {
            integers::encode(&self.integers, effort, &mut out);
        } else {
            let mut encoding = Vec::new();
            integers::encode(&self.integers, effort, &mut encoding);
            varint::put(encoding.len() as u64, &mut out);
            out.extend_from_slice(&encoding);
            integers::encode(&self.ulps, effort, &mut out);
        }
        out
    }
}

/// The exponent, with its power of ten, that makes a sample of the column smallest.
fn likely_exponent(column: &[f64]) -> Option<(u8, f64)> {
    let sample = (column.len() / SAMPLE_SHARE).clamp(SAMPLE_MIN, SAMPLE_MAX);
    let stride = (column.len() / sample).max(1);
    let mut hits = [0_usize; POWERS.len()];
    let mut sampled = 0;
    for value in column.iter().step_by(stride).take(sample) {
        sampled += 1;
        if let Some(exponent) = POWERS.iter().position(|&power| nearest(*value, power).is_some())
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
    let power = take_power(input)?;
    let exceptions = take_exceptions(input, count)?;
    let mut integers = Vec::<i64>::new();
    integers::decode(Input::new(input.rest()), count, &mut integers)?;
    let start = out.len();
    out.extend(integers.iter().map(|&integer| double(integer) / power));
    put_back(&exceptions, out.get_mut(start..).unwrap_or_default())
}

/// Takes near decimals and appends the column.
pub(super) fn decode_near(
    input: &mut Input<'_>,
    count: usize,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let power = take_power(input)?;
    let exceptions = take_exceptions(input, count)?;
    let len = input.count(integers::raw_len(count))?;
    let (mut integers, mut ulps) = (Vec::<i64>::new(), Vec::<i64>::new());
    integers::decode(Input::new(input.bytes(len)?), count, &mut integers)?;
    integers::decode(Input::new(input.rest()), count, &mut ulps)?;
    let start = out.len();
    out.extend(integers.iter().zip(&ulps).map(|(&integer, &ulps)| {
        let bits = (double(integer) / power).to_bits();
        f64::from_bits(bits.wrapping_add(ulps.cast_unsigned()))
    }));
    put_back(&exceptions, out.get_mut(start..).unwrap_or_default())
}

fn take_power(input: &mut Input<'_>) -> Result<f64, Malformed> {
    POWERS.get(usize::from(input.byte()?)).copied().ok_or(Malformed)
}

fn put_back(exceptions: &[Exception], column: &mut [f64]) -> Result<(), Malformed> {
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

//! Columns as bytes: times, integers and floats, each encoded by what it looks like.
//!
//! An internal building block of blocks, runs and log records, public only for its benches. A
//! column is up to [`COLUMN_MAX`] values; its encoding starts with a byte that names the codec and
//! says nothing of the count, which the block knows. Every codec gives back every bit. The layouts
//! are in `FORMAT.md`, section *Columns*.
//!
//! ```text
//! times, integers ▶ constant · regular · frames of offsets or deltas · stretches · off a line · pco
//! floats          ▶ constant · decimals ▶ integers · frames of differing bits · pco · raw
//! ```

mod decimal;
mod entropy;
mod floats;
mod frame;
mod input;
mod integers;
mod line;
mod scheme;
mod stretches;
mod survey;
#[cfg(test)]
mod tests;
mod varint;
mod word;
mod xor;

use crate::Error;
use input::{Input, Malformed};
use scheme::Codec;

/// Most values of a column. Encoding more is a mistake of ours, decoding more is refused.
pub const COLUMN_MAX: usize = 65_536;

/// How much work to spend on making a column small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effort {
    /// Cheap to write: for runs, log records and young segments, which are written again soon.
    Fast,
    /// Smallest: for merged segments, which stay. Takes ten times as long to write.
    Best,
}

/// Appends an encoding of times in milliseconds, in any order.
///
/// # Panics
/// When the column has more than [`COLUMN_MAX`] values.
pub fn encode_times(column: &[i64], effort: Effort, out: &mut Vec<u8>) {
    assert!(column.len() <= COLUMN_MAX, "a column of {} times", column.len());
    integers::encode(column, effort, out);
}

/// Appends an encoding of identifiers, numbers or sequences, in any order.
///
/// # Panics
/// When the column has more than [`COLUMN_MAX`] values.
pub fn encode_integers(column: &[u64], effort: Effort, out: &mut Vec<u8>) {
    assert!(column.len() <= COLUMN_MAX, "a column of {} integers", column.len());
    integers::encode(column, effort, out);
}

/// Appends an encoding of values. NaN payloads, -0.0, infinities and subnormals are kept.
///
/// # Panics
/// When the column has more than [`COLUMN_MAX`] values.
pub fn encode_floats(column: &[f64], effort: Effort, out: &mut Vec<u8>) {
    assert!(column.len() <= COLUMN_MAX, "a column of {} floats", column.len());
    floats::encode(column, effort, out);
}

/// Appends exactly `count` times to `out`. `bytes` is one whole encoding and nothing else.
///
/// # Errors
/// `Corrupt` for bytes that are no such encoding, or a `count` above [`COLUMN_MAX`]; `out` is then
/// as it was.
pub fn decode_times(bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), Error> {
    decoded(bytes, count, out, integers::decode)
}

/// Appends exactly `count` integers to `out`. `bytes` is one whole encoding and nothing else.
///
/// # Errors
/// `Corrupt` for bytes that are no such encoding, or a `count` above [`COLUMN_MAX`]; `out` is then
/// as it was.
pub fn decode_integers(bytes: &[u8], count: usize, out: &mut Vec<u64>) -> Result<(), Error> {
    decoded(bytes, count, out, integers::decode)
}

/// Appends exactly `count` values to `out`. `bytes` is one whole encoding and nothing else.
///
/// # Errors
/// `Corrupt` for bytes that are no such encoding, or a `count` above [`COLUMN_MAX`]; `out` is then
/// as it was.
pub fn decode_floats(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), Error> {
    decoded(bytes, count, out, floats::decode)
}

/// The name of the codec an encoding uses, for inspection; `unknown` for a byte that names none.
#[must_use]
pub fn codec_name(bytes: &[u8]) -> &'static str {
    let mut input = Input::new(bytes);
    match Codec::take(&mut input) {
        Ok(Codec::Decimal) => decimal::integers_codec(&mut input, COLUMN_MAX)
            .map_or(Codec::Decimal.name(), Codec::decimal_name),
        Ok(codec) => codec.name(),
        Err(Malformed) => "unknown",
    }
}

/// Runs a decoder and answers for its promise: `count` values, or none and an error.
fn decoded<T>(
    bytes: &[u8],
    count: usize,
    out: &mut Vec<T>,
    decode: impl FnOnce(Input<'_>, usize, &mut Vec<T>) -> Result<(), Malformed>,
) -> Result<(), Error> {
    let corrupt = |place: String| Error::corrupt("column", place);
    if count > COLUMN_MAX {
        return Err(corrupt(format!("a column of {count} values")));
    }
    let start = out.len();
    let result = decode(Input::new(bytes), count, out);
    if result.is_ok() && out.len() - start == count {
        return Ok(());
    }
    out.truncate(start);
    Err(corrupt(format!("a {} column of {count} values", codec_name(bytes))))
}

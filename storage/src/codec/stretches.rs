//! Columns made of stretches: of equal values (the series of a row block, sequences), or of equal
//! steps (regular times with gaps, or of one series after the other).
//!
//! A column of values or steps and one of lengths, each encoded in the way that suits it: ids that
//! rise by one and all have twelve samples take ten bytes.

use super::Effort;
use super::input::{Input, Malformed};
use super::integers::{self, Nesting, differences};
use super::scheme::Codec;
use super::varint;
use super::word::Word;

/// The encoding of a column as stretches of equal values.
pub(super) fn encode_runs<W: Word>(column: &[W], effort: Effort) -> Vec<u8> {
    let mut out = vec![Codec::Runs.byte()];
    put::<W>(column.iter().map(|value| value.signed()), effort, &mut out);
    out
}

/// The encoding of a column as its first value and stretches of equal differences.
pub(super) fn encode_steps<W: Word>(column: &[W], effort: Effort) -> Vec<u8> {
    let mut out = vec![Codec::Steps.byte()];
    varint::put_signed(column.first().map_or(0, |value| value.signed()), &mut out);
    put::<W>(differences(column), effort, &mut out);
    out
}

/// Appends the stretches of equal numbers.
fn put<W: Word>(numbers: impl Iterator<Item = i64>, effort: Effort, out: &mut Vec<u8>) {
    let mut values: Vec<W> = Vec::new();
    let mut lengths: Vec<u64> = Vec::new();
    for number in numbers {
        match (values.last(), lengths.last_mut()) {
            (Some(value), Some(length)) if value.signed() == number => *length += 1,
            _ => {
                values.push(W::from_signed(number));
                lengths.push(1);
            }
        }
    }
    let mut encoding = Vec::new();
    integers::encode_nested(&values, effort, Nesting::Inner, &mut encoding);
    varint::put(values.len() as u64, out);
    varint::put(encoding.len() as u64, out);
    out.extend_from_slice(&encoding);
    integers::encode_nested(&lengths, effort, Nesting::Inner, out);
}

/// Takes stretches of equal values and appends the column.
pub(super) fn decode_runs<W: Word>(
    input: &mut Input<'_>,
    count: usize,
    out: &mut Vec<W>,
) -> Result<(), Malformed> {
    take::<W>(input, count, |value, length| out.extend(std::iter::repeat_n(value, length)))
}

/// Takes stretches of equal differences and appends the column.
pub(super) fn decode_steps<W: Word>(
    input: &mut Input<'_>,
    count: usize,
    out: &mut Vec<W>,
) -> Result<(), Malformed> {
    let mut value = input.signed()?;
    out.push(W::from_signed(value));
    take::<W>(input, count - 1, |step, length| {
        let step = step.signed();
        out.extend((0..length).map(|_| {
            value = value.wrapping_add(step);
            W::from_signed(value)
        }));
    })
}

/// Takes stretches of `count` numbers in all and hands over each with its length.
fn take<W: Word>(
    input: &mut Input<'_>,
    count: usize,
    mut each: impl FnMut(W, usize),
) -> Result<(), Malformed> {
    let stretches = input.count(count)?;
    let len = input.count(integers::raw_len(stretches))?;
    let (mut values, mut lengths) = (Vec::<W>::new(), Vec::<u64>::new());
    integers::decode_nested(Input::new(input.bytes(len)?), stretches, Nesting::Inner, &mut values)?;
    integers::decode_nested(Input::new(input.rest()), stretches, Nesting::Inner, &mut lengths)?;
    let mut left = count;
    for (value, length) in values.into_iter().zip(lengths) {
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        // A stretch of nothing is not written, and no stretch goes past the column's end.
        left = left.checked_sub(length).filter(|_| length > 0).ok_or(Malformed)?;
        each(value, length);
    }
    if left == 0 { Ok(()) } else { Err(Malformed) }
}

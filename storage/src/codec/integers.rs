//! Integer columns: the codecs for them, and which one a column gets.
//!
//! The size of every cheap codec is known exactly from a [`Survey`]; `pco` is tried on slices of a
//! long column first. The smallest wins, a cheaper one to read when it is about as small.

use super::Effort;
use super::entropy;
use super::frame;
use super::input::{Input, Malformed};
use super::line::Line;
use super::scheme::Codec;
use super::stretches;
use super::survey::Survey;
use super::varint;
use super::word::Word;

/// Whether a column may be made of columns. Those it is made of may not, which bounds recursion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nesting {
    /// A column of a block, or the integers behind its decimals.
    Outer,
    /// A column inside another.
    Inner,
}

/// Stretches must be this long on average before they are written as such.
const STRETCH_MIN: usize = 3;

/// Shorter columns are not worth the microseconds that `pco` takes to set up: at 128 values it
/// doubles the time for 4 % of the bytes.
const PCO_COUNT_MIN: usize = 256;

/// Values that `pco` is tried on, in [`SAMPLE_SLICES`] slices.
const SAMPLE: usize = 1024;
const SAMPLE_SLICES: usize = 4;

/// Values that tell whether a line is worth drawing.
const PROBE: usize = 512;

/// Appends an encoding of `column`.
pub(super) fn encode<W: Word>(column: &[W], effort: Effort, out: &mut Vec<u8>) {
    encode_nested(column, effort, Nesting::Outer, out);
}

/// Appends an encoding of `column` that may hold others only if `nesting` says so.
pub(super) fn encode_nested<W: Word>(
    column: &[W],
    effort: Effort,
    nesting: Nesting,
    out: &mut Vec<u8>,
) {
    let Some(first) = column.first().map(|value| value.signed()) else {
        return out.push(Codec::Raw.byte());
    };
    let survey = Survey::of(column);
    if survey.steps <= 1 {
        return put_line(column, first, out);
    }
    let framed = survey.offsets_len.min(survey.deltas_len).min(raw_len(column.len()));
    match smaller(column, effort, nesting, &survey, framed) {
        Some(encoding) => out.extend_from_slice(&encoding),
        None if framed == survey.offsets_len => put_offsets(column, first, survey.divisor, out),
        None if framed == survey.deltas_len => put_deltas(column, first, survey.divisor, out),
        None => put_raw(column, out),
    }
}

/// The smallest encoding of those that must be written to know their size, if it is below `limit`.
fn smaller<W: Word>(
    column: &[W],
    effort: Effort,
    nesting: Nesting,
    survey: &Survey,
    limit: usize,
) -> Option<Vec<u8>> {
    let mut best: Option<Vec<u8>> = None;
    let mut limit = limit;
    let mut offer = |encoding: Option<Vec<u8>>, limit: &mut usize| {
        if let Some(encoding) = encoding.filter(|encoding| encoding.len() < *limit) {
            *limit = encoding.len();
            best = Some(encoding);
        }
    };
    if nesting == Nesting::Outer {
        if survey.runs * STRETCH_MIN <= column.len() {
            offer(Some(stretches::encode_runs(column, effort)), &mut limit);
        }
        if survey.steps * STRETCH_MIN <= column.len() {
            offer(Some(stretches::encode_steps(column, effort)), &mut limit);
        }
        for line in Line::candidates(column, effort, survey) {
            if line.is_promising(column.get(..PROBE).unwrap_or(column)) {
                offer(Some(line.encode(column, effort)), &mut limit);
            }
        }
    }
    if effort == Effort::Best && column.len() >= PCO_COUNT_MIN {
        offer(encode_pco(column, limit), &mut limit);
    }
    best
}

/// The column as a `pco` chunk, if that is well below `limit` bytes.
fn encode_pco<W: Word>(column: &[W], limit: usize) -> Option<Vec<u8>> {
    pays(column, limit).then_some(())?;
    let mut encoding = vec![Codec::Pco.byte()];
    entropy::compress(column, &mut encoding)?;
    wins(encoding.len(), limit).then_some(encoding)
}

/// Whether a sample says that `pco` may be well below `limit`; short columns are their own sample.
/// A sample looks worse than its column, by its seams and the state at its start: a sixteenth is
/// forgiven.
pub(super) fn pays<T: pco::data_types::Number>(column: &[T], limit: usize) -> bool {
    if column.len() <= 2 * SAMPLE {
        return true;
    }
    let sample = sample(column);
    let lens = entropy::compress(&sample, &mut Vec::new());
    lens.is_some_and(|lens| wins(lens.scaled(sample.len(), column.len()) / 16 * 15, limit))
}

/// `pco` takes three times as long to read as frames, so a thirtieth must be gained by it.
pub(super) fn wins(len: usize, limit: usize) -> bool {
    len + len / 32 < limit
}

/// Evenly spaced slices of a column.
fn sample<T: Copy>(column: &[T]) -> Vec<T> {
    let slice = SAMPLE / SAMPLE_SLICES;
    let stride = (column.len() - slice.min(column.len())) / (SAMPLE_SLICES - 1);
    (0..SAMPLE_SLICES)
        .flat_map(|place| column.iter().skip(place * stride).take(slice).copied())
        .collect()
}

/// Appends a column that is constant or regular: raw when it is so short that two varints are more.
fn put_line<W: Word>(column: &[W], first: i64, out: &mut Vec<u8>) {
    let start = out.len();
    let second = column.get(1).map_or(first, |value| value.signed());
    if first == second {
        out.push(Codec::Constant.byte());
        varint::put_signed(first, out);
    } else {
        out.push(Codec::Regular.byte());
        varint::put_signed(first, out);
        varint::put_signed(second.wrapping_sub(first), out);
    }
    if out.len() - start > raw_len(column.len()) {
        out.truncate(start);
        put_raw(column, out);
    }
}

/// Bytes of a raw column, which no encoding exceeds.
pub(super) fn raw_len(count: usize) -> usize {
    1 + 8 * count
}

fn put_raw<W: Word>(column: &[W], out: &mut Vec<u8>) {
    out.push(Codec::Raw.byte());
    out.extend(column.iter().flat_map(|value| value.signed().to_le_bytes()));
}

fn put_offsets<W: Word>(column: &[W], first: i64, divisor: i64, out: &mut Vec<u8>) {
    out.push(Codec::Offsets.byte());
    varint::put_signed(first, out);
    varint::put_signed(divisor, out);
    let offsets = column.iter().map(|value| value.signed().wrapping_sub(first));
    put_divided(offsets, divisor, out);
}

fn put_deltas<W: Word>(column: &[W], first: i64, divisor: i64, out: &mut Vec<u8>) {
    out.push(Codec::Deltas.byte());
    varint::put_signed(first, out);
    varint::put_signed(divisor, out);
    put_divided(differences(column), divisor, out);
}

fn put_divided(numbers: impl Iterator<Item = i64>, divisor: i64, out: &mut Vec<u8>) {
    if divisor == 1 {
        frame::write(numbers, out);
    } else {
        frame::write(numbers.map(|number| number.wrapping_div(divisor)), out);
    }
}

/// What each value but the first adds to the one before.
pub(super) fn differences<W: Word>(column: &[W]) -> impl Iterator<Item = i64> + '_ {
    let after = column.iter().skip(1);
    column.iter().zip(after).map(|(before, after)| after.signed().wrapping_sub(before.signed()))
}

/// Appends the `count` values of an encoding that is all of `input`.
pub(super) fn decode<W: Word>(
    input: Input<'_>,
    count: usize,
    out: &mut Vec<W>,
) -> Result<(), Malformed> {
    decode_nested(input, count, Nesting::Outer, out)
}

/// Likewise, of an encoding that may hold others only if `nesting` says so.
pub(super) fn decode_nested<W: Word>(
    mut input: Input<'_>,
    count: usize,
    nesting: Nesting,
    out: &mut Vec<W>,
) -> Result<(), Malformed> {
    let codec = Codec::take(&mut input)?;
    if count == 0 && codec != Codec::Raw {
        return Err(Malformed);
    }
    out.reserve(count);
    match codec {
        Codec::Raw => take_raw(&mut input, count, out)?,
        Codec::Constant => {
            let value = W::from_signed(input.signed()?);
            out.extend(std::iter::repeat_n(value, count));
        }
        Codec::Regular => take_regular(&mut input, count, out)?,
        Codec::Offsets => take_offsets(&mut input, count, out)?,
        Codec::Deltas => take_deltas(&mut input, count, out)?,
        Codec::Linear if nesting == Nesting::Outer => Line::decode(&mut input, count, out)?,
        Codec::Runs if nesting == Nesting::Outer => {
            stretches::decode_runs(&mut input, count, out)?;
        }
        Codec::Steps if nesting == Nesting::Outer => {
            stretches::decode_steps(&mut input, count, out)?;
        }
        Codec::Pco => entropy::decompress(input.rest(), count, out)?,
        Codec::Linear
        | Codec::Runs
        | Codec::Steps
        | Codec::Decimal
        | Codec::Xor
        | Codec::NearDecimal => return Err(Malformed),
    }
    input.finish()
}

fn take_raw<W: Word>(
    input: &mut Input<'_>,
    count: usize,
    out: &mut Vec<W>,
) -> Result<(), Malformed> {
    let (words, _) = input.bytes(8 * count)?.as_chunks();
    out.extend(words.iter().map(|word| W::from_signed(i64::from_le_bytes(*word))));
    Ok(())
}

fn take_regular<W: Word>(
    input: &mut Input<'_>,
    count: usize,
    out: &mut Vec<W>,
) -> Result<(), Malformed> {
    let (mut value, step) = (input.signed()?, input.signed()?);
    out.extend((0..count).map(|_| {
        let this = value;
        value = value.wrapping_add(step);
        W::from_signed(this)
    }));
    Ok(())
}

fn take_offsets<W: Word>(
    input: &mut Input<'_>,
    count: usize,
    out: &mut Vec<W>,
) -> Result<(), Malformed> {
    let (first, divisor) = (input.signed()?, input.signed()?);
    frame::read(input, count, |offset| {
        out.push(W::from_signed(first.wrapping_add(offset.wrapping_mul(divisor))));
    })
}

fn take_deltas<W: Word>(
    input: &mut Input<'_>,
    count: usize,
    out: &mut Vec<W>,
) -> Result<(), Malformed> {
    let (mut value, divisor) = (input.signed()?, input.signed()?);
    out.push(W::from_signed(value));
    frame::read(input, count - 1, |delta| {
        value = value.wrapping_add(delta.wrapping_mul(divisor));
        out.push(W::from_signed(value));
    })
}

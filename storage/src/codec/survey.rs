//! What a column of integers looks like: the figures by which its codec is chosen.
//!
//! One pass over the column, and the size of each framed encoding is known to the byte.

use super::frame::{FRAME, Span};
use super::varint;
use super::word::Word;

/// The figures of a column that is not empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Survey {
    /// Stretches of equal values.
    pub(super) runs: usize,
    /// Stretches of equal differences; none in a column of one value.
    pub(super) steps: usize,
    /// What divides every difference; at least one.
    pub(super) divisor: i64,
    /// Bytes of [`Codec::Offsets`](super::scheme::Codec::Offsets).
    pub(super) offsets_len: usize,
    /// Bytes of [`Codec::Deltas`](super::scheme::Codec::Deltas).
    pub(super) deltas_len: usize,
}

impl Survey {
    /// Looks at a column.
    pub(super) fn of<W: Word>(column: &[W]) -> Self {
        let first = column.first().map_or(0, |value| value.signed());
        let (runs, steps) = stretches(column);
        let divisor = divisor(column);
        let head = 1 + varint::signed_len(first) + varint::signed_len(divisor);
        let (offsets_len, deltas_len) = framed_len(column, first, divisor);
        Survey {
            runs,
            steps,
            divisor,
            offsets_len: head + offsets_len,
            deltas_len: head + deltas_len,
        }
    }
}

/// Stretches of equal values, and of equal differences.
fn stretches<W: Word>(column: &[W]) -> (usize, usize) {
    let (mut runs, mut steps) = (usize::from(!column.is_empty()), 0);
    let mut step = None;
    for (before, after) in column.iter().zip(column.iter().skip(1)) {
        let delta = after.signed().wrapping_sub(before.signed());
        runs += usize::from(delta != 0);
        steps += usize::from(step != Some(delta));
        step = Some(delta);
    }
    (runs, steps)
}

/// What divides every difference of neighbours, and so every distance from the first value.
fn divisor<W: Word>(column: &[W]) -> i64 {
    let mut divisor = 0;
    let mut span = Span::EMPTY;
    let mut last = 0;
    let Some(first) = column.first() else { return 1 };
    let mut before = first.signed();
    for value in column {
        let value = value.signed();
        let delta = value.wrapping_sub(before);
        span = span.with(value);
        before = value;
        // Most differences repeat the one before; a division costs more than all the rest here.
        if delta == last {
            continue;
        }
        last = delta;
        if divisor == 0 || !delta.unsigned_abs().is_multiple_of(divisor) {
            divisor = greatest_common_divisor(divisor, delta.unsigned_abs());
            if divisor == 1 {
                return 1;
            }
        }
    }
    // Distances that wrap around are no multiples of what divides the differences.
    match span.max.checked_sub(span.min) {
        Some(_) => i64::try_from(divisor).unwrap_or(1).max(1),
        None => 1,
    }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Bytes of the frames of offsets and of deltas.
fn framed_len<W: Word>(column: &[W], first: i64, divisor: i64) -> (usize, usize) {
    let (mut offsets, mut deltas) = (0, 0);
    let (mut offsets_base, mut deltas_base) = (0, 0);
    for frame in column.chunks(FRAME) {
        let mut span = Span::EMPTY;
        for value in frame {
            span = span.with(value.signed().wrapping_sub(first));
        }
        let span = divided(span, divisor);
        offsets += span.frame_len(frame.len(), offsets_base);
        offsets_base = span.min;
    }
    let mut before = first;
    for frame in column.get(1..).unwrap_or_default().chunks(FRAME) {
        let mut span = Span::EMPTY;
        for value in frame {
            span = span.with(value.signed().wrapping_sub(before));
            before = value.signed();
        }
        let span = divided(span, divisor);
        deltas += span.frame_len(frame.len(), deltas_base);
        deltas_base = span.min;
    }
    (offsets, deltas)
}

fn divided(span: Span, divisor: i64) -> Span {
    if divisor == 1 {
        return span;
    }
    Span { min: span.min.wrapping_div(divisor), max: span.max.wrapping_div(divisor) }
}

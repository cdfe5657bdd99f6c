//! Frames: up to 128 numbers above one base, packed to the width of the widest.
//!
//! ```text
//! signed varint: base, less the base of the frame before │ u8: width │ ⌈n × width / 8⌉ bytes: numbers less base
//! ```
//!
//! Short frames follow the data: one outlier, or one jump between two series, costs its own frame
//! only. Arithmetic wraps, so that every column of 64-bit words fits, whatever its signs.

use super::input::{Input, Malformed};
use super::varint;

/// Numbers in a frame; the last of a column may have fewer.
pub(super) const FRAME: usize = 128;

/// Packed bytes of the widest frame, and as many again as a read past the last number touches.
const PADDED: usize = FRAME * 8 + 16;

/// Bits that hold every number up to `spread`.
pub(super) fn width_of(spread: u64) -> u32 {
    u64::BITS - spread.leading_zeros()
}

/// Bytes of `count` numbers of `width` bits.
pub(super) fn packed_len(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// The least and the greatest of some numbers.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) min: i64,
    pub(super) max: i64,
}

impl Span {
    /// The span of no numbers at all.
    pub(super) const EMPTY: Span = Span { min: i64::MAX, max: i64::MIN };

    /// The span with one number more.
    pub(super) fn with(self, number: i64) -> Self {
        Span { min: self.min.min(number), max: self.max.max(number) }
    }

    /// Bits for a number of this span above its base.
    pub(super) fn width(self) -> u32 {
        width_of(self.max.wrapping_sub(self.min).cast_unsigned())
    }

    /// Bytes of a frame of `count` such numbers, where `base` is that of the frame before.
    pub(super) fn frame_len(self, count: usize, base: i64) -> usize {
        varint::signed_len(self.min.wrapping_sub(base)) + 1 + packed_len(count, self.width())
    }
}

/// Appends frames of the numbers.
pub(super) fn write(numbers: impl Iterator<Item = i64>, out: &mut Vec<u8>) {
    let mut frame = [0; FRAME];
    let mut held = 0;
    let mut base = 0;
    for number in numbers {
        if let Some(place) = frame.get_mut(held) {
            *place = number;
            held += 1;
        }
        if held == FRAME {
            base = write_frame(&frame, base, out);
            held = 0;
        }
    }
    if held > 0 {
        write_frame(frame.get(..held).unwrap_or_default(), base, out);
    }
}

/// Appends one frame and returns its base.
fn write_frame(numbers: &[i64], before: i64, out: &mut Vec<u8>) -> i64 {
    let span = numbers.iter().fold(Span::EMPTY, |span, &number| span.with(number));
    let width = span.width();
    varint::put_signed(span.min.wrapping_sub(before), out);
    out.push(width.to_le_bytes()[0]);
    pack(numbers.iter().map(|number| number.wrapping_sub(span.min).cast_unsigned()), width, out);
    span.min
}

/// Appends numbers below `2^width`, lowest bits first, padded to a byte.
pub(super) fn pack(numbers: impl ExactSizeIterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    out.reserve(packed_len(numbers.len(), width) + 8);
    let mut pending = 0;
    let mut filled = 0;
    for number in numbers {
        pending |= number << filled;
        filled += width;
        if filled >= u64::BITS {
            out.extend_from_slice(&pending.to_le_bytes());
            filled -= u64::BITS;
            // What of `number` did not fit. A shift by 64 would be one by nothing.
            pending = if filled == 0 { 0 } else { number >> (width - filled) };
        }
    }
    let last = pending.to_le_bytes();
    out.extend_from_slice(last.get(..filled.div_ceil(8) as usize).unwrap_or_default());
}

/// Takes `count` numbers of `width` bits and hands each to `each`, in order.
pub(super) fn unpack(
    input: &mut Input<'_>,
    count: usize,
    width: u32,
    mut each: impl FnMut(u64),
) -> Result<(), Malformed> {
    if width > u64::BITS || count > FRAME {
        return Err(Malformed);
    }
    if width == 0 {
        (0..count).for_each(|_| each(0));
        return Ok(());
    }
    let packed = input.bytes(packed_len(count, width))?;
    // A copy with room behind it, so that every number is one read of fixed size.
    let mut padded = [0; PADDED];
    padded.get_mut(..packed.len()).ok_or(Malformed)?.copy_from_slice(packed);
    let mask = u64::MAX >> (u64::BITS - width);
    let width = width as usize;
    if width <= 56 {
        for bit in (0..count).map(|place| place * width) {
            let word = padded.get(bit / 8..).and_then(<[u8]>::first_chunk).ok_or(Malformed)?;
            each((u64::from_le_bytes(*word) >> (bit % 8)) & mask);
        }
    } else {
        for bit in (0..count).map(|place| place * width) {
            let word = padded.get(bit / 8..).and_then(<[u8]>::first_chunk).ok_or(Malformed)?;
            let low = u128::from_le_bytes(*word) >> (bit % 8);
            each(u64::try_from(low & u128::from(mask)).map_err(|_| Malformed)?);
        }
    }
    Ok(())
}

/// Takes frames of `count` numbers and hands each to `each`, in order.
pub(super) fn read(
    input: &mut Input<'_>,
    count: usize,
    mut each: impl FnMut(i64),
) -> Result<(), Malformed> {
    let mut base = 0_i64;
    let mut left = count;
    while left > 0 {
        let held = left.min(FRAME);
        base = base.wrapping_add(input.signed()?);
        let width = u32::from(input.byte()?);
        unpack(input, held, width, |number| each(base.wrapping_add(number.cast_signed())))?;
        left -= held;
    }
    Ok(())
}

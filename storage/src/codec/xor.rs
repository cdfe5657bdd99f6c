//! Floats that are no short decimals, in frames of the bits that differ.
//!
//! ```text
//! 8 bytes: reference │ u8: shift │ u8: width │ ⌈n × width / 8⌉ bytes: (bits xor reference) >> shift
//! ```
//!
//! Neighbours share sign and exponent, and halves or quarters end in zeros: both ends go.

use super::frame::{FRAME, pack, packed_len, unpack, width_of};
use super::input::{Input, Malformed};
use super::scheme::Codec;

/// What the values of a frame have in common.
#[derive(Clone, Copy)]
struct Common {
    reference: u64,
    shift: u32,
    width: u32,
}

impl Common {
    fn of(frame: &[f64]) -> Self {
        let reference = frame.first().map_or(0, |value| value.to_bits());
        let differing =
            frame.iter().fold(0, |differing, value| differing | (value.to_bits() ^ reference));
        // All equal: nothing differs, nothing is shifted.
        let shift = if differing == 0 { 0 } else { differing.trailing_zeros() };
        Common { reference, shift, width: width_of(differing >> shift) }
    }
}

/// Bytes of the encoding of a column.
pub(super) fn encoded_len(column: &[f64]) -> usize {
    let frames = column.chunks(FRAME);
    1 + frames.map(|frame| 10 + packed_len(frame.len(), Common::of(frame).width)).sum::<usize>()
}

/// Appends the encoding of a column.
pub(super) fn encode(column: &[f64], out: &mut Vec<u8>) {
    out.push(Codec::Xor.byte());
    for frame in column.chunks(FRAME) {
        let common = Common::of(frame);
        out.extend_from_slice(&common.reference.to_le_bytes());
        out.push(common.shift.to_le_bytes()[0]);
        out.push(common.width.to_le_bytes()[0]);
        let bits = frame.iter().map(|value| (value.to_bits() ^ common.reference) >> common.shift);
        pack(bits, common.width, out);
    }
}

/// Takes frames and appends the column.
pub(super) fn decode(
    input: &mut Input<'_>,
    count: usize,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let mut left = count;
    while left > 0 {
        let held = left.min(FRAME);
        let reference = input.word()?;
        let (shift, width) = (u32::from(input.byte()?), u32::from(input.byte()?));
        if shift >= u64::BITS || shift + width > u64::BITS {
            return Err(Malformed);
        }
        unpack(input, held, width, |bits| out.push(f64::from_bits((bits << shift) ^ reference)))?;
        left -= held;
    }
    Ok(())
}

//! The first byte of every encoded column: which codec wrote it.

use super::input::{Input, Malformed};

/// A codec, by the byte it is stored as. A byte once given is never given again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Codec {
    /// Every value as eight bytes.
    Raw = 0,
    /// One value for the whole column.
    Constant = 1,
    /// First value and step.
    Regular = 2,
    /// Distances from the first value, in frames.
    Offsets = 3,
    /// Distances between neighbours, in frames.
    Deltas = 4,
    /// Distances from a straight line, as a column of their own.
    Linear = 5,
    /// Stretches of equal values: a column of values, a column of lengths.
    Runs = 6,
    /// Stretches of equal differences: likewise.
    Steps = 7,
    /// A `pco` chunk.
    Pco = 8,
    /// Floats that are short decimals, as a column of integers.
    Decimal = 9,
    /// Floats whose bits differ in a few places only, in frames.
    Xor = 10,
    /// Floats that are nearly short decimals, as columns of integers and of last places.
    NearDecimal = 11,
}

impl Codec {
    /// Every codec, for the test that compares them with the specification.
    #[cfg(test)]
    pub(super) const ALL: [Codec; 12] = [
        Codec::Raw,
        Codec::Constant,
        Codec::Regular,
        Codec::Offsets,
        Codec::Deltas,
        Codec::Linear,
        Codec::Runs,
        Codec::Steps,
        Codec::Pco,
        Codec::Decimal,
        Codec::Xor,
        Codec::NearDecimal,
    ];

    /// The byte this codec is stored as.
    pub(super) const fn byte(self) -> u8 {
        self as u8
    }

    /// The name used by inspection and in the specification.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Codec::Raw => "raw",
            Codec::Constant => "constant",
            Codec::Regular => "regular",
            Codec::Offsets => "offsets",
            Codec::Deltas => "deltas",
            Codec::Linear => "linear",
            Codec::Runs => "runs",
            Codec::Steps => "steps",
            Codec::Pco => "pco",
            Codec::Decimal => "decimal",
            Codec::Xor => "xor",
            Codec::NearDecimal => "near decimal",
        }
    }

    /// The name of decimals whose integers are in this codec.
    pub(super) const fn decimal_name(self) -> &'static str {
        match self {
            Codec::Raw => "decimal raw",
            Codec::Constant => "decimal constant",
            Codec::Regular => "decimal regular",
            Codec::Offsets => "decimal offsets",
            Codec::Deltas => "decimal deltas",
            Codec::Linear => "decimal linear",
            Codec::Runs => "decimal runs",
            Codec::Steps => "decimal steps",
            Codec::Pco => "decimal pco",
            Codec::Decimal | Codec::Xor | Codec::NearDecimal => "decimal",
        }
    }

    /// Takes the codec's byte from the front of an encoding.
    pub(super) fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        match input.byte()? {
            0 => Ok(Codec::Raw),
            1 => Ok(Codec::Constant),
            2 => Ok(Codec::Regular),
            3 => Ok(Codec::Offsets),
            4 => Ok(Codec::Deltas),
            5 => Ok(Codec::Linear),
            6 => Ok(Codec::Runs),
            7 => Ok(Codec::Steps),
            8 => Ok(Codec::Pco),
            9 => Ok(Codec::Decimal),
            10 => Ok(Codec::Xor),
            11 => Ok(Codec::NearDecimal),
            _ => Err(Malformed),
        }
    }
}

//! A 64-bit integer of either sign: what the integer codecs work on.
//!
//! All arithmetic wraps and differences are read as signed, so one set of codecs serves times,
//! identifiers and the integers behind decimals.

use pco::data_types::Number;

/// A 64-bit integer.
pub(super) trait Word: Number {
    /// Its bits, read as a signed number.
    fn signed(self) -> i64;
    /// The integer of these bits.
    fn from_signed(bits: i64) -> Self;
}

impl Word for i64 {
    fn signed(self) -> i64 {
        self
    }

    fn from_signed(bits: i64) -> Self {
        bits
    }
}

impl Word for u64 {
    fn signed(self) -> i64 {
        self.cast_signed()
    }

    fn from_signed(bits: i64) -> Self {
        bits.cast_unsigned()
    }
}

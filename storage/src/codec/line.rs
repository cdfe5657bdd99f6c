//! Columns close to a straight line: times of a collector that is a few milliseconds early or late.
//!
//! The distance from the line does not add up the way that differences of neighbours do: jitter of
//! ±3 takes three bits a value here and four there.

use super::Effort;
use super::input::{Input, Malformed};
use super::integers::{self, Nesting, differences};
use super::scheme::Codec;
use super::survey::Survey;
use super::varint;
use super::word::Word;

/// Differences looked at to find the step.
const STEP_SAMPLE: usize = 31;

/// A straight line through a column's first value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Line {
    first: i64,
    step: i64,
}

impl Line {
    /// The lines worth trying for a column that rises or falls.
    pub(super) fn candidates<W: Word>(
        column: &[W],
        effort: Effort,
        survey: &Survey,
    ) -> impl Iterator<Item = Line> + use<W> {
        // Where offsets are no larger than differences there is no trend to take out.
        let trend = survey.deltas_len < survey.offsets_len;
        let typical = typical_step(column).filter(|_| trend);
        let average = average_step(column)
            .filter(|step| trend && effort == Effort::Best && Some(*step) != typical);
        let first = column.first().map_or(0, |value| value.signed());
        [typical, average].into_iter().flatten().map(move |step| Line { first, step })
    }

    /// Whether the distances of these values take clearly fewer bytes than their differences. Those
    /// of a counter do not: its bases alone get shorter, and `pco` needs no line for that.
    pub(super) fn is_promising<W: Word>(self, values: &[W]) -> bool {
        let survey = Survey::of(&self.residuals(values));
        let residuals = survey.offsets_len.min(survey.deltas_len);
        residuals + residuals / 16 < Survey::of(values).deltas_len
    }

    /// The column's encoding along this line.
    pub(super) fn encode<W: Word>(self, column: &[W], effort: Effort) -> Vec<u8> {
        let mut out = vec![Codec::Linear.byte()];
        varint::put_signed(self.first, &mut out);
        varint::put_signed(self.step, &mut out);
        let residuals = self.residuals(column);
        integers::encode_nested(&residuals, effort, Nesting::Inner, &mut out);
        out
    }

    /// Takes a line and what lies off it, and appends the column.
    pub(super) fn decode<W: Word>(
        input: &mut Input<'_>,
        count: usize,
        out: &mut Vec<W>,
    ) -> Result<(), Malformed> {
        let line = Line { first: input.signed()?, step: input.signed()? };
        let start = out.len();
        integers::decode_nested(Input::new(input.rest()), count, Nesting::Inner, out)?;
        let column = out.get_mut(start..).unwrap_or_default();
        for (value, on_line) in column.iter_mut().zip(line.values()) {
            *value = W::from_signed(value.signed().wrapping_add(on_line));
        }
        Ok(())
    }

    fn residuals<W: Word>(self, column: &[W]) -> Vec<W> {
        let values = column.iter().zip(self.values());
        values.map(|(value, line)| W::from_signed(value.signed().wrapping_sub(line))).collect()
    }

    fn values(self) -> impl Iterator<Item = i64> {
        let Line { first, step } = self;
        std::iter::successors(Some(first), move |value| Some(value.wrapping_add(step)))
    }
}

/// The median of some differences, rounded as far as that changes it by less than a sixty-fourth:
/// collectors are set to 10 s, not to 10 003 ms.
fn typical_step<W: Word>(column: &[W]) -> Option<i64> {
    let stride = (column.len() / STEP_SAMPLE).max(1);
    let mut steps: Vec<i64> = differences(column).step_by(stride).take(STEP_SAMPLE).collect();
    let middle = steps.len() / 2;
    steps.sort_unstable();
    let median = steps.get(middle).copied().filter(|step| *step != 0)?;
    Some(rounded(median))
}

fn rounded(step: i64) -> i64 {
    let slack = step.unsigned_abs() / 64;
    let mut unit = 1_i64;
    let mut best = step;
    while let Some(wider) =
        unit.checked_mul(10).filter(|wider| wider.unsigned_abs() <= step.unsigned_abs())
    {
        unit = wider;
        let near = step.saturating_add(step.signum() * (unit / 2)) / unit * unit;
        if near.abs_diff(step) <= slack {
            best = near;
        }
    }
    best
}

/// The step of the line through both ends.
fn average_step<W: Word>(column: &[W]) -> Option<i64> {
    let steps = i64::try_from(column.len()).ok()?.checked_sub(1).filter(|steps| *steps > 0)?;
    let rise = column.last()?.signed().checked_sub(column.first()?.signed())?;
    let step = rise.checked_add(rise.signum() * (steps / 2))? / steps;
    Some(step).filter(|step| *step != 0)
}

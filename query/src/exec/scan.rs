//! Reads the samples or windows of some groups.
//!
//! Series are read in ascending order whatever groups they belong to, because that is how they lie
//! on disk; many of them are shared out among threads.

use std::num::NonZero;
use std::thread;

use moneta_storage::model::{SeriesId, TimeRange, Timestamp, ValueMeta};
use moneta_storage::view::{Piece, SeriesSamples};

use super::aggregate::{SeriesWindows, WindowPartial, merge_windows};
use super::group::SeriesGroup;
use super::source::{Source, Stop};
use crate::error::Error;
use crate::limits::SampleBudget;
use crate::window::Windows;

/// Up to so many series are read by the calling thread alone.
const SERIES_PER_THREAD_MIN: usize = 64;

/// A sample of a group.
pub(super) type SampleRow = (Timestamp, f64, Option<ValueMeta>);

/// A series to read and the place of its group.
#[derive(Clone, Copy)]
struct Member {
    series: SeriesId,
    group: usize,
}

/// The finite samples of each group in `range`, ascending in time, series of equal times in order
/// of their ids. Of a group with a single series possibly only the first `wanted` and some more.
pub(super) fn samples(
    source: &impl Source,
    groups: &[SeriesGroup],
    range: TimeRange,
    wanted: usize,
    budget: &SampleBudget,
) -> Result<Vec<Vec<SampleRow>>, Error> {
    if range.is_empty() {
        return Ok(groups.iter().map(|_| Vec::new()).collect());
    }
    if let Some(series) = only_series(groups) {
        return Ok(vec![first_samples(source, series, range, wanted, budget)?]);
    }
    let members = members(groups);
    let shares =
        in_parallel(&members, |members| samples_of(source, members, groups.len(), range, budget))?;
    let mut rows: Vec<Vec<SampleRow>> = groups.iter().map(|_| Vec::new()).collect();
    for share in shares {
        for (rows, mut more) in rows.iter_mut().zip(share) {
            rows.append(&mut more);
        }
    }
    for rows in &mut rows {
        rows.sort_by_key(|row| row.0);
    }
    Ok(rows)
}

/// The windows of each group in `range` that hold finite samples, ascending. Of a group with a
/// single series possibly only the first `wanted`, of which the last may be incomplete if `wanted`
/// is reached.
pub(super) fn windows(
    source: &impl Source,
    groups: &[SeriesGroup],
    range: TimeRange,
    windows: Windows,
    wanted: usize,
    budget: &SampleBudget,
) -> Result<Vec<Vec<WindowPartial>>, Error> {
    if range.is_empty() {
        return Ok(groups.iter().map(|_| Vec::new()).collect());
    }
    if let Some(series) = only_series(groups) {
        return Ok(vec![first_windows(source, series, range, windows, wanted, budget)?]);
    }
    let members = members(groups);
    let shares = in_parallel(&members, |members| {
        windows_of(source, members, groups.len(), range, windows, budget)
    })?;
    let mut rows: Vec<Vec<WindowPartial>> = groups.iter().map(|_| Vec::new()).collect();
    for share in shares {
        for (rows, more) in rows.iter_mut().zip(share) {
            merge_windows(rows, more);
        }
    }
    Ok(rows)
}

/// The series of one group of one series.
fn only_series(groups: &[SeriesGroup]) -> Option<SeriesId> {
    let [SeriesGroup { series, .. }] = groups else { return None };
    let [series] = series.as_slice() else { return None };
    Some(*series)
}

/// A page of one series. A reading gives a series whole, so a long one is first looked through for
/// the instant at which the page ends. Most are short enough to need no look.
fn first_samples(
    source: &impl Source,
    series: SeriesId,
    range: TimeRange,
    wanted: usize,
    budget: &SampleBudget,
) -> Result<Vec<SampleRow>, Error> {
    const SURELY_FINE: u64 = 64 * 1024;
    let pages = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_mul(2);
    let at_first = pages.max(SURELY_FINE).min(budget.left());
    let mut rows = Vec::new();
    let mut read = |range: TimeRange, samples_max: u64| {
        rows.clear();
        source.read(&[series], range, samples_max, &mut |_, samples| {
            budget.spend(samples.times.len())?;
            extend_finite(&mut rows, samples);
            Ok(())
        })
    };
    match read(range, at_first) {
        Err(Stop::SamplesExceeded) => {
            let end = end_of_page(source, series, range, wanted, budget)?;
            finished(read(TimeRange::new(range.start, end), budget.left()), budget)?;
        }
        other => finished(other, budget)?,
    }
    Ok(rows)
}

/// The instant after the first `wanted` finite samples of a series.
fn end_of_page(
    source: &impl Source,
    series: SeriesId,
    range: TimeRange,
    wanted: usize,
    budget: &SampleBudget,
) -> Result<Timestamp, Error> {
    let (mut seen, mut end) = (0, range.end);
    let looked = source.fold(&[series], range, None, budget.left(), &mut |_, piece| {
        // Without a window there are no summaries; one would only make the page shorter to find.
        let Piece::Samples(times, values) = piece else { return Ok(()) };
        for (&time, value) in times.iter().zip(values) {
            seen += usize::from(value.is_finite());
            if seen == wanted {
                end = Timestamp::from_millis(time).plus_millis(1);
                return Err(Stop::Enough);
            }
        }
        Ok(())
    });
    finished(looked, budget)?;
    Ok(end)
}

fn first_windows(
    source: &impl Source,
    series: SeriesId,
    range: TimeRange,
    windows: Windows,
    wanted: usize,
    budget: &SampleBudget,
) -> Result<Vec<WindowPartial>, Error> {
    let mut rows = SeriesWindows::new(windows);
    let fold_ms = Some(windows.fold_ms());
    let folded = source.fold(&[series], range, fold_ms, budget.left(), &mut |_, piece| {
        spend(&piece, budget)?;
        rows.add(&piece);
        if rows.len() >= wanted { Err(Stop::Enough) } else { Ok(()) }
    });
    finished(folded, budget)?;
    Ok(rows.into_rows())
}

fn samples_of(
    source: &impl Source,
    members: &[Member],
    groups: usize,
    range: TimeRange,
    budget: &SampleBudget,
) -> Result<Vec<Vec<SampleRow>>, Error> {
    let mut rows: Vec<Vec<SampleRow>> = vec![Vec::new(); groups];
    let mut place = Places::new(members);
    let read = source.read(&ids(members), range, budget.left(), &mut |series, samples| {
        budget.spend(samples.times.len())?;
        if let Some(rows) = rows.get_mut(place.of(series)) {
            extend_finite(rows, samples);
        }
        Ok(())
    });
    finished(read, budget)?;
    Ok(rows)
}

fn windows_of(
    source: &impl Source,
    members: &[Member],
    groups: usize,
    range: TimeRange,
    windows: Windows,
    budget: &SampleBudget,
) -> Result<Vec<Vec<WindowPartial>>, Error> {
    let mut rows: Vec<Vec<WindowPartial>> = vec![Vec::new(); groups];
    let mut place = Places::new(members);
    let mut current: Option<(SeriesId, SeriesWindows)> = None;
    let mut join = |finished: Option<(SeriesId, SeriesWindows)>| {
        let Some((series, windows)) = finished else { return };
        if let Some(rows) = rows.get_mut(place.of(series)) {
            merge_windows(rows, windows.into_rows());
        }
    };
    let fold_ms = Some(windows.fold_ms());
    let folded = source.fold(&ids(members), range, fold_ms, budget.left(), &mut |series, piece| {
        spend(&piece, budget)?;
        if current.as_ref().is_none_or(|(of, _)| *of != series) {
            join(current.replace((series, SeriesWindows::new(windows))));
        }
        if let Some((_, rows)) = &mut current {
            rows.add(&piece);
        }
        Ok(())
    });
    finished(folded, budget)?;
    join(current);
    Ok(rows)
}

fn spend(piece: &Piece<'_>, budget: &SampleBudget) -> Result<(), Error> {
    match piece {
        Piece::Samples(times, _) => budget.spend(times.len()),
        Piece::Summary(_) => Ok(()),
    }
}

/// Turns the end of a reading into an error, if it is one.
fn finished(end: Result<(), Stop>, budget: &SampleBudget) -> Result<(), Error> {
    match end {
        Ok(()) | Err(Stop::Enough) => Ok(()),
        Err(Stop::SamplesExceeded) => Err(budget.exceeded()),
        Err(Stop::Failed(source)) => Err(source),
    }
}

/// Appends the finite samples: the rows are for languages whose texts cannot carry other numbers.
fn extend_finite(rows: &mut Vec<SampleRow>, samples: SeriesSamples) {
    let mut metas = samples.metas.into_iter().peekable();
    for (at, (time, value)) in (0_u32..).zip(samples.times.into_iter().zip(samples.values)) {
        let meta = metas.next_if(|(of, _)| *of == at).map(|(_, meta)| meta);
        if value.is_finite() {
            rows.push((Timestamp::from_millis(time), value, meta));
        }
    }
}

/// All series of some groups, ascending.
fn members(groups: &[SeriesGroup]) -> Vec<Member> {
    let mut members = Vec::with_capacity(groups.iter().map(|group| group.series.len()).sum());
    for (at, group) in groups.iter().enumerate() {
        members.extend(group.series.iter().map(|&series| Member { series, group: at }));
    }
    members.sort_unstable_by_key(|member| member.series);
    members
}

fn ids(members: &[Member]) -> Vec<SeriesId> {
    members.iter().map(|member| member.series).collect()
}

/// Finds the group of each series; the series come in ascending order.
struct Places<'a> {
    members: &'a [Member],
}

impl<'a> Places<'a> {
    fn new(members: &'a [Member]) -> Self {
        Places { members }
    }

    fn of(&mut self, series: SeriesId) -> usize {
        let skip = self.members.partition_point(|member| member.series < series);
        self.members = self.members.get(skip..).unwrap_or_default();
        match self.members.first() {
            Some(member) if member.series == series => member.group,
            Some(_) | None => panic!("series {series} was read but not asked for"),
        }
    }
}

/// Does `work` on all of `members`, shared out among threads if they are many. Results are in the
/// order of the members.
fn in_parallel<T: Send>(
    members: &[Member],
    work: impl Fn(&[Member]) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.min(members.len() / SERIES_PER_THREAD_MIN).max(1);
    if threads == 1 {
        return Ok(vec![work(members)?]);
    }
    let share = members.len().div_ceil(threads);
    thread::scope(|scope| {
        let started: Vec<_> =
            members.chunks(share).map(|members| scope.spawn(|| work(members))).collect();
        let joined = started.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    })
}

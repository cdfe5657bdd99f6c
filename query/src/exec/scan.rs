//! Reads the samples or windows of some groups.
//!
//! Series are read in ascending order whatever groups they belong to, because that is how they lie
//! on disk; many of them are shared out among threads.

use std::collections::BinaryHeap;
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

/// How far a reading goes.
#[derive(Clone, Copy)]
pub(super) struct Reach<'a> {
    pub(super) range: TimeRange,
    /// The page takes no more rows than one less than this: the last shows that more follow.
    pub(super) wanted: usize,
    pub(super) budget: &'a SampleBudget,
}

impl<'a> Reach<'a> {
    fn until(self, end: Timestamp) -> Self {
        Reach { range: TimeRange::new(self.range.start, end), ..self }
    }

    fn from(self, start: Timestamp) -> Self {
        Reach { range: TimeRange::new(start, self.range.end), ..self }
    }

    fn within(self, budget: &'a SampleBudget) -> Self {
        Reach { budget, ..self }
    }
}

/// The finite samples of each group in the range, ascending in time, series of equal times in order
/// of their ids. Once the groups have given `wanted` rows, possibly none beyond those that share the
/// time of the last of them: what is kept in memory does not grow with the span.
pub(super) fn samples(
    source: &impl Source,
    groups: &[SeriesGroup],
    reach: Reach<'_>,
) -> Result<Vec<Vec<SampleRow>>, Error> {
    if reach.range.is_empty() {
        return Ok(groups.iter().map(|_| Vec::new()).collect());
    }
    // A reading gives all of a span, and most groups are short enough for that. Long ones are read
    // one after the other, each no further than the page can reach.
    let members = members(groups);
    let samples_max = first_attempt(reach.wanted).min(reach.budget.left());
    let attempt = SampleBudget::new(samples_max);
    match all_samples(source, &members, groups.len(), reach.within(&attempt)) {
        Err(Stop::SamplesExceeded) => one_by_one(source, groups, reach),
        whole => {
            reach.budget.add(&attempt);
            ended(whole, reach.budget)
        }
    }
}

/// As [`samples`], of groups that are too long to be read whole. Groups that the page cannot reach
/// come out empty.
fn one_by_one(
    source: &impl Source,
    groups: &[SeriesGroup],
    reach: Reach<'_>,
) -> Result<Vec<Vec<SampleRow>>, Error> {
    let (mut all, mut missing) = (Vec::with_capacity(groups.len()), reach.wanted);
    for group in groups {
        if missing == 0 {
            all.push(Vec::new());
            continue;
        }
        let members = members(std::slice::from_ref(group));
        let end = end_of_page(source, &members, Reach { wanted: missing, ..reach })?;
        let read = ended(all_samples(source, &members, 1, reach.until(end)), reach.budget)?;
        let mut rows: Vec<SampleRow> = read.into_iter().flatten().collect();
        // The rows may all be of instants that the page takes: one more shows that more follow.
        rows.extend(any_sample(source, &members, reach.from(end))?);
        missing = missing.saturating_sub(rows.len());
        all.push(rows);
    }
    Ok(all)
}

/// Samples that may be decoded in the hope that they are all there are.
fn first_attempt(wanted: usize) -> u64 {
    /// A few blocks. Next to none in tests, so that they come by what follows a failed attempt.
    const SURELY_FINE: usize = if cfg!(test) { 8 } else { 64 * 1024 };
    u64::try_from(wanted.saturating_mul(2).max(SURELY_FINE)).unwrap_or(u64::MAX)
}

/// Some finite sample of the members, if there is one.
fn any_sample(
    source: &impl Source,
    members: &[Member],
    reach: Reach<'_>,
) -> Result<Option<SampleRow>, Error> {
    let Reach { range, budget, .. } = reach;
    if range.is_empty() {
        return Ok(None);
    }
    let mut found = None;
    let looked = source.fold(&ids(members), range, None, budget.left(), &mut |_, piece| {
        spend(&piece, budget)?;
        let Piece::Samples(times, values) = piece else { return Ok(()) };
        let finite = times.iter().zip(values).find(|(_, value)| value.is_finite());
        let Some((&time, &value)) = finite else { return Ok(()) };
        found = Some((Timestamp::from_millis(time), value, None));
        Err(Stop::Enough)
    });
    ended(looked.or_else(Stop::enough), budget)?;
    Ok(found)
}

fn all_samples(
    source: &impl Source,
    members: &[Member],
    groups: usize,
    reach: Reach<'_>,
) -> Result<Vec<Vec<SampleRow>>, Stop> {
    let shares = in_parallel(members, |members| samples_of(source, members, groups, reach))?;
    let mut rows: Vec<Vec<SampleRow>> = vec![Vec::new(); groups];
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

/// The instant after the first `wanted` finite samples of all members together. What has been seen
/// bounds how far the next series can matter: as many series again as have been seen are looked at
/// together, so that of m equal series only about `wanted` × log m samples are decoded. A series
/// that goes far beyond the bound ends the look, which goes on with the series after it.
fn end_of_page(
    source: &impl Source,
    members: &[Member],
    reach: Reach<'_>,
) -> Result<Timestamp, Error> {
    let Reach { range, wanted, budget } = reach;
    let mut earliest = Earliest::new(wanted);
    let (mut rest, mut seen) = (members, 0);
    while !rest.is_empty() {
        let (these, later) = rest.split_at(rest.len().min(seen.max(1)));
        let range = TimeRange::new(range.start, earliest.end().unwrap_or(range.end));
        let (mut beyond, mut broken_off) = (0, None);
        let looked = source.fold(&ids(these), range, None, budget.left(), &mut |series, piece| {
            spend(&piece, budget)?;
            // Without a window there are no summaries; one would only be samples not counted.
            let Piece::Samples(times, values) = piece else { return Ok(()) };
            beyond += earliest.add(times, values);
            if beyond < wanted {
                return Ok(());
            }
            broken_off = Some(series);
            Err(Stop::Enough)
        });
        ended(looked.or_else(Stop::enough), budget)?;
        let looked_at = match broken_off {
            Some(series) => these.partition_point(|member| member.series <= series),
            None => these.len(),
        };
        seen += looked_at;
        rest = if looked_at == these.len() {
            later
        } else {
            rest.get(looked_at..).unwrap_or_default()
        };
    }
    Ok(earliest.end().unwrap_or(range.end))
}

/// The earliest so many times.
struct Earliest {
    wanted: usize,
    times: BinaryHeap<i64>,
}

impl Earliest {
    fn new(wanted: usize) -> Self {
        Earliest { wanted, times: BinaryHeap::new() }
    }

    /// The instant after the last of them, once there are as many as wanted.
    fn end(&self) -> Option<Timestamp> {
        let last = self.times.peek().filter(|_| self.times.len() >= self.wanted)?;
        Some(Timestamp::from_millis(*last).plus_millis(1))
    }

    /// Takes in samples of one series; gives how many of them are too late.
    fn add(&mut self, times: &[i64], values: &[f64]) -> usize {
        for (at, (&time, value)) in times.iter().zip(values).enumerate() {
            if !value.is_finite() {
                continue;
            }
            if self.times.len() >= self.wanted {
                if self.times.peek().is_none_or(|last| time >= *last) {
                    return times.len() - at;
                }
                self.times.pop();
            }
            self.times.push(time);
        }
        0
    }
}

/// The windows of each group in the range that hold finite samples, ascending: of each group no more
/// than the first `wanted`, of which the last may be incomplete if there are as many.
pub(super) fn windows(
    source: &impl Source,
    groups: &[SeriesGroup],
    windows: Windows,
    reach: Reach<'_>,
) -> Result<Vec<Vec<WindowPartial>>, Error> {
    if reach.range.is_empty() {
        return Ok(groups.iter().map(|_| Vec::new()).collect());
    }
    if let Some(series) = only_series(groups) {
        return Ok(vec![first_windows(source, series, windows, reach)?]);
    }
    let members = members(groups);
    let shares =
        in_parallel(&members, |members| windows_of(source, members, groups.len(), windows, reach));
    let mut rows: Vec<Vec<WindowPartial>> = groups.iter().map(|_| Vec::new()).collect();
    for share in ended(shares, reach.budget)? {
        for (rows, more) in rows.iter_mut().zip(share) {
            merge_windows(rows, more, reach.wanted);
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

fn first_windows(
    source: &impl Source,
    series: SeriesId,
    windows: Windows,
    reach: Reach<'_>,
) -> Result<Vec<WindowPartial>, Error> {
    let Reach { range, wanted, budget } = reach;
    let mut rows = SeriesWindows::new(windows, wanted);
    let fold_ms = Some(windows.fold_ms());
    let folded = source.fold(&[series], range, fold_ms, budget.left(), &mut |_, piece| {
        spend(&piece, budget)?;
        rows.add(&piece);
        if rows.len() >= wanted { Err(Stop::Enough) } else { Ok(()) }
    });
    ended(folded.or_else(Stop::enough), budget)?;
    Ok(rows.into_rows())
}

fn samples_of(
    source: &impl Source,
    members: &[Member],
    groups: usize,
    reach: Reach<'_>,
) -> Result<Vec<Vec<SampleRow>>, Stop> {
    let mut rows: Vec<Vec<SampleRow>> = vec![Vec::new(); groups];
    let mut place = Places::new(members);
    let Reach { range, budget, .. } = reach;
    source.read(&ids(members), range, budget.left(), &mut |series, samples| {
        budget.spend(samples.times.len())?;
        if let Some(rows) = rows.get_mut(place.of(series)) {
            extend_finite(rows, samples);
        }
        Ok(())
    })?;
    Ok(rows)
}

fn windows_of(
    source: &impl Source,
    members: &[Member],
    groups: usize,
    windows: Windows,
    reach: Reach<'_>,
) -> Result<Vec<Vec<WindowPartial>>, Stop> {
    let mut rows: Vec<Vec<WindowPartial>> = vec![Vec::new(); groups];
    let mut place = Places::new(members);
    let Reach { range, wanted, budget } = reach;
    let mut current: Option<(SeriesId, SeriesWindows)> = None;
    let mut join = |finished: Option<(SeriesId, SeriesWindows)>| {
        let Some((series, windows)) = finished else { return };
        if let Some(rows) = rows.get_mut(place.of(series)) {
            merge_windows(rows, windows.into_rows(), wanted);
        }
    };
    let fold_ms = Some(windows.fold_ms());
    source.fold(&ids(members), range, fold_ms, budget.left(), &mut |series, piece| {
        spend(&piece, budget)?;
        if current.as_ref().is_none_or(|(of, _)| *of != series) {
            join(current.replace((series, SeriesWindows::new(windows, wanted))));
        }
        if let Some((_, rows)) = &mut current {
            rows.add(&piece);
        }
        Ok(())
    })?;
    join(current);
    Ok(rows)
}

fn spend(piece: &Piece<'_>, budget: &SampleBudget) -> Result<(), Stop> {
    match piece {
        Piece::Samples(times, _) => Ok(budget.spend(times.len())?),
        Piece::Summary(_) | Piece::Slot(_) => Ok(()),
    }
}

/// Names the limit, if a reading ended at it.
fn ended<T>(end: Result<T, Stop>, budget: &SampleBudget) -> Result<T, Error> {
    end.map_err(|stop| match stop {
        Stop::SamplesExceeded => budget.exceeded(),
        Stop::Failed(source) => source,
        Stop::Enough => unreachable!("only readings that can have enough end so, and they say so"),
    })
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
    work: impl Fn(&[Member]) -> Result<T, Stop> + Sync,
) -> Result<Vec<T>, Stop> {
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

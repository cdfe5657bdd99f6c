//! Samples arriving: finding what they feed, updating windows, judging early.

use moneta_storage::feed::FeedRow;
use moneta_storage::model::{SeriesId, TenantId, Timestamp};

use super::{Engine, Entry, Samples};
use crate::error::Error;
use crate::expression::Function;
use crate::group::fill;
use crate::judge::Depth;
use crate::matching::GroupNo;
use crate::sight::Arrival;
use crate::window::Window;

/// A sample on its way through the engine.
#[derive(Clone, Copy)]
struct Sample {
    series: (TenantId, SeriesId),
    time: i64,
    value: f64,
    /// The value it replaces.
    old: Option<f64>,
}

/// What a sample did to a window.
enum Fed {
    /// Nothing that is judged.
    Quiet,
    /// There is something to judge.
    Judge,
    /// One slot has to be read again.
    Slot,
    /// Everything has to be read again.
    All,
}

impl Engine {
    /// Takes one row of a batch.
    pub(super) fn row(&mut self, samples: &dyn Samples, row: FeedRow) -> Result<(), Error> {
        self.sight.begin(row.sequence);
        let time = row.time.millis();
        if time > self.sight.horizon_ms() {
            if self.is_wanted(samples, (row.tenant, row.series))? {
                self.sight.held.hold(row.tenant, row.series, time);
            }
            return Ok(());
        }
        let arrival = Arrival::Row(row.sequence);
        self.arrive(samples, (row.tenant, row.series), time, row.value, arrival)
    }

    /// Whether a series feeds a definition, or may. What is stored ahead of the clock for one that does
    /// not is found when a definition asks for it.
    fn is_wanted(
        &mut self,
        samples: &dyn Samples,
        series: (TenantId, SeriesId),
    ) -> Result<bool, Error> {
        let Some(tenant) = self.tenants.get(&series.0) else { return Ok(false) };
        let epoch = tenant.epoch;
        match self.series.get(&series) {
            Some(Entry::Unmatched(at)) if *at == epoch => Ok(false),
            Some(Entry::Known(_)) => Ok(true),
            Some(Entry::Unmatched(_)) | None => {
                let wanted = self.qualifies(samples, series)?;
                if !wanted {
                    self.series.insert(series, Entry::Unmatched(epoch));
                }
                Ok(wanted)
            }
        }
    }

    /// Takes a sample that was held back until now, with the value stored by now.
    pub(super) fn released(
        &mut self,
        samples: &dyn Samples,
        series: (TenantId, SeriesId),
        time: i64,
        instant: Timestamp,
    ) -> Result<(), Error> {
        match self.sight.value(samples, series, time)? {
            Some(value) => {
                // It is stored already, so only what was seen before tells whether it is new.
                let arrival = Arrival::Released(instant);
                self.arrive(samples, series, time, value, arrival)
            }
            None => Ok(()),
        }
    }

    fn arrive(
        &mut self,
        samples: &dyn Samples,
        series: (TenantId, SeriesId),
        time: i64,
        value: f64,
        arrival: Arrival,
    ) -> Result<(), Error> {
        let Some(tenant) = self.tenants.get(&series.0) else { return Ok(()) };
        let epoch = tenant.epoch;
        let (newest, matched) = match self.series.get(&series) {
            Some(Entry::Unmatched(at)) if *at == epoch => return Ok(()),
            Some(Entry::Unmatched(_)) | None => (i64::MAX, false),
            Some(Entry::Known(known)) => (known.newest, known.epoch == epoch),
        };
        if !value.is_finite() && newest == i64::MAX {
            return Ok(());
        }
        if time <= newest && newest < i64::MAX && self.is_settled(series, arrival, matched) {
            // Only in a replay: whatever this sample meant is in the records already.
            self.sight.show(series.0, series.1, time, value);
            return Ok(());
        }
        let old = match arrival {
            // A released sample was invisible until now.
            Arrival::Released(_) => None,
            Arrival::Row(_) if time > newest => None,
            Arrival::Row(_) if newest == i64::MAX && !self.qualifies(samples, series)? => {
                self.series.insert(series, Entry::Unmatched(epoch));
                return Ok(());
            }
            Arrival::Row(_) => self.sight.value(samples, series, time)?,
        };
        if let Arrival::Row(_) = arrival {
            self.sight.show(series.0, series.1, time, value);
        }
        let repeated = old.is_some_and(|old| old.to_bits() == value.to_bits());
        if repeated || (old.is_none() && !value.is_finite()) {
            return Ok(());
        }
        self.feed(samples, Sample { series, time, value, old }, arrival)?;
        if !matched && value.is_finite() {
            self.match_series(samples, series, arrival, epoch)?;
            self.remember_newest(series, time);
        }
        Ok(())
    }

    /// Whether every definition that wants the series has seen it, and every group it feeds has this
    /// arrival in its state. `matched`: the first is known to be so.
    fn is_settled(&self, series: (TenantId, SeriesId), arrival: Arrival, matched: bool) -> bool {
        let Some(Entry::Known(known)) = self.series.get(&series) else { return false };
        let covers = |(no, _): &(GroupNo, usize)| {
            self.groups.get(no).is_some_and(|group| group.position.covers(arrival))
        };
        !known.feeds.is_empty()
            && known.feeds.iter().all(covers)
            && (matched || self.is_seen_by_all(series, &known.key))
    }

    /// Raises the newest time of a series.
    pub(super) fn remember_newest(&mut self, series: (TenantId, SeriesId), time: i64) {
        if let Some(Entry::Known(known)) = self.series.get_mut(&series) {
            known.newest = known.newest.max(time);
        }
    }

    /// Gives the sample to every part that its series feeds.
    fn feed(
        &mut self,
        samples: &dyn Samples,
        sample: Sample,
        arrival: Arrival,
    ) -> Result<(), Error> {
        let Some(Entry::Known(known)) = self.series.get_mut(&sample.series) else { return Ok(()) };
        known.newest = known.newest.max(sample.time);
        let feeds = std::mem::take(&mut known.feeds);
        let fed = feeds
            .chunk_by(|(a, _), (b, _)| a == b)
            .try_for_each(|parts| self.feed_group(samples, sample, arrival, parts));
        if let Some(Entry::Known(known)) = self.series.get_mut(&sample.series) {
            known.feeds = feeds;
        }
        fed
    }

    fn feed_group(
        &mut self,
        samples: &dyn Samples,
        sample: Sample,
        arrival: Arrival,
        parts: &[(GroupNo, usize)],
    ) -> Result<(), Error> {
        let mut settle = None;
        for (no, at) in parts {
            let covered = self.groups.get(no).is_none_or(|group| group.position.covers(arrival));
            if !covered && self.feed_part(samples, sample, *no, *at)? {
                settle = self.judge_part(*no, *at, Depth::Early).then_some(*no).or(settle);
            }
        }
        if let Some(no) = settle {
            self.settle(no);
        }
        Ok(())
    }

    /// Updates the window of one part. Returns whether the part is to be judged.
    fn feed_part(
        &mut self,
        samples: &dyn Samples,
        sample: Sample,
        no: GroupNo,
        at: usize,
    ) -> Result<bool, Error> {
        let Some(group) = self.groups.get_mut(&no) else { return Ok(false) };
        let Some(rule) = self.rules.get(&group.rule) else { return Ok(false) };
        let Some(live) = &mut group.live else { return Ok(false) };
        let (Some(part), Some(live)) = (rule.expression.parts.get(at), live.parts.get_mut(at))
        else {
            return Ok(false);
        };
        let window = &mut live.window;
        let fed = match part.function {
            Function::Last => feed_last(window, sample),
            Function::Min | Function::Max | Function::Sum | Function::Count | Function::Avg => {
                feed_slot(window, sample)
            }
        };
        let fits = group.members.iter().filter(|(_, member)| member.fits & (1 << at) != 0);
        match fed {
            Fed::Quiet => Ok(false),
            Fed::Judge => Ok(true),
            Fed::Slot => {
                window.clear_slot(sample.time);
                let span = window.slot_span(sample.time);
                for (id, _) in fits {
                    let series = (group.tenant, *id);
                    self.sight.read(samples, series, span, &mut |t, v| window.add(t, v))?;
                }
                Ok(true)
            }
            Fed::All => {
                let before = window.newest;
                *window = Window::new(part, window.view_end_ms());
                let coefficient = rule.definition.spec.empty_coefficient;
                for (id, _) in fits {
                    fill(window, part, coefficient, (group.tenant, *id), &self.sight, samples)?;
                }
                Ok(part.function != Function::Last || window.newest != before)
            }
        }
    }
}

/// Only the newest sample counts; one that is overwritten may give way to another.
fn feed_last(window: &mut Window, sample: Sample) -> Fed {
    let replaces =
        sample.old.is_some() && window.newest == sample.old.map(|old| (sample.time, old));
    if replaces {
        Fed::All
    } else if sample.value.is_finite() && window.remember(sample.time, sample.value) {
        Fed::Judge
    } else {
        Fed::Quiet
    }
}

fn feed_slot(window: &mut Window, sample: Sample) -> Fed {
    if !sample.value.is_finite() {
        // A sample was taken away: even the time of the newest may be another now.
        Fed::All
    } else if window.is_behind(sample.time) {
        window.remember(sample.time, sample.value);
        Fed::Quiet
    } else if sample.old.is_some() {
        Fed::Slot
    } else {
        window.add(sample.time, sample.value);
        Fed::Judge
    }
}

//! Series appearing: which definitions they qualify for, and what that does to groups and alarms.

use std::collections::BTreeMap;
use std::sync::Arc;

use moneta_storage::model::{Dimensions, SeriesId, SeriesKey, TenantId};
use uuid::Uuid;

use super::{Effect, Engine, Entry, Known, Samples};
use crate::error::Error;
use crate::expression::{Function, Part};
use crate::group::{Group, Live, LivePart, Member, fill};
use crate::matching::{Change, GroupNo};
use crate::sight::{Arrival, Position};
use crate::state;
use crate::window::{Window, next_view_end};

impl Engine {
    /// What identifies a series.
    pub(super) fn key_of(
        &self,
        samples: &dyn Samples,
        series: (TenantId, SeriesId),
    ) -> Result<Option<Arc<SeriesKey>>, Error> {
        match self.series.get(&series) {
            Some(Entry::Known(known)) => Ok(Some(Arc::clone(&known.key))),
            Some(Entry::Unmatched(_)) | None => samples.key(series.0, series.1),
        }
    }

    /// The definitions a series qualifies for.
    fn rules_for(&self, tenant: TenantId, key: &SeriesKey) -> Vec<(Uuid, u64)> {
        let by_metric =
            self.tenants.get(&tenant).and_then(|tenant| tenant.by_metric.get(&key.metric));
        let fits = |id: &Uuid| {
            let fits = self.rules.get(id)?.expression.fits(key);
            (fits != 0).then_some((*id, fits))
        };
        by_metric.into_iter().flatten().filter_map(fits).collect()
    }

    /// Whether every definition that a series qualifies for has seen it.
    pub(super) fn is_seen_by_all(&self, series: (TenantId, SeriesId), key: &SeriesKey) -> bool {
        let seen = |(id, _): (Uuid, u64)| {
            self.rules.get(&id).is_some_and(|rule| rule.matching.has_seen(series.1))
        };
        self.rules_for(series.0, key).into_iter().all(seen)
    }

    /// Whether a series qualifies for any definition.
    pub(super) fn qualifies(
        &self,
        samples: &dyn Samples,
        series: (TenantId, SeriesId),
    ) -> Result<bool, Error> {
        let key = self.key_of(samples, series)?;
        Ok(key.is_some_and(|key| !self.rules_for(series.0, &key).is_empty()))
    }

    /// Makes a series seen by every definition it qualifies for and has not been seen by.
    pub(super) fn match_series(
        &mut self,
        samples: &dyn Samples,
        series: (TenantId, SeriesId),
        arrival: Arrival,
        epoch: u64,
    ) -> Result<(), Error> {
        let Some(key) = self.key_of(samples, series)? else { return Ok(()) };
        let rules = self.rules_for(series.0, &key);
        if rules.is_empty() {
            if !matches!(self.series.get(&series), Some(Entry::Known(_))) {
                self.series.insert(series, Entry::Unmatched(epoch));
            }
            return Ok(());
        }
        let mut complete = true;
        for (id, fits) in rules {
            let Some(rule) = self.rules.get(&id) else { continue };
            if rule.matching.has_seen(series.1) {
                continue;
            }
            if rule.position.covers(arrival) {
                // In a replay: the definition did not count this arrival; a later one may count.
                complete = false;
                continue;
            }
            self.see(samples, id, series, &key, fits)?;
        }
        self.know(series, &key);
        if let Some(Entry::Known(known)) = self.series.get_mut(&series)
            && complete
        {
            known.epoch = epoch;
        }
        Ok(())
    }

    /// Gives an entry to a series that is seen somewhere.
    pub(super) fn know(&mut self, series: (TenantId, SeriesId), key: &Arc<SeriesKey>) {
        if let Some(Entry::Known(_)) = self.series.get(&series) {
            return;
        }
        let known = Known { key: Arc::clone(key), epoch: 0, newest: i64::MIN, feeds: Vec::new() };
        self.series.insert(series, Entry::Known(Box::new(known)));
    }

    /// Makes a series seen by one definition.
    pub(super) fn see(
        &mut self,
        samples: &dyn Samples,
        rule: Uuid,
        series: (TenantId, SeriesId),
        key: &Arc<SeriesKey>,
        fits: u64,
    ) -> Result<(), Error> {
        let Some(found) = self.rules.get_mut(&rule) else { return Ok(()) };
        let match_key = found.matching.key(key);
        let changes = found.matching.see(series.1, match_key.clone(), fits, &mut self.last_ordinal);
        self.know(series, key);
        for change in changes {
            match change {
                Change::Formed(no) => self.form(no, rule, series.0, match_key.clone()),
                Change::Rekeyed(no, key) => {
                    if let Some(group) = self.groups.get_mut(&no) {
                        group.key = key;
                        let (tenant, group) = (group.tenant, group.id);
                        self.effects.push(Effect::Changed { tenant, group });
                    }
                }
                Change::Removed(no) => self.drop_group(no),
                Change::Joined(no, members) => self.join(samples, no, &members)?,
                Change::Completed(no, age) => self.complete(samples, no, age)?,
            }
        }
        Ok(())
    }

    fn form(&mut self, no: GroupNo, rule: Uuid, tenant: TenantId, key: Dimensions) {
        let id = (self.new_id)();
        self.by_id.insert(id, no);
        self.effects.push(Effect::Changed { tenant, group: id });
        self.groups.insert(
            no,
            Group {
                id,
                tenant,
                rule,
                key,
                ordinal: no.0,
                members: BTreeMap::new(),
                live: None,
                position: Position::START,
            },
        );
    }

    /// Removes a group with its timers and feeds.
    pub(super) fn drop_group(&mut self, no: GroupNo) {
        let Some(group) = self.groups.remove(&no) else { return };
        self.by_id.remove(&group.id);
        self.dirty.remove(&no);
        for (at, part) in group.live.iter().flat_map(|live| live.parts.iter().enumerate()) {
            let due = part.window.view_end_ms().saturating_add(self.delay_ms);
            self.timers.remove(&(due, no, at));
        }
        for id in group.members.keys() {
            if let Some(Entry::Known(known)) = self.series.get_mut(&(group.tenant, *id)) {
                known.feeds.retain(|(fed, _)| *fed != no);
            }
        }
        self.effects.push(Effect::Removed {
            tenant: group.tenant,
            group: group.id,
            series: group.members.into_keys().collect(),
        });
    }

    /// Takes series into a group; if it is an alarm, their stored data come into its windows and all
    /// its parts are judged.
    fn join(
        &mut self,
        samples: &dyn Samples,
        no: GroupNo,
        members: &[SeriesId],
    ) -> Result<(), Error> {
        let mut newest_changed = 0;
        for id in members {
            newest_changed |= self.join_one(samples, no, *id)?;
        }
        let live = self.groups.get(&no).is_some_and(|group| group.live.is_some());
        if live && self.judge_early(no, newest_changed) {
            self.settle(no);
        }
        Ok(())
    }

    /// Returns the parts of function `last` whose newest sample changed, as bits.
    fn join_one(&mut self, samples: &dyn Samples, no: GroupNo, id: SeriesId) -> Result<u64, Error> {
        let Some(group) = self.groups.get_mut(&no) else { return Ok(0) };
        let Some(rule) = self.rules.get(&group.rule) else { return Ok(0) };
        let series = (group.tenant, id);
        let Some(Entry::Known(known)) = self.series.get_mut(&series) else { return Ok(0) };
        let fits = rule.expression.fits(&known.key);
        group.members.insert(id, Member { key: Arc::clone(&known.key), fits });
        self.effects.push(Effect::Attached {
            tenant: group.tenant,
            group: group.id,
            series: id,
            at: self.sight.position.instant,
        });
        let Some(live) = &mut group.live else { return Ok(0) };
        let mut newest_changed = 0;
        let parts = rule.expression.parts.iter().zip(&mut live.parts).enumerate();
        for (at, (part, live)) in parts.filter(|(at, _)| fits & (1 << at) != 0) {
            known.feeds.push((no, at));
            let before = live.window.newest;
            let coefficient = rule.definition.spec.empty_coefficient;
            let newest = fill(&mut live.window, part, coefficient, series, &self.sight, samples)?;
            known.newest = known.newest.max(newest.unwrap_or(i64::MIN));
            if before != live.window.newest {
                newest_changed |= 1 << at;
            }
        }
        known.feeds.sort_unstable();
        Ok(newest_changed)
    }

    /// Makes an alarm of a group that has a series for every part. There is no transition for this;
    /// then all parts are judged at the same instant.
    fn complete(&mut self, samples: &dyn Samples, no: GroupNo, age: u64) -> Result<(), Error> {
        let now = self.sight.position.instant;
        let Some(group) = self.groups.get_mut(&no) else { return Ok(()) };
        let Some(rule) = self.rules.get(&group.rule) else { return Ok(()) };
        let fresh = |part: &Part| LivePart {
            window: Window::new(part, next_view_end(now.millis(), self.delay_ms, part.period_ms())),
            state: state::initial(part.deterministic),
            values: Vec::new(),
        };
        let parts: Vec<LivePart> = rule.expression.parts.iter().map(fresh).collect();
        let states: Vec<_> = parts.iter().map(|part| part.state).collect();
        let logic = rule.definition.spec.undetermined_logic;
        group.live = Some(Live {
            ordinal: age,
            parts,
            state: state::combine(&rule.expression, logic, &states),
            created: now,
            updated: now,
            state_updated: now,
            link: None,
            lifecycle_state: None,
        });
        self.dirty.insert(no);
        self.effects.push(Effect::Changed { tenant: group.tenant, group: group.id });
        let newest_changed = self.rebuild(samples, no)?;
        if self.judge_early(no, newest_changed) {
            self.settle(no);
        }
        Ok(())
    }

    /// Fills all windows of an alarm from the stored data, and sets its feeds and timers. The windows
    /// are empty and have their view ends. Returns the parts that have any data, as bits.
    pub(super) fn rebuild(&mut self, samples: &dyn Samples, no: GroupNo) -> Result<u64, Error> {
        let Some(group) = self.groups.get_mut(&no) else { return Ok(0) };
        let Some(rule) = self.rules.get(&group.rule) else { return Ok(0) };
        let Some(live) = &mut group.live else { return Ok(0) };
        let mut filled = 0;
        for (id, member) in &group.members {
            let series = (group.tenant, *id);
            let Some(Entry::Known(known)) = self.series.get_mut(&series) else { continue };
            known.feeds.retain(|(fed, _)| *fed != no);
            let parts = rule.expression.parts.iter().zip(&mut live.parts).enumerate();
            for (at, (part, live)) in parts.filter(|(at, _)| member.fits & (1 << at) != 0) {
                known.feeds.push((no, at));
                let coefficient = rule.definition.spec.empty_coefficient;
                let newest =
                    fill(&mut live.window, part, coefficient, series, &self.sight, samples)?;
                known.newest = known.newest.max(newest.unwrap_or(i64::MIN));
                if live.window.newest.is_some() {
                    filled |= 1 << at;
                }
            }
            known.feeds.sort_unstable();
        }
        for (at, (part, live)) in rule.expression.parts.iter().zip(&live.parts).enumerate() {
            if part.function != Function::Last {
                let due = live.window.view_end_ms().saturating_add(self.delay_ms);
                self.timers.insert((due, no, at));
            }
        }
        Ok(filled)
    }
}

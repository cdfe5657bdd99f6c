//! What users ask for. Time has been advanced to the command's instant before.

use moneta_storage::model::{Dimensions, SeriesId, TenantId, TimeRange, Timestamp};
use uuid::Uuid;

use super::{Effect, Engine, Entry, Samples};
use crate::error::Error;
use crate::expression::{Expression, Part};
use crate::group::LivePart;
use crate::judge::Depth;
use crate::matching::{GroupNo, Matching};
use crate::model::{Alarm, AlarmPatch, Definition};
use crate::rule::{Rule, pair};
use crate::sight::Position;
use crate::state;
use crate::window::{Window, next_view_end};

impl Engine {
    /// Takes a new definition, whose id is `id`. Series that qualify are seen with their next
    /// arrival.
    ///
    /// # Errors
    /// `Store` if stored samples cannot be read; the engine must not be used any more then.
    pub fn define(
        &mut self,
        samples: &dyn Samples,
        tenant: TenantId,
        id: Uuid,
        definition: Definition,
        expression: Expression,
    ) -> Result<(), Error> {
        for part in &expression.parts {
            self.hold_stored(samples, tenant, part)?;
        }
        let position = self.position();
        self.restore_definition(tenant, id, definition, expression, position);
        Ok(())
    }

    /// Holds back what is stored ahead of the clock for a part: as long as nothing asked for these
    /// series, nobody took note of it.
    pub(super) fn hold_stored(
        &mut self,
        samples: &dyn Samples,
        tenant: TenantId,
        part: &Part,
    ) -> Result<(), Error> {
        let ahead = Timestamp::from_millis(self.sight.horizon_ms()).plus_millis(1);
        let range = TimeRange::new(ahead, Timestamp::MAX);
        let upto = self.position().sequence;
        for series in samples.select(tenant, &part.metric, &part.dimensions)? {
            let held = &mut self.sight.held;
            samples.read(tenant, series, range, upto, &mut |time, _| {
                held.hold(tenant, series, time);
            })?;
        }
        Ok(())
    }

    /// Takes a stored definition; arrivals up to `position` have been counted.
    pub fn restore_definition(
        &mut self,
        tenant: TenantId,
        id: Uuid,
        definition: Definition,
        expression: Expression,
        position: Position,
    ) {
        let known = self.tenants.entry(tenant).or_default();
        known.epoch += 1;
        known.rules.insert(id);
        for part in &expression.parts {
            let ids = known.by_metric.entry(part.metric.clone()).or_default();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let matching = Matching::new(&definition.spec.match_by, expression.all_parts());
        self.rules.insert(id, Rule { tenant, definition, expression, matching, position });
    }

    /// The definition, if the tenant has it.
    #[must_use]
    pub fn definition(&self, tenant: TenantId, id: Uuid) -> Option<&Definition> {
        let rule = self.rules.get(&id).filter(|rule| rule.tenant == tenant)?;
        Some(&rule.definition)
    }

    /// Up to where arrivals have been counted for a definition.
    #[must_use]
    pub fn definition_position(&self, id: Uuid) -> Option<Position> {
        self.rules.get(&id).map(|rule| rule.position)
    }

    /// All definitions of a tenant, ascending by id.
    pub fn definitions(&self, tenant: TenantId) -> impl Iterator<Item = &Definition> {
        let ids = self.tenants.get(&tenant).into_iter().flat_map(|tenant| &tenant.rules);
        ids.filter_map(|id| self.rules.get(id)).map(|rule| &rule.definition)
    }

    /// Replaces a definition by one with the same metrics: pairs old and new parts, takes their
    /// windows anew from the stored samples, and judges what changed.
    ///
    /// # Errors
    /// `Store` if stored samples cannot be read; the engine must not be used any more then.
    pub fn update(
        &mut self,
        samples: &dyn Samples,
        id: Uuid,
        definition: Definition,
        expression: Expression,
    ) -> Result<(), Error> {
        let Some(rule) = self.rules.get_mut(&id) else { return Ok(()) };
        let (old, new) = (&rule.definition.spec, &definition.spec);
        let structure_changed = rule.expression != expression;
        let judged = structure_changed || old.undetermined_logic != new.undetermined_logic;
        let windows_changed = structure_changed || old.empty_coefficient != new.empty_coefficient;
        let pairs = pair(&rule.expression.parts, &expression.parts);
        let changed: Vec<usize> = (0..expression.parts.len())
            .filter(|at| {
                let before = pairs.get(*at).copied().flatten();
                before.and_then(|before| rule.expression.parts.get(before))
                    != expression.parts.get(*at)
            })
            .collect();
        rule.definition = definition;
        rule.expression = expression;
        let groups: Vec<GroupNo> = rule.matching.groups().map(|(_, group)| group.no).collect();
        if windows_changed {
            self.refit(id);
        }
        for no in groups {
            if windows_changed {
                self.replace_parts(no, &pairs);
                self.rebuild(samples, no)?;
            }
            for at in &changed {
                self.judge_part(no, *at, Depth::Early);
            }
            if judged {
                self.settle(no);
            }
            if let Some(group) = self.groups.get(&no) {
                self.effects.push(Effect::Changed { tenant: group.tenant, group: group.id });
            }
        }
        Ok(())
    }

    /// Removes a notification method from the actions of all definitions of a tenant. Returns those
    /// that had it.
    pub fn forget_action(&mut self, tenant: TenantId, method: &str) -> Vec<Uuid> {
        let mut changed = Vec::new();
        let ids = self.tenants.get(&tenant).into_iter().flat_map(|tenant| &tenant.rules);
        for id in ids {
            let Some(rule) = self.rules.get_mut(id) else { continue };
            let spec = &mut rule.definition.spec;
            let mut had = false;
            for list in
                [&mut spec.alarm_actions, &mut spec.ok_actions, &mut spec.undetermined_actions]
            {
                let before = list.len();
                list.retain(|action| action != method);
                had |= list.len() < before;
            }
            if had {
                changed.push(*id);
            }
        }
        changed
    }

    /// Finds out again which parts each series of a definition fits.
    fn refit(&mut self, id: Uuid) {
        let Some(rule) = self.rules.get_mut(&id) else { return };
        let Rule { tenant, expression, matching, .. } = rule;
        matching.refit(|series| match self.series.get(&(*tenant, series)) {
            Some(Entry::Known(known)) => expression.fits(&known.key),
            Some(Entry::Unmatched(_)) | None => 0,
        });
        for (_, group) in matching.groups() {
            for member in self
                .groups
                .get_mut(&group.no)
                .into_iter()
                .flat_map(|group| group.members.values_mut())
            {
                member.fits = expression.fits(&member.key);
            }
        }
    }

    /// Puts the states of an alarm's parts into the order of the new parts, with empty windows.
    fn replace_parts(&mut self, no: GroupNo, pairs: &[Option<usize>]) {
        let now = self.sight.now_ms();
        let Some(group) = self.groups.get_mut(&no) else { return };
        let Some(rule) = self.rules.get(&group.rule) else { return };
        let Some(live) = &mut group.live else { return };
        for (at, part) in live.parts.iter().enumerate() {
            let due = part.window.view_end_ms().saturating_add(self.delay_ms);
            self.timers.remove(&(due, no, at));
        }
        let replace = |(part, before): (&Part, &Option<usize>)| {
            let before = before.and_then(|before| live.parts.get(before));
            LivePart {
                window: Window::new(part, next_view_end(now, self.delay_ms, part.period_ms())),
                state: before.map_or(state::initial(part.deterministic), |part| part.state),
                values: before.map(|part| part.values.clone()).unwrap_or_default(),
            }
        };
        live.parts = rule.expression.parts.iter().zip(pairs).map(replace).collect();
        self.dirty.insert(no);
    }

    /// Deletes a definition with all its groups, without transitions.
    pub fn delete_definition(&mut self, id: Uuid) {
        let Some(rule) = self.rules.get(&id) else { return };
        let groups: Vec<GroupNo> = rule.matching.groups().map(|(_, group)| group.no).collect();
        for no in groups {
            self.drop_group(no);
        }
        let Some(rule) = self.rules.remove(&id) else { return };
        if let Some(tenant) = self.tenants.get_mut(&rule.tenant) {
            tenant.rules.remove(&id);
            tenant.by_metric.retain(|_, ids| {
                ids.retain(|other| *other != id);
                !ids.is_empty()
            });
        }
    }

    /// The alarm, if the tenant has it.
    #[must_use]
    pub fn alarm(&self, tenant: TenantId, id: Uuid) -> Option<Alarm> {
        let group = self.groups.get(self.by_id.get(&id)?).filter(|group| group.tenant == tenant)?;
        group.alarm(self.rules.get(&group.rule)?)
    }

    /// All alarms of a tenant, ascending by id.
    #[must_use]
    pub fn alarms(&self, tenant: TenantId) -> Vec<Alarm> {
        let ids = self.tenants.get(&tenant).into_iter().flat_map(|tenant| &tenant.rules);
        let rules = ids.filter_map(|id| self.rules.get(id));
        let mut alarms: Vec<Alarm> = rules
            .flat_map(|rule| rule.matching.groups().map(move |(_, group)| (rule, group.no)))
            .filter_map(|(rule, no)| self.groups.get(&no)?.alarm(rule))
            .collect();
        alarms.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        alarms
    }

    /// Changes an alarm as a user asks. A state set so holds until the alarm is judged next.
    pub fn update_alarm(&mut self, id: Uuid, patch: &AlarmPatch) {
        let Some(no) = self.by_id.get(&id).copied() else { return };
        let now = self.sight.position.instant;
        let Some(group) = self.groups.get_mut(&no) else { return };
        let Some(live) = &mut group.live else { return };
        live.updated = now;
        if let Some(link) = &patch.link {
            live.link.clone_from(link);
        }
        if let Some(lifecycle_state) = &patch.lifecycle_state {
            live.lifecycle_state.clone_from(lifecycle_state);
        }
        self.dirty.insert(no);
        self.effects.push(Effect::Changed { tenant: group.tenant, group: id });
        if let Some(state) = patch.state {
            self.set_state(no, state);
        }
    }

    /// Deletes an alarm. Those of its series that are in no other group are no longer seen: their
    /// next arrival starts again. Returns the definition, whose position changed.
    pub fn delete_alarm(&mut self, id: Uuid) -> Option<Uuid> {
        let no = self.by_id.get(&id).copied()?;
        let group = self.groups.get(&no)?;
        let (tenant, rule_id, key): (TenantId, Uuid, Dimensions) =
            (group.tenant, group.rule, group.key.clone());
        self.drop_group(no);
        let position = self.position();
        let rule = self.rules.get_mut(&rule_id)?;
        rule.position = position;
        for series in rule.matching.delete(&key) {
            if let Some(Entry::Known(known)) = self.series.get_mut(&(tenant, series)) {
                known.epoch = 0;
            }
        }
        Some(rule_id)
    }

    /// Makes series seen by a definition without any arrival. Support for tests.
    ///
    /// # Errors
    /// `Store` if stored samples cannot be read; the engine must not be used any more then.
    #[doc(hidden)]
    pub fn make_seen(
        &mut self,
        samples: &dyn Samples,
        id: Uuid,
        series: &[SeriesId],
    ) -> Result<(), Error> {
        for series in series {
            let Some(rule) = self.rules.get(&id) else { return Ok(()) };
            let place = (rule.tenant, *series);
            let Some(key) = self.key_of(samples, place)? else { continue };
            let fits = rule.expression.fits(&key);
            if fits != 0 && !rule.matching.has_seen(*series) {
                self.see(samples, id, place, &key, fits)?;
            }
        }
        Ok(())
    }
}

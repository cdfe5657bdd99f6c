//! Judging: parts first, then their alarm once.

use super::{Effect, Engine};
use crate::expression::Function;
use crate::group::Group;
use crate::judge::{self, Depth};
use crate::matching::GroupNo;
use crate::model::{PartState, State};
use crate::rule::Rule;
use crate::{reason, state};

impl Engine {
    /// Judges one part. Returns whether there was a result.
    pub(super) fn judge_part(&mut self, no: GroupNo, at: usize, depth: Depth) -> bool {
        let Some(group) = self.groups.get_mut(&no) else { return false };
        let Some(rule) = self.rules.get(&group.rule) else { return false };
        let Some(live) = &mut group.live else { return false };
        let (Some(part), Some(live)) = (rule.expression.parts.get(at), live.parts.get_mut(at))
        else {
            return false;
        };
        let coefficient = rule.definition.spec.empty_coefficient;
        let Some((state, values)) = judge::judge(part, coefficient, &live.window, depth) else {
            return false;
        };
        if live.state != state || live.values != values {
            (live.state, live.values) = (state, values);
            self.dirty.insert(no);
        }
        true
    }

    /// Judges all parts early, those of function `last` only if `newest_changed` says so. Returns
    /// whether there was a result.
    pub(super) fn judge_early(&mut self, no: GroupNo, newest_changed: u64) -> bool {
        let Some(group) = self.groups.get(&no) else { return false };
        let Some(rule) = self.rules.get(&group.rule) else { return false };
        let parts = rule.expression.parts.iter().enumerate();
        let counts: Vec<usize> = parts
            .filter(|(at, part)| part.function != Function::Last || newest_changed & (1 << at) != 0)
            .map(|(at, _)| at)
            .collect();
        let mut decided = false;
        for at in counts {
            decided |= self.judge_part(no, at, Depth::Early);
        }
        decided
    }

    /// Judges the alarm from the states of its parts.
    pub(super) fn settle(&mut self, no: GroupNo) {
        let Some(group) = self.groups.get_mut(&no) else { return };
        let Some(rule) = self.rules.get(&group.rule) else { return };
        let Some(live) = &mut group.live else { return };
        let logic = rule.definition.spec.undetermined_logic;
        let new = state::combine(&rule.expression, logic, &live.states());
        if new == live.state {
            return;
        }
        let now = self.sight.position.instant;
        let old = std::mem::replace(&mut live.state, new);
        (live.updated, live.state_updated) = (now, now);
        let parts: Vec<PartState> = rule
            .expression
            .parts
            .iter()
            .zip(&live.parts)
            .map(|(part, live)| PartState {
                expression: part.shown(),
                state: live.state,
                values: live.values.clone(),
            })
            .collect();
        let judged: Vec<(State, &[f64])> =
            parts.iter().map(|part| (part.state, part.values.as_slice())).collect();
        let reason = reason::text(&rule.expression, new, &judged);
        self.dirty.insert(no);
        self.effects.extend(announce(rule, group, old, reason, parts));
    }

    /// Sets the state as a user asks.
    pub(super) fn set_state(&mut self, no: GroupNo, new: State) {
        let Some(group) = self.groups.get_mut(&no) else { return };
        let Some(rule) = self.rules.get(&group.rule) else { return };
        let Some(live) = &mut group.live else { return };
        if new == live.state {
            return;
        }
        let old = std::mem::replace(&mut live.state, new);
        live.state_updated = self.sight.position.instant;
        self.dirty.insert(no);
        self.effects.extend(announce(rule, group, old, reason::BY_API.to_owned(), Vec::new()));
    }
}

fn announce(
    rule: &Rule,
    group: &Group,
    old: State,
    reason: String,
    parts: Vec<PartState>,
) -> Option<Effect> {
    let live = group.live.as_ref()?;
    let spec = &rule.definition.spec;
    let actions = match live.state {
        State::Alarm => &spec.alarm_actions,
        State::Ok => &spec.ok_actions,
        State::Undetermined => &spec.undetermined_actions,
    };
    Some(Effect::Transition {
        tenant: group.tenant,
        alarm: group.id,
        transition: Box::new(group.transition(rule, live, old, reason, parts)),
        actions: if spec.actions_enabled { actions.clone() } else { Vec::new() },
    })
}

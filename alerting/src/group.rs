//! A group of series inside the engine: a candidate, or an alarm with its evaluation state.

use std::collections::BTreeMap;
use std::sync::Arc;

use moneta_storage::model::{Dimensions, SeriesId, SeriesKey, TenantId, Timestamp};
use uuid::Uuid;

use crate::error::Error;
use crate::expression::{Function, Part};
use crate::model::{Alarm, AlarmedMetric, PartState, State, Transition};
use crate::rule::Rule;
use crate::samples::Samples;
use crate::sight::{Position, Sight};
use crate::window::Window;

/// A series in a group.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) key: Arc<SeriesKey>,
    /// The parts it fits, as bits.
    pub(crate) fits: u64,
}

/// A candidate or an alarm.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: Uuid,
    pub(crate) tenant: TenantId,
    pub(crate) rule: Uuid,
    pub(crate) key: Dimensions,
    pub(crate) ordinal: u64,
    pub(crate) members: BTreeMap<SeriesId, Member>,
    pub(crate) live: Option<Live>,
    /// Arrivals up to here are in the loaded state already.
    pub(crate) position: Position,
}

/// What a group has once it is an alarm.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) ordinal: u64,
    pub(crate) parts: Vec<LivePart>,
    pub(crate) state: State,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) state_updated: Timestamp,
    pub(crate) link: Option<String>,
    pub(crate) lifecycle_state: Option<String>,
}

/// A part of an alarm.
#[derive(Debug)]
pub(crate) struct LivePart {
    pub(crate) window: Window,
    pub(crate) state: State,
    /// Of the latest judgement.
    pub(crate) values: Vec<f64>,
}

impl Live {
    pub(crate) fn states(&self) -> Vec<State> {
        self.parts.iter().map(|part| part.state).collect()
    }
}

impl Group {
    /// The attached series, ascending.
    pub(crate) fn metrics(&self) -> Vec<AlarmedMetric> {
        let metric = |member: &Member| AlarmedMetric {
            name: member.key.metric.clone(),
            dimensions: member
                .key
                .dimensions
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        };
        let mut metrics: Vec<AlarmedMetric> = self.members.values().map(metric).collect();
        metrics.sort_unstable();
        metrics
    }

    /// The alarm as the layers above see it; `None` for a candidate.
    pub(crate) fn alarm(&self, rule: &Rule) -> Option<Alarm> {
        let live = self.live.as_ref()?;
        Some(Alarm {
            id: self.id.to_string(),
            definition_id: self.rule.to_string(),
            definition_name: rule.definition.spec.name.clone(),
            severity: rule.definition.spec.severity,
            key: self.key.clone(),
            metrics: self.metrics(),
            state: live.state,
            parts: live.states(),
            lifecycle_state: live.lifecycle_state.clone(),
            link: live.link.clone(),
            state_updated: live.state_updated,
            updated: live.updated,
            created: live.created,
        })
    }

    /// The message about a change from `old` to the present state. Its id is given when it is stored.
    pub(crate) fn transition(
        &self,
        rule: &Rule,
        live: &Live,
        old: State,
        reason: String,
        parts: Vec<PartState>,
    ) -> Transition {
        let spec = &rule.definition.spec;
        Transition {
            id: String::new(),
            alarm_id: self.id.to_string(),
            definition_id: self.rule.to_string(),
            alarm_name: spec.name.clone(),
            alarm_description: spec.description.clone(),
            metrics: self.metrics(),
            old_state: old,
            new_state: live.state,
            reason,
            parts,
            severity: spec.severity,
            actions_enabled: spec.actions_enabled,
            link: live.link.clone(),
            lifecycle_state: live.lifecycle_state.clone(),
            time: live.state_updated.millis(),
        }
    }
}

/// Fills the window of a part with the stored data of one series. Returns the newest time found
/// in the window, if any.
pub(crate) fn fill(
    window: &mut Window,
    part: &Part,
    coefficient: u32,
    series: (TenantId, SeriesId),
    sight: &Sight,
    samples: &dyn Samples,
) -> Result<Option<i64>, Error> {
    if part.function == Function::Last {
        let newest = sight.newest(samples, series, (i64::MIN, i64::MAX))?;
        if let Some((time, value)) = newest {
            window.remember(time, value);
        }
        return Ok(newest.map(|(time, _)| time));
    }
    let start = window.start_ms();
    let mut newest = None;
    sight.read(samples, series, (start, i64::MAX), &mut |time, value| {
        newest = newest.max(Some(time));
        window.add(time, value);
    })?;
    if window.newest.is_none_or(|(time, _)| time < start) {
        // Nothing in the window: what lies before it still tells how long the part has been silent.
        let patience = window.view_end_ms().saturating_sub(window.patience_ms(coefficient));
        if let Some((time, value)) = sight.newest(samples, series, (patience, start))? {
            window.remember(time, value);
        }
    }
    Ok(newest)
}

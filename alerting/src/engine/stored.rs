//! The engine's state as it is stored, and taking it back after a restart.
//!
//! Windows are not stored: they follow from the stored samples as of the group's own place in the log,
//! and the ends of views from its instant.

use std::collections::BTreeMap;
use std::sync::Arc;

use moneta_storage::model::{Dimensions, Sequence, SeriesId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Engine, Entry, Held, Position, Samples};
use crate::error::Error;
use crate::expression::Part;
use crate::group::{Group, Live, LivePart, Member};
use crate::matching::{self, GroupNo};
use crate::model::State;
use crate::window::{Window, next_view_end};

/// How far back a restart looks for the newest sample of a series at once.
pub(crate) const LOOK_BACK_MS: i64 = 2 * 3_600_000;

/// A candidate or an alarm.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StoredGroup {
    /// Id of its definition.
    pub definition: String,
    /// Its match key.
    pub key: Vec<(String, String)>,
    /// Order in which candidates came into being.
    pub ordinal: u64,
    /// What it has as an alarm.
    pub alarm: Option<StoredAlarm>,
    /// All writes up to here are in it.
    pub sequence: u64,
    /// All timers and releases up to here are in it, milliseconds.
    pub instant: i64,
}

/// What only an alarm has.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StoredAlarm {
    /// Order in which alarms came into being.
    pub ordinal: u64,
    /// Its parts, in expression order.
    pub parts: Vec<StoredPart>,
    /// State.
    pub state: State,
    /// Milliseconds.
    pub created: i64,
    /// Milliseconds.
    pub updated: i64,
    /// Milliseconds.
    pub state_updated: i64,
    /// Link of the user.
    pub link: Option<String>,
    /// Lifecycle state of the user.
    pub lifecycle_state: Option<String>,
}

/// A part of an alarm.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StoredPart {
    /// State.
    pub state: State,
    /// Values of the latest judgement, bit for bit.
    pub values: Vec<u64>,
}

impl Engine {
    /// A group as it is to be stored now.
    #[must_use]
    pub fn export(&self, id: Uuid) -> Option<StoredGroup> {
        let group = self.groups.get(self.by_id.get(&id)?)?;
        let position = self.position().later(group.position);
        let pairs = group.key.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Some(StoredGroup {
            definition: group.rule.to_string(),
            key: pairs.collect(),
            ordinal: group.ordinal,
            alarm: group.live.as_ref().map(|live| StoredAlarm {
                ordinal: live.ordinal,
                parts: live.parts.iter().map(stored_part).collect(),
                state: live.state,
                created: live.created.millis(),
                updated: live.updated.millis(),
                state_updated: live.state_updated.millis(),
                link: live.link.clone(),
                lifecycle_state: live.lifecycle_state.clone(),
            }),
            sequence: position.sequence.number(),
            instant: position.instant.millis(),
        })
    }

    /// The groups whose state changed since this was last asked for.
    pub fn take_dirty(&mut self) -> Vec<(TenantId, Uuid)> {
        let dirty = std::mem::take(&mut self.dirty);
        let groups = dirty.iter().filter_map(|no| self.groups.get(no));
        groups.map(|group| (group.tenant, group.id)).collect()
    }

    /// A group has been stored.
    pub fn mark_clean(&mut self, id: Uuid) {
        if let Some(no) = self.by_id.get(&id) {
            self.dirty.remove(no);
        }
    }

    /// Whether there is anything that the next checkpoint has to store.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || self.sight.held.has_changes()
    }

    /// All groups and their series, with the owner.
    pub fn all_groups(&self) -> impl Iterator<Item = (TenantId, Uuid, Vec<SeriesId>)> {
        self.groups
            .values()
            .map(|group| (group.tenant, group.id, group.members.keys().copied().collect()))
    }

    /// Samples that began and that ceased to wait since this was last asked for.
    pub fn take_held_changes(&mut self) -> (Vec<Held>, Vec<Held>) {
        self.sight.held.take_changes()
    }

    /// All samples that wait.
    pub fn held(&self) -> impl Iterator<Item = Held> {
        self.sight.held.all()
    }

    /// Takes back a sample that waits. To be called after all groups are back.
    pub fn restore_held(&mut self, held: Held) {
        self.sight.held.restore(held);
    }

    /// Takes a stored group back, after its definition; its windows are read as of its own place in
    /// the log, or the engine's if that is later. A group whose definition is gone, or that does not
    /// fit it, is left out.
    ///
    /// # Errors
    /// `Store` if stored samples cannot be read.
    pub fn restore_group(
        &mut self,
        samples: &dyn Samples,
        id: Uuid,
        stored: &StoredGroup,
        series: &[SeriesId],
    ) -> Result<(), Error> {
        let Ok(rule_id) = Uuid::parse_str(&stored.definition) else { return Ok(()) };
        let Some(tenant) = self.rules.get(&rule_id).map(|rule| rule.tenant) else { return Ok(()) };
        let own = Position {
            sequence: Sequence::new(stored.sequence),
            instant: Timestamp::from_millis(stored.instant),
        };
        let no = GroupNo(stored.ordinal);
        let mut members = BTreeMap::new();
        for series in series {
            let Some(key) = self.key_of(samples, (tenant, *series))? else { continue };
            self.know((tenant, *series), &key);
            members.insert(*series, Member { key: Arc::clone(&key), fits: 0 });
        }
        let here = self.sight.position;
        let position = here.later(own);
        let Some(rule) = self.rules.get_mut(&rule_id) else { return Ok(()) };
        let mut seen = Vec::new();
        for (series, member) in &mut members {
            member.fits = rule.expression.fits(&member.key);
            seen.push((*series, rule.matching.key(&member.key), member.fits));
        }
        let live = stored.alarm.as_ref().map(|alarm| Live {
            ordinal: alarm.ordinal,
            parts: rule
                .expression
                .parts
                .iter()
                .zip(&alarm.parts)
                .map(|(part, stored)| LivePart {
                    window: Window::new(
                        part,
                        next_view_end(position.instant.millis(), self.delay_ms, part.period_ms()),
                    ),
                    state: stored.state,
                    values: stored.values.iter().map(|bits| f64::from_bits(*bits)).collect(),
                })
                .collect(),
            state: alarm.state,
            created: Timestamp::from_millis(alarm.created),
            updated: Timestamp::from_millis(alarm.updated),
            state_updated: Timestamp::from_millis(alarm.state_updated),
            link: alarm.link.clone(),
            lifecycle_state: alarm.lifecycle_state.clone(),
        });
        let key: Dimensions = stored.key.iter().cloned().collect();
        let group = matching::Group {
            no,
            series: members.keys().copied().collect(),
            fits: members.values().fold(0, |all, member| all | member.fits),
            ordinal: stored.ordinal,
            alarm: live.as_ref().map(|live| live.ordinal),
        };
        rule.matching.restore(key.clone(), group, &seen);
        let age = live.as_ref().map_or(0, |live| live.ordinal);
        self.last_ordinal = self.last_ordinal.max(stored.ordinal).max(age);
        self.by_id.insert(id, no);
        self.groups.insert(
            no,
            Group {
                id,
                tenant,
                rule: rule_id,
                key,
                ordinal: stored.ordinal,
                members,
                live,
                position,
            },
        );
        self.sight.position = position;
        let built = self.rebuild(samples, no).and_then(|_| self.restore_newest(samples, no));
        self.sight.position = here;
        built
    }

    /// Finds out what the newest sample of each series of a group was, so that a repeated one is told
    /// from a new one. Where there is none in the last hours, whatever is older is looked up.
    fn restore_newest(&mut self, samples: &dyn Samples, no: GroupNo) -> Result<(), Error> {
        let Some(group) = self.groups.get(&no) else { return Ok(()) };
        let since = self.sight.position.instant.plus_millis(-LOOK_BACK_MS).millis();
        for id in group.members.keys() {
            let series = (group.tenant, *id);
            let found = self.sight.newest(samples, series, (since, i64::MAX))?;
            if let Some(Entry::Known(known)) = self.series.get_mut(&series) {
                known.newest = known.newest.max(found.map_or(since, |(time, _)| time));
            }
        }
        Ok(())
    }

    /// Reads all windows again, as of `upto`, after arrivals have been missed. Nothing is judged.
    ///
    /// # Errors
    /// `Store` if stored samples cannot be read.
    pub fn rebuild_all(
        &mut self,
        samples: &dyn Samples,
        upto: Sequence,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.sight.end(upto);
        self.sight.position.instant = self.sight.position.instant.max(now);
        // The views of the gap are not judged: nobody saw what had arrived when they were due.
        self.timers.clear();
        let parts: Vec<(TenantId, Part)> = self
            .rules
            .values()
            .flat_map(|rule| rule.expression.parts.iter().map(|part| (rule.tenant, part.clone())))
            .collect();
        for (tenant, part) in parts {
            self.hold_stored(samples, tenant, &part)?;
        }
        let now_ms = self.sight.position.instant.millis();
        let numbers: Vec<GroupNo> = self.groups.keys().copied().collect();
        for no in numbers {
            let Some(group) = self.groups.get_mut(&no) else { continue };
            let Some(rule) = self.rules.get(&group.rule) else { continue };
            let Some(live) = &mut group.live else { continue };
            for (part, live) in rule.expression.parts.iter().zip(&mut live.parts) {
                let end = next_view_end(now_ms, self.delay_ms, part.period_ms());
                live.window = Window::new(part, end);
            }
            self.rebuild(samples, no)?;
        }
        Ok(())
    }
}

fn stored_part(part: &LivePart) -> StoredPart {
    StoredPart {
        state: part.state,
        values: part.values.iter().map(|value| value.to_bits()).collect(),
    }
}

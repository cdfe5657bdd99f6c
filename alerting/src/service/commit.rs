//! Making consequences durable.

use std::collections::HashMap;

use moneta_storage::model::TenantId;
use moneta_storage::record::{RecordBatch, RecordKind};
use uuid::Uuid;

use super::Service;
use crate::engine::Effect;
use crate::error::Error;
use crate::model::Definition;
use crate::stored::{
    CHECKPOINT_ID, StoredDefinition, StoredPosition, attachment_id, encode, held_id,
};
use crate::{history, outbox};

/// State changes that share one batch. In a storm one sync serves this many.
pub(super) const JOINT_MAX: usize = 1000;
/// Feed batches whose consequences share one commit at most.
pub(super) const BATCHES_JOINT_MAX: u32 = 256;

/// A batch in the making.
#[derive(Default)]
struct Joint {
    batch: RecordBatch,
    changes: usize,
    notifies: bool,
}

impl Service {
    /// Commits what the engine did since the last commit.
    pub(super) fn commit_effects(&mut self) -> Result<(), Error> {
        self.commit_with(RecordBatch::new())
    }

    /// Commits what the engine did, together with `batch` if groups came or went or `batch` has
    /// anything; else in joint batches, each alarm's changes in one.
    pub(crate) fn commit_with(&mut self, batch: RecordBatch) -> Result<(), Error> {
        let effects = self.engine.take_effects();
        self.uncommitted = 0;
        if effects.is_empty() && batch.is_empty() {
            return Ok(());
        }
        let transitions_only =
            effects.iter().all(|effect| matches!(effect, Effect::Transition { .. }));
        let divisible = batch.is_empty() && transitions_only;
        let mut joint = Joint { batch, ..Joint::default() };
        for (tenant, group, effects) in self.by_group(effects)? {
            for effect in effects {
                self.put_effect(&mut joint, effect)?;
            }
            if let Some(stored) = self.engine.export(group) {
                joint.batch.put(tenant, RecordKind::Alarm, group.as_bytes(), encode(&stored));
                self.engine.mark_clean(group);
            }
            if divisible && joint.changes >= JOINT_MAX {
                self.commit(std::mem::take(&mut joint))?;
            }
        }
        self.commit(joint)
    }

    /// Numbers the transitions in the order in which they happened, then gathers what belongs to one
    /// group.
    fn by_group(
        &mut self,
        effects: Vec<Effect>,
    ) -> Result<Vec<(TenantId, Uuid, Vec<Effect>)>, Error> {
        let mut places: HashMap<Uuid, usize> = HashMap::new();
        let mut groups: Vec<(TenantId, Uuid, Vec<Effect>)> = Vec::new();
        for mut effect in effects {
            if let Effect::Transition { tenant, transition, .. } = &mut effect {
                self.history.number(*tenant, transition)?;
            }
            let (tenant, group) = effect.group();
            let place = *places.entry(group).or_insert_with(|| {
                groups.push((tenant, group, Vec::new()));
                groups.len() - 1
            });
            if let Some((_, _, effects)) = groups.get_mut(place) {
                effects.push(effect);
            }
        }
        Ok(groups)
    }

    fn put_effect(&self, joint: &mut Joint, effect: Effect) -> Result<(), Error> {
        joint.changes += 1;
        match effect {
            Effect::Transition { tenant, alarm, transition, actions } => {
                history::put(&mut joint.batch, tenant, alarm, &transition)?;
                if !actions.is_empty() {
                    outbox::enqueue(&mut joint.batch, tenant, &transition, &actions)?;
                    joint.notifies = true;
                }
            }
            // The group's record follows all its effects.
            Effect::Changed { .. } => {}
            Effect::Attached { tenant, group, series, at } => {
                // An alarm names its series also when they have no samples left.
                self.store.hold(tenant, &[series]);
                let id = attachment_id(group, series);
                joint.batch.put(tenant, RecordKind::AlarmSeries, &id, encode(&at.millis()));
            }
            Effect::Removed { tenant, group, series } => {
                joint.batch.delete(tenant, RecordKind::Alarm, group.as_bytes());
                self.store.release(tenant, &series);
                for series in series {
                    let id = attachment_id(group, series);
                    joint.batch.delete(tenant, RecordKind::AlarmSeries, &id);
                }
            }
        }
        Ok(())
    }

    fn commit(&self, joint: Joint) -> Result<(), Error> {
        if joint.batch.is_empty() {
            return Ok(());
        }
        self.records.commit(joint.batch)?;
        if joint.notifies {
            let waker = self.outbox_waker.lock().ok().and_then(|waker| waker.clone());
            if let Some(wake) = waker {
                wake();
            }
        }
        Ok(())
    }

    /// Adds a definition's record, as it stands in the engine, to a batch.
    pub(crate) fn put_definition(&self, batch: &mut RecordBatch, tenant: TenantId, id: Uuid) {
        let definition: Option<&Definition> = self.engine.definition(tenant, id);
        let position = self.engine.definition_position(id);
        if let (Some(definition), Some(position)) = (definition, position) {
            let stored = StoredDefinition {
                spec: definition.spec.clone(),
                created: definition.created.millis(),
                updated: definition.updated.millis(),
                position: StoredPosition::from(position),
            };
            batch.put(tenant, RecordKind::Definition, id.as_bytes(), encode(&stored));
        }
    }

    /// Commits all that a restart needs to go on from here, then lets the log be trimmed.
    ///
    /// Each alarm's record carries its own place in the log, so only the last batch, which moves the
    /// common place, has to come after the others.
    pub(crate) fn checkpoint(&mut self) -> Result<(), Error> {
        // An alarm's record must not run ahead of the history of its changes.
        self.commit_effects()?;
        let position = self.engine.position();
        let mut joint = Joint::default();
        for (tenant, group) in self.engine.take_dirty() {
            if let Some(stored) = self.engine.export(group) {
                joint.batch.put(tenant, RecordKind::Alarm, group.as_bytes(), encode(&stored));
                joint.changes += 1;
            }
            if joint.changes >= JOINT_MAX {
                self.commit(std::mem::take(&mut joint))?;
            }
        }
        let (added, gone) = self.engine.take_held_changes();
        for held in added {
            let tenant = TenantId::new(held.tenant);
            joint.batch.put(tenant, RecordKind::HeldBack, &held_id(&held), encode(&held));
        }
        for held in gone {
            let tenant = TenantId::new(held.tenant);
            joint.batch.delete(tenant, RecordKind::HeldBack, &held_id(&held));
        }
        let stored = encode(&StoredPosition::from(position));
        joint.batch.put(TenantId::SYSTEM, RecordKind::Checkpoint, CHECKPOINT_ID, stored);
        self.commit(joint)?;
        self.feed.release(position.sequence);
        self.checkpointed = (position.sequence, self.now());
        Ok(())
    }
}

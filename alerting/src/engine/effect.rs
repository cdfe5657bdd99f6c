//! What the engine asks its driver to make durable.

use moneta_storage::model::{SeriesId, TenantId, Timestamp};
use uuid::Uuid;

use crate::model::Transition;

/// A consequence of something that happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// An alarm changed its state.
    Transition {
        /// Owner.
        tenant: TenantId,
        /// The alarm.
        alarm: Uuid,
        /// The record; its id is still empty.
        transition: Box<Transition>,
        /// The notification methods to tell; empty when actions are disabled.
        actions: Vec<String>,
    },
    /// A group is new, or something of it changed that must be stored at once.
    Changed {
        /// Owner.
        tenant: TenantId,
        /// The group.
        group: Uuid,
    },
    /// A series joined a group.
    Attached {
        /// Owner.
        tenant: TenantId,
        /// The group.
        group: Uuid,
        /// The series.
        series: SeriesId,
        /// When.
        at: Timestamp,
    },
    /// A group vanished.
    Removed {
        /// Owner.
        tenant: TenantId,
        /// The group.
        group: Uuid,
        /// The series that were in it.
        series: Vec<SeriesId>,
    },
}

impl Effect {
    /// The group it is about, and the group's owner.
    #[must_use]
    pub fn group(&self) -> (TenantId, Uuid) {
        match self {
            Effect::Transition { tenant, alarm, .. } => (*tenant, *alarm),
            Effect::Changed { tenant, group }
            | Effect::Attached { tenant, group, .. }
            | Effect::Removed { tenant, group, .. } => (*tenant, *group),
        }
    }
}

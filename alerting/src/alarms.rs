//! The handle on alerting: what the server calls. Cheap to clone; every call is synchronous and may
//! block for a disk sync, so an async caller runs it on a blocking thread.

use moneta_storage::Store;
use moneta_storage::model::{Sequence, TenantId, TimeRange, Timestamp};

use crate::error::Error;
use crate::model::{
    Alarm, AlarmPatch, Definition, DefinitionPatch, DefinitionSpec, MethodKind, NotificationMethod,
    Transition,
};

/// Settings of alerting.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Seconds after the end of a view until it is judged. Default 30.
    pub alarm_delay_seconds: u32,
    /// Seconds a sample may lie ahead of the clock and still be judged at once. Default 60.
    pub future_tolerance_seconds: u32,
    /// Greatest period times periods, seconds. Default two weeks.
    pub window_seconds_max: u32,
    /// Definitions per tenant. Default 10 000.
    pub definitions_max: usize,
    /// Periods a notification method may have besides 0, seconds. Default 60.
    pub valid_notification_periods: Vec<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            alarm_delay_seconds: 30,
            future_tolerance_seconds: 60,
            window_seconds_max: 14 * 24 * 3600,
            definitions_max: 10_000,
            valid_notification_periods: vec![60],
        }
    }
}

/// A running evaluation engine over a store.
#[derive(Clone)]
pub struct Alarms {}

#[expect(clippy::missing_errors_doc, reason = "every method fails as crate::Error says")]
impl Alarms {
    /// Loads definitions and alarms, catches up with the log and starts the engine's thread.
    pub fn start(store: Store, settings: Settings) -> Result<Self, Error> {
        let _ = (store, settings);
        unimplemented!()
    }

    /// Creates a definition. Qualifying series join it with their next measurement.
    pub fn create_definition(
        &self,
        tenant: TenantId,
        spec: DefinitionSpec,
    ) -> Result<Definition, Error> {
        let _ = (tenant, spec);
        unimplemented!()
    }

    /// Changes a definition.
    pub fn update_definition(
        &self,
        tenant: TenantId,
        id: &str,
        patch: DefinitionPatch,
    ) -> Result<Definition, Error> {
        let _ = (tenant, id, patch);
        unimplemented!()
    }

    /// Deletes a definition and its alarms, without transitions.
    pub fn delete_definition(&self, tenant: TenantId, id: &str) -> Result<(), Error> {
        let _ = (tenant, id);
        unimplemented!()
    }

    /// One definition.
    pub fn definition(&self, tenant: TenantId, id: &str) -> Result<Definition, Error> {
        let _ = (tenant, id);
        unimplemented!()
    }

    /// All definitions of a tenant, ascending by id.
    #[must_use]
    pub fn definitions(&self, tenant: TenantId) -> Vec<Definition> {
        let _ = tenant;
        unimplemented!()
    }

    /// All alarms of a tenant, ascending by id.
    #[must_use]
    pub fn alarms(&self, tenant: TenantId) -> Vec<Alarm> {
        let _ = tenant;
        unimplemented!()
    }

    /// One alarm.
    pub fn alarm(&self, tenant: TenantId, id: &str) -> Result<Alarm, Error> {
        let _ = (tenant, id);
        unimplemented!()
    }

    /// Changes an alarm as a user asks.
    pub fn update_alarm(
        &self,
        tenant: TenantId,
        id: &str,
        patch: AlarmPatch,
    ) -> Result<Alarm, Error> {
        let _ = (tenant, id, patch);
        unimplemented!()
    }

    /// Deletes an alarm, without a transition. It comes back when its series send data.
    pub fn delete_alarm(&self, tenant: TenantId, id: &str) -> Result<(), Error> {
        let _ = (tenant, id);
        unimplemented!()
    }

    /// Up to `limit` transitions of a tenant with a time in `range`, ascending by id, whose id comes
    /// after `after`; of one alarm (which may no longer exist) if `alarm` is given.
    pub fn history(
        &self,
        tenant: TenantId,
        alarm: Option<&str>,
        range: TimeRange,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Transition>, Error> {
        let _ = (tenant, alarm, range, after, limit);
        unimplemented!()
    }

    /// Creates a notification method.
    pub fn create_method(
        &self,
        tenant: TenantId,
        name: &str,
        kind: MethodKind,
        address: &str,
        period: u32,
    ) -> Result<NotificationMethod, Error> {
        let _ = (tenant, name, kind, address, period);
        unimplemented!()
    }

    /// Replaces name, kind, address and period of a method.
    pub fn update_method(
        &self,
        tenant: TenantId,
        method: NotificationMethod,
    ) -> Result<NotificationMethod, Error> {
        let _ = (tenant, method);
        unimplemented!()
    }

    /// All methods of a tenant, ascending by id.
    pub fn methods(&self, tenant: TenantId) -> Result<Vec<NotificationMethod>, Error> {
        let _ = tenant;
        unimplemented!()
    }

    /// Deletes a method and removes it from every definition's actions.
    pub fn delete_method(&self, tenant: TenantId, id: &str) -> Result<(), Error> {
        let _ = (tenant, id);
        unimplemented!()
    }

    /// Waits until the engine has handled every batch up to `sequence` and every timer up to `now`.
    /// For tests and for a server that reports how far behind it is.
    pub fn wait_for(&self, sequence: Sequence, now: Timestamp) -> Result<(), Error> {
        let _ = (sequence, now);
        unimplemented!()
    }

    /// Commits a checkpoint and ends the engine's thread.
    pub fn close(&self) -> Result<(), Error> {
        unimplemented!()
    }
}

//! The handle on alerting: what the server calls. Cheap to clone; every call is synchronous and may
//! block for a disk sync, so an async caller runs it on a blocking thread.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};
use moneta_storage::Store;
use moneta_storage::feed::FeedWaker;
use moneta_storage::model::{Sequence, SeriesKey, TenantId, Timestamp};
use moneta_storage::record::{RecordBatch, RecordKind};
use uuid::Uuid;

use crate::definition;
use crate::error::Error;
use crate::methods::Methods;
use crate::model::{
    Alarm, AlarmPatch, Definition, DefinitionPatch, DefinitionSpec, MethodKind, NotificationMethod,
};
use crate::service::{COMMANDS_MAX, Command, Ending, OutboxWaker, Service};

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
pub struct Alarms {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    settings: Settings,
    methods: Methods,
    commands: Sender<Command>,
    waker: FeedWaker,
    outbox_waker: OutboxWaker,
    /// Why the engine's thread ended, if it failed.
    failure: Arc<OnceLock<Error>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[expect(clippy::missing_errors_doc, reason = "every method fails as crate::Error says")]
impl Alarms {
    /// Loads definitions and alarms and starts the engine's thread, which catches up with the log
    /// before it answers the first call.
    pub fn start(store: Store, settings: Settings) -> Result<Self, Error> {
        let (sender, receiver) = bounded(COMMANDS_MAX);
        let outbox_waker: OutboxWaker = Arc::default();
        let service =
            Service::open(store.clone(), settings.clone(), receiver, Arc::clone(&outbox_waker))?;
        let waker = service.waker();
        let failure: Arc<OnceLock<Error>> = Arc::default();
        let failed = Arc::clone(&failure);
        let thread = std::thread::Builder::new().name("alarms".into()).spawn(move || {
            let ended = std::panic::catch_unwind(AssertUnwindSafe(|| service.run()));
            let panicked = |_| {
                let reason = "the engine of the alarms has panicked".to_owned();
                Err(Error::Store(moneta_storage::Error::Stopped { reason }))
            };
            if let Err(error) = ended.unwrap_or_else(panicked) {
                tracing::error!(%error, "alarms are no longer evaluated");
                // The first failure is the one that ended the thread.
                let _ = failed.set(error);
            }
        });
        let thread = thread.map_err(|source| {
            let reason = format!("the thread of the alarms cannot start: {source}");
            Error::Store(moneta_storage::Error::Stopped { reason })
        })?;
        let methods = Methods::open(store.records(), store.clock())?;
        let shared = Shared {
            store,
            settings,
            methods,
            commands: sender,
            waker,
            outbox_waker,
            failure,
            thread: Mutex::new(Some(thread)),
        };
        Ok(Alarms { shared: Arc::new(shared) })
    }

    /// The notification methods. Clones share what keeps their names unique, so whoever else needs
    /// them takes these.
    #[must_use]
    pub fn shared_methods(&self) -> Methods {
        self.shared.methods.clone()
    }

    /// Calls `wake` after every commit that put notifications into the outbox. Replaces an earlier
    /// one. It is called on the engine's thread and must not block.
    pub fn on_outbox(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        if let Ok(mut waker) = self.shared.outbox_waker.lock() {
            *waker = Some(wake);
        }
    }

    fn stopped(&self) -> Error {
        let reason = match self.shared.failure.get() {
            Some(error) => format!("alarms are no longer evaluated: {error}"),
            None => "alarms are closed".to_owned(),
        };
        Error::Store(moneta_storage::Error::Stopped { reason })
    }

    fn send(&self, command: Command) -> Result<(), Error> {
        self.shared.commands.send(command).map_err(|_| self.stopped())?;
        self.shared.waker.wake();
        Ok(())
    }

    /// Runs `action` on the engine's thread. A failure of the store there ends the engine, since it may
    /// have gone ahead of what is durable.
    fn call<T: Send + 'static>(
        &self,
        action: impl FnOnce(&mut Service) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = bounded(1);
        self.send(Box::new(move |service| {
            let result = action(service);
            let fatal = match &result {
                Err(Error::Store(error)) => Err(Error::Store(error.clone())),
                Ok(_) | Err(_) => Ok(()),
            };
            // Who no longer listens needs no answer.
            let _ = reply.send(result);
            fatal
        }))?;
        answer.recv().map_err(|_| self.stopped())?
    }

    /// Creates a definition. Qualifying series join it with their next measurement.
    pub fn create_definition(
        &self,
        tenant: TenantId,
        spec: DefinitionSpec,
    ) -> Result<Definition, Error> {
        let expression = definition::check(&spec, self.shared.settings.window_seconds_max)?;
        let methods = self.shared.methods.clone();
        self.call(move |service| {
            // Here, where a method is deleted as well: no deletion comes between.
            if let Some(text) = unknown_action(&methods, tenant, &spec)? {
                // Clients know one name of this mistake, whether they create or change.
                return Err(Error::InvalidUpdate(text));
            }
            if service.engine.definitions(tenant).any(|other| other.spec.name == spec.name) {
                let name = &spec.name;
                return Err(Error::Exists(format!(
                    "An alarm definition with the name {name} already exists"
                )));
            }
            let max = service.settings.definitions_max;
            if service.engine.definitions(tenant).count() >= max {
                let max = u64::try_from(max).unwrap_or(u64::MAX);
                return Err(Error::Limit { limit: "alarm definitions of a tenant", max });
            }
            let id = Uuid::new_v4();
            let now = service.engine.position().instant;
            let built = definition::build(id, spec, &expression, now, now);
            service.engine.define(&service.samples, tenant, id, built.clone(), expression)?;
            // What was found ahead of the clock lies before the log that a restart replays, so it is
            // made durable first.
            service.checkpoint()?;
            let mut batch = RecordBatch::new();
            service.put_definition(&mut batch, tenant, id);
            service.commit_with(batch)?;
            Ok(built)
        })
    }

    /// Changes a definition.
    pub fn update_definition(
        &self,
        tenant: TenantId,
        id: &str,
        patch: DefinitionPatch,
    ) -> Result<Definition, Error> {
        let uuid = parse_id(DEFINITION, id)?;
        let max = self.shared.settings.window_seconds_max;
        let methods = self.shared.methods.clone();
        self.call(move |service| {
            let Some(old) = service.engine.definition(tenant, uuid) else {
                return Err(Error::NotFound { what: DEFINITION, id: uuid.to_string() });
            };
            let spec = definition::patched(&old.spec, patch);
            let expression = definition::check(&spec, max)?;
            if let Some(text) = unknown_action(&methods, tenant, &spec)? {
                return Err(Error::InvalidUpdate(text));
            }
            let old_expression = crate::expression::Expression::parse(&old.spec.expression)?;
            definition::check_update(&old.spec, &old_expression, &spec, &expression)?;
            let namesake = service
                .engine
                .definitions(tenant)
                .find(|other| other.id != old.id && other.spec.name == spec.name);
            if let Some(other) = namesake {
                return Err(Error::Exists(format!(
                    "An alarm definition with the name {} already exists with id {}",
                    spec.name, other.id
                )));
            }
            let now = service.engine.position().instant;
            let built = definition::build(uuid, spec, &expression, old.created, now);
            service.engine.update(&service.samples, uuid, built.clone(), expression)?;
            let mut batch = RecordBatch::new();
            service.put_definition(&mut batch, tenant, uuid);
            service.commit_with(batch)?;
            Ok(built)
        })
    }

    /// Deletes a definition and its alarms, without transitions.
    pub fn delete_definition(&self, tenant: TenantId, id: &str) -> Result<(), Error> {
        let uuid = parse_id(DEFINITION, id)?;
        self.call(move |service| {
            if service.engine.definition(tenant, uuid).is_none() {
                return Err(Error::NotFound { what: DEFINITION, id: uuid.to_string() });
            }
            service.engine.delete_definition(uuid);
            let mut batch = RecordBatch::new();
            batch.delete(tenant, RecordKind::Definition, uuid.as_bytes());
            service.commit_with(batch)
        })
    }

    /// One definition.
    pub fn definition(&self, tenant: TenantId, id: &str) -> Result<Definition, Error> {
        let uuid = parse_id(DEFINITION, id)?;
        self.call(move |service| {
            let found = service.engine.definition(tenant, uuid).cloned();
            found.ok_or_else(|| Error::NotFound { what: DEFINITION, id: uuid.to_string() })
        })
    }

    /// All definitions of a tenant, ascending by id.
    pub fn definitions(&self, tenant: TenantId) -> Result<Vec<Definition>, Error> {
        self.call(move |service| Ok(service.engine.definitions(tenant).cloned().collect()))
    }

    /// All alarms of a tenant, ascending by id.
    pub fn alarms(&self, tenant: TenantId) -> Result<Vec<Alarm>, Error> {
        self.call(move |service| Ok(service.engine.alarms(tenant)))
    }

    /// Why alarms are no longer evaluated, if that is so.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.shared.failure.get().map(ToString::to_string)
    }

    /// One alarm.
    pub fn alarm(&self, tenant: TenantId, id: &str) -> Result<Alarm, Error> {
        let uuid = parse_id(ALARM, id)?;
        self.call(move |service| alarm_of(service, tenant, uuid))
    }

    /// Changes an alarm as a user asks.
    pub fn update_alarm(
        &self,
        tenant: TenantId,
        id: &str,
        patch: AlarmPatch,
    ) -> Result<Alarm, Error> {
        let uuid = parse_id(ALARM, id)?;
        check_text("lifecycle_state", patch.lifecycle_state.as_ref(), 50)?;
        check_text("link", patch.link.as_ref(), 512)?;
        self.call(move |service| {
            alarm_of(service, tenant, uuid)?;
            service.engine.update_alarm(uuid, &patch);
            service.commit_with(RecordBatch::new())?;
            alarm_of(service, tenant, uuid)
        })
    }

    /// Deletes an alarm, without a transition. It comes back when its series send data.
    pub fn delete_alarm(&self, tenant: TenantId, id: &str) -> Result<(), Error> {
        let uuid = parse_id(ALARM, id)?;
        self.call(move |service| {
            alarm_of(service, tenant, uuid)?;
            let definition = service.engine.delete_alarm(uuid);
            let mut batch = RecordBatch::new();
            if let Some(definition) = definition {
                service.put_definition(&mut batch, tenant, definition);
            }
            service.commit_with(batch)
        })
    }

    pub(crate) fn store(&self) -> &Store {
        &self.shared.store
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
        let valid = &self.shared.settings.valid_notification_periods;
        self.shared.methods.create(tenant, name, kind, address, period, valid)
    }

    /// Replaces name, kind, address and period of a method.
    pub fn update_method(
        &self,
        tenant: TenantId,
        method: NotificationMethod,
    ) -> Result<NotificationMethod, Error> {
        let valid = &self.shared.settings.valid_notification_periods;
        self.shared.methods.update(tenant, method, valid)
    }

    /// All methods of a tenant, ascending by id.
    pub fn methods(&self, tenant: TenantId) -> Result<Vec<NotificationMethod>, Error> {
        self.shared.methods.list(tenant)
    }

    /// Deletes a method and removes it from every definition's actions. The definitions come first, in
    /// one batch: a failure between leaves a method that nothing uses, never a use of no method.
    pub fn delete_method(&self, tenant: TenantId, id: &str) -> Result<(), Error> {
        if self.shared.methods.get(tenant, id)?.is_none() {
            return Err(Error::NotFound { what: "notification method", id: id.to_owned() });
        }
        let method = id.to_owned();
        let methods = self.shared.methods.clone();
        self.call(move |service| {
            let mut batch = RecordBatch::new();
            for id in service.engine.forget_action(tenant, &method) {
                service.put_definition(&mut batch, tenant, id);
            }
            service.commit_with(batch)?;
            methods.delete(tenant, &method)
        })
    }

    /// Waits until the engine has handled every batch up to `sequence` and every timer up to `now`.
    /// For tests and for a server that reports how far behind it is.
    pub fn wait_for(&self, sequence: Sequence, now: Timestamp) -> Result<(), Error> {
        let (reply, answer) = bounded(1);
        self.send(Box::new(move |service| {
            service.wait_for(sequence, now, reply);
            Ok(())
        }))?;
        answer.recv().map_err(|_| self.stopped())
    }

    /// Makes series seen by a definition without a measurement. Support for tests: a series that does
    /// not exist is brought into being by a sample that is no number, at `time`, which is no data.
    #[doc(hidden)]
    pub fn make_seen(
        &self,
        tenant: TenantId,
        definition: &str,
        series: &[SeriesKey],
        time: Timestamp,
    ) -> Result<(), Error> {
        let uuid = parse_id(DEFINITION, definition)?;
        let store = &self.shared.store;
        let mut ids = Vec::new();
        for key in series {
            if store.find_series(tenant, key)?.is_none() {
                let mut request = store.request(tenant);
                let fresh = || Ok::<_, moneta_storage::Error>(key.clone());
                request.push(&key.encode(), fresh, time, f64::NAN, None)?;
                store.write(request)?;
            }
            ids.extend(store.find_series(tenant, key)?);
        }
        self.call(move |service| {
            service.engine.make_seen(&service.samples, uuid, &ids)?;
            service.commit_with(RecordBatch::new())
        })
    }

    /// Number of groups of a tenant that lack a series for some part. Support for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn candidates(&self, tenant: TenantId) -> usize {
        self.call(move |service| Ok(service.engine.candidates(tenant))).unwrap_or_default()
    }

    /// Commits a checkpoint and ends the engine's thread.
    pub fn close(&self) -> Result<(), Error> {
        self.end(Ending::Checkpoint)
    }

    /// Ends the engine's thread as a kill would: with nothing more stored. Support for tests.
    #[doc(hidden)]
    pub fn abandon(&self) -> Result<(), Error> {
        self.end(Ending::Abandon)
    }

    fn end(&self, ending: Ending) -> Result<(), Error> {
        let thread = self.shared.thread.lock().ok().and_then(|mut thread| thread.take());
        let Some(thread) = thread else { return Ok(()) };
        // If the thread has ended already there is nobody to tell.
        let _ = self.send(Box::new(move |service| {
            service.end(ending);
            Ok(())
        }));
        if thread.join().is_err() {
            let reason = "the thread of the alarms panicked".to_owned();
            return Err(Error::Store(moneta_storage::Error::Stopped { reason }));
        }
        self.shared.failure.get().map_or(Ok(()), |error| Err(error.clone()))
    }
}

const DEFINITION: &str = "alarm definition";
const ALARM: &str = "alarm";

/// What is no UUID is the id of nothing.
fn parse_id(what: &'static str, id: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(id).map_err(|_| Error::NotFound { what, id: id.to_owned() })
}

fn alarm_of(service: &Service, tenant: TenantId, id: Uuid) -> Result<Alarm, Error> {
    let found = service.engine.alarm(tenant, id);
    found.ok_or_else(|| Error::NotFound { what: ALARM, id: id.to_string() })
}

fn check_text(field: &str, text: Option<&Option<String>>, chars_max: usize) -> Result<(), Error> {
    match text {
        Some(Some(text)) if text.chars().count() > chars_max => Err(Error::Invalid(format!(
            "length of value must be at most {chars_max} for dictionary value @ data['{field}']"
        ))),
        Some(_) | None => Ok(()),
    }
}

/// The text about the first action of `spec` that is not a method of the tenant.
fn unknown_action(
    methods: &Methods,
    tenant: TenantId,
    spec: &DefinitionSpec,
) -> Result<Option<String>, Error> {
    for (state, _, list) in definition::actions(spec) {
        for id in list {
            if methods.get(tenant, id)?.is_none() {
                return Ok(Some(definition::unknown_action(state, id)));
            }
        }
    }
    Ok(None)
}

//! The worked examples once more, through a real store and the handle the server uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use moneta_alerting::{
    Alarm, AlarmPatch, Alarms, DefinitionPatch, DefinitionSpec, Settings, Severity, Transition,
};
use moneta_storage::clock::ManualClock;
use moneta_storage::model::{SeriesKey, TenantId, TimeRange, Timestamp};
use moneta_storage::{Error, Store, StoreConfig};
use tempfile::TempDir;

use crate::example::{Action, Example, ExampleSettings, Series, Subject, examples};

/// A store, alarms over it, and a clock the test owns.
struct Stored {
    directory: TempDir,
    clock: Arc<ManualClock>,
    settings: Settings,
    now: Timestamp,
    open: Option<(Store, Alarms)>,
    definitions: BTreeMap<String, (TenantId, String)>,
    /// Id of the last transition told, by tenant.
    told: BTreeMap<TenantId, String>,
    new: Vec<Transition>,
    end: End,
}

/// How the process ends after every step.
#[derive(Clone, Copy)]
enum End {
    Never,
    Orderly,
    Killed,
}

impl Stored {
    fn new(settings: ExampleSettings, end: End) -> Self {
        Stored {
            directory: tempfile::tempdir().unwrap(),
            clock: ManualClock::at(Timestamp::default()),
            settings: Settings {
                alarm_delay_seconds: settings.alarm_delay,
                future_tolerance_seconds: settings.future_tolerance,
                ..Settings::default()
            },
            now: Timestamp::default(),
            open: None,
            definitions: BTreeMap::new(),
            told: BTreeMap::new(),
            new: Vec::new(),
            end,
        }
    }

    fn start(&mut self) {
        let clock = Arc::clone(&self.clock);
        let store = Store::open(self.directory.path(), StoreConfig::default(), clock).unwrap();
        let alarms = Alarms::start(store.clone(), self.settings.clone()).unwrap();
        self.open = Some((store, alarms));
    }

    fn stop(&mut self) {
        if let Some((store, alarms)) = self.open.take() {
            alarms.close().unwrap();
            store.close().unwrap();
        }
    }

    /// Ends the engine without a checkpoint, as a kill does, and starts another over the same store.
    fn kill(&mut self) {
        let (store, alarms) = self.open.take().unwrap();
        alarms.abandon().unwrap();
        let alarms = Alarms::start(store.clone(), self.settings.clone()).unwrap();
        self.open = Some((store, alarms));
    }

    fn open(&self) -> &(Store, Alarms) {
        self.open.as_ref().unwrap()
    }

    /// Waits until all is handled, and collects what happened.
    fn settle(&mut self) {
        let (store, alarms) = self.open().clone();
        alarms.wait_for(store.newest(), self.now).unwrap();
        for tenant in store.tenants() {
            let after = self.told.get(&tenant).map(String::as_str);
            let new = alarms.history(tenant, None, TimeRange::ALL, after, 1000).unwrap();
            if let Some(last) = new.last() {
                self.told.insert(tenant, last.id.clone());
            }
            for transition in &new {
                let alarm = Some(transition.alarm_id.as_str());
                let own = alarms.history(tenant, alarm, TimeRange::ALL, None, 1000).unwrap();
                assert!(own.contains(transition), "the history of one alarm has it too");
            }
            self.new.extend(new);
        }
    }

    fn write(&self, series: &Series, time: Timestamp, value: f64) {
        let (store, _) = self.open();
        let tenant = store.tenant(&series.tenant).unwrap();
        let key = key(series);
        let mut request = store.request(tenant);
        request.push(&key.encode(), || Ok::<_, Error>(key.clone()), time, value, None).unwrap();
        store.write(request).unwrap();
    }
}

fn key(series: &Series) -> SeriesKey {
    SeriesKey {
        metric: series.name.clone(),
        dimensions: series.dimensions.clone().into_iter().collect(),
        region: String::new(),
    }
}

impl Subject for Stored {
    fn advance(&mut self, now_ms: i64) {
        self.now = Timestamp::from_millis(now_ms);
        self.clock.set(self.now);
        if self.open.is_none() {
            self.start();
        }
        self.settle();
    }

    fn act(&mut self, action: Action<'_>) {
        let (store, alarms) = self.open().clone();
        match action {
            Action::Define { label, tenant, expression, match_by, logic, empty_coefficient } => {
                let tenant = store.tenant(tenant).unwrap();
                let spec = DefinitionSpec {
                    name: label.to_owned(),
                    description: String::new(),
                    expression: expression.to_owned(),
                    match_by: match_by.to_vec(),
                    severity: Severity::Low,
                    actions_enabled: true,
                    alarm_actions: Vec::new(),
                    ok_actions: Vec::new(),
                    undetermined_actions: Vec::new(),
                    undetermined_logic: logic,
                    empty_coefficient,
                };
                let id = alarms.create_definition(tenant, spec).unwrap().id;
                self.definitions.insert(label.to_owned(), (tenant, id));
            }
            Action::Create { label, series } => {
                let (tenant, id) = &self.definitions[label];
                let keys: Vec<SeriesKey> = series.into_iter().map(key).collect();
                alarms.make_seen(*tenant, id, &keys, self.now).unwrap();
            }
            Action::Sample { series, time_ms, value } => {
                self.write(series, Timestamp::from_millis(time_ms), value);
            }
            Action::SetState { alarm, state } => {
                let patch = AlarmPatch { state: Some(state), ..AlarmPatch::default() };
                for tenant in store.tenants() {
                    if alarms.alarm(tenant, &alarm).is_ok() {
                        alarms.update_alarm(tenant, &alarm, patch.clone()).unwrap();
                    }
                }
            }
            Action::Update { label, expression, logic, empty_coefficient } => {
                let (tenant, id) = &self.definitions[label];
                let patch = DefinitionPatch {
                    expression: expression.map(str::to_owned),
                    undetermined_logic: logic,
                    empty_coefficient,
                    ..DefinitionPatch::default()
                };
                alarms.update_definition(*tenant, id, patch).unwrap();
            }
            Action::DeleteAlarm { alarm } => {
                let deleted =
                    store.tenants().into_iter().map(|tenant| alarms.delete_alarm(tenant, &alarm));
                assert_eq!(deleted.filter(Result::is_ok).count(), 1);
            }
            Action::DeleteDefinition { label } => {
                let (tenant, id) = &self.definitions[label];
                alarms.delete_definition(*tenant, id).unwrap();
            }
            Action::Restart => {
                drop((store, alarms));
                self.settle();
                self.stop();
                self.start();
                return self.settle();
            }
        }
        drop((store, alarms));
        self.settle();
        match self.end {
            End::Never => {}
            End::Orderly => self.act(Action::Restart),
            End::Killed => {
                self.kill();
                self.settle();
            }
        }
    }

    fn alarms(&mut self) -> Vec<Alarm> {
        let (store, alarms) = self.open();
        store.tenants().into_iter().flat_map(|tenant| alarms.alarms(tenant).unwrap()).collect()
    }

    fn waiting(&mut self) -> Option<usize> {
        let (store, alarms) = self.open();
        Some(store.tenants().into_iter().map(|tenant| alarms.candidates(tenant)).sum())
    }

    fn new_transitions(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.new)
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

/// Examples run at once.
const THREADS: usize = 8;

fn check(wanted: impl Fn(&str) -> bool, end: End) {
    let examples = examples();
    let chosen: Vec<&Example> = examples.iter().filter(|example| wanted(&example.id)).collect();
    assert!(!chosen.is_empty(), "there is something to run");
    // Most of the time is waiting for the disk, so several wait at once.
    let run = |example: &&Example| {
        let ran = example.run(|settings| Box::new(Stored::new(settings, end)));
        ran.err().map(|failure| format!("{} {}: {failure}", example.id, example.title))
    };
    let failures: Vec<String> = std::thread::scope(|scope| {
        let shares = chosen.chunks(chosen.len().div_ceil(THREADS));
        let all = |share: &[&Example]| share.iter().filter_map(run).collect::<Vec<_>>();
        let threads: Vec<_> = shares.map(|share| scope.spawn(move || all(share))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let passed = chosen.len() - failures.len();
    assert!(failures.is_empty(), "{passed} of {} pass\n{}", chosen.len(), failures.join("\n"));
}

#[test]
fn evaluation_examples_hold_through_a_store() {
    check(|id| id.starts_with('E'), End::Never);
}

#[test]
fn other_examples_hold_through_a_store() {
    check(|id| !id.starts_with('E'), End::Never);
}

/// The examples whose state rests most on what is kept: opening a store takes its time.
fn is_fragile(id: &str) -> bool {
    matches!(id, "R06" | "F10" | "M10" | "C07" | "B06" | "D08" | "E56" | "L04")
}

#[test]
fn examples_hold_through_a_store_that_restarts_after_every_step() {
    check(is_fragile, End::Orderly);
}

#[test]
fn examples_hold_with_an_engine_that_is_killed_after_every_step() {
    check(|_| true, End::Killed);
}

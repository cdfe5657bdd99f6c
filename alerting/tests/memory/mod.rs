//! The bare engine over samples in memory.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use moneta_alerting::engine::{
    Effect, Engine, EngineSettings, Held, Position, Samples, StoredGroup,
};
use moneta_alerting::expression::Expression;
use moneta_alerting::{
    Alarm, AlarmPatch, Definition, DefinitionSpec, Error, Severity, Transition, UndeterminedLogic,
};
use moneta_storage::feed::FeedRow;
use moneta_storage::model::{
    Dimensions, Sequence, SeriesId, SeriesKey, TenantId, TimeRange, Timestamp,
};
use uuid::Uuid;

use crate::example::{Action, ExampleSettings, Series, Subject};

/// Sequence, time in milliseconds, value.
type Write = (Sequence, i64, f64);

/// Every write ever made, in order.
#[derive(Default)]
pub(crate) struct Memory {
    keys: RefCell<Vec<(TenantId, Arc<SeriesKey>)>>,
    writes: RefCell<HashMap<SeriesId, Vec<Write>>>,
}

impl Memory {
    fn series(&self, tenant: TenantId, key: SeriesKey) -> SeriesId {
        let mut keys = self.keys.borrow_mut();
        let found = keys.iter().position(|(owner, have)| *owner == tenant && **have == key);
        let at = found.unwrap_or_else(|| {
            keys.push((tenant, Arc::new(key)));
            keys.len() - 1
        });
        SeriesId::new(u32::try_from(at).unwrap())
    }

    fn as_of(&self, series: SeriesId, range: TimeRange, upto: Sequence) -> BTreeMap<i64, f64> {
        let writes = self.writes.borrow();
        let rows = writes.get(&series).into_iter().flatten();
        rows.filter(|(sequence, time, _)| {
            *sequence <= upto && range.contains(Timestamp::from_millis(*time))
        })
        .map(|(_, time, value)| (*time, *value))
        .collect()
    }
}

impl Samples for Memory {
    fn key(&self, tenant: TenantId, series: SeriesId) -> Result<Option<Arc<SeriesKey>>, Error> {
        let keys = self.keys.borrow();
        let found = keys.get(usize::try_from(series.number()).unwrap());
        Ok(found.filter(|(owner, _)| *owner == tenant).map(|(_, key)| Arc::clone(key)))
    }

    fn select(
        &self,
        tenant: TenantId,
        metric: &str,
        dimensions: &Dimensions,
    ) -> Result<Vec<SeriesId>, Error> {
        let keys = self.keys.borrow();
        let ids = (0_u32..).map(SeriesId::new).zip(keys.iter());
        let fits =
            |key: &SeriesKey| key.metric == metric && key.dimensions.contains_all(dimensions);
        Ok(ids
            .filter(|(_, (owner, key))| *owner == tenant && fits(key))
            .map(|(id, _)| id)
            .collect())
    }

    fn read(
        &self,
        _tenant: TenantId,
        series: SeriesId,
        range: TimeRange,
        upto: Sequence,
        each: &mut dyn FnMut(i64, f64),
    ) -> Result<(), Error> {
        for (time, value) in self.as_of(series, range, upto) {
            each(time, value);
        }
        Ok(())
    }

    fn newest(
        &self,
        _tenant: TenantId,
        series: SeriesId,
        range: TimeRange,
        upto: Sequence,
    ) -> Result<Option<(i64, f64)>, Error> {
        Ok(self.as_of(series, range, upto).pop_last())
    }
}

/// What a crash leaves.
struct Disk {
    definitions: BTreeMap<Uuid, (TenantId, Definition, Position)>,
    groups: BTreeMap<Uuid, String>,
    members: BTreeMap<Uuid, BTreeSet<SeriesId>>,
    held: BTreeSet<(i64, u64, u32, u32)>,
    position: Position,
}

/// See the head of this file.
pub(crate) struct MemoryEngine {
    disk: Disk,
    log: Vec<(Vec<FeedRow>, Sequence, Timestamp)>,
    settings: EngineSettings,
    memory: Memory,
    engine: Engine,
    sequence: u64,
    definitions: BTreeMap<String, Uuid>,
    tenants: Vec<String>,
    ids: u128,
    transitions: Vec<Transition>,
}

impl MemoryEngine {
    pub(crate) fn new(settings: ExampleSettings) -> Self {
        let settings = EngineSettings {
            alarm_delay_ms: i64::from(settings.alarm_delay) * 1000,
            future_tolerance_ms: i64::from(settings.future_tolerance) * 1000,
        };
        MemoryEngine {
            disk: Disk {
                definitions: BTreeMap::new(),
                groups: BTreeMap::new(),
                members: BTreeMap::new(),
                held: BTreeSet::new(),
                position: Position::START,
            },
            log: Vec::new(),
            settings,
            memory: Memory::default(),
            engine: Engine::new(settings, Position::START, counter(0)),
            sequence: 0,
            definitions: BTreeMap::new(),
            tenants: Vec::new(),
            ids: 0,
            transitions: Vec::new(),
        }
    }

    fn tenant(&mut self, name: &str) -> TenantId {
        let at = self.tenants.iter().position(|have| have == name).unwrap_or_else(|| {
            self.tenants.push(name.to_owned());
            self.tenants.len() - 1
        });
        TenantId::new(u32::try_from(at).unwrap() + 1)
    }

    fn series(&mut self, series: &Series) -> (TenantId, SeriesId) {
        let tenant = self.tenant(&series.tenant);
        let dimensions: Dimensions = series.dimensions.clone().into_iter().collect();
        let key = SeriesKey { metric: series.name.clone(), dimensions, region: String::new() };
        (tenant, self.memory.series(tenant, key))
    }

    fn now(&self) -> Timestamp {
        self.engine.position().instant
    }

    /// Makes durable what the engine did since the last time.
    fn collect(&mut self) {
        let mut touched = BTreeSet::new();
        for effect in self.engine.take_effects() {
            let (_, group) = effect.group();
            touched.insert(group);
            match effect {
                Effect::Transition { transition, .. } => self.transitions.push(*transition),
                Effect::Changed { .. } => {}
                Effect::Attached { series, .. } => {
                    self.disk.members.entry(group).or_default().insert(series);
                }
                Effect::Removed { .. } => {
                    self.disk.groups.remove(&group);
                    self.disk.members.remove(&group);
                }
            }
        }
        for group in touched {
            self.store_group(group);
            self.engine.mark_clean(group);
        }
    }

    fn store_group(&mut self, group: Uuid) {
        if let Some(stored) = self.engine.export(group) {
            self.disk.groups.insert(group, serde_json::to_string(&stored).unwrap());
        }
    }

    fn store_definition(&mut self, label: &str) {
        let id = self.definitions[label];
        self.disk.definitions.remove(&id);
        for number in 0..self.tenants.len() {
            let tenant = TenantId::new(u32::try_from(number).unwrap() + 1);
            if let Some(definition) = self.engine.definition(tenant, id) {
                let position = self.engine.definition_position(id).unwrap();
                self.disk.definitions.insert(id, (tenant, definition.clone(), position));
            }
        }
    }

    /// Stores all that is needed to go on from here.
    pub(crate) fn checkpoint(&mut self) {
        for (_, group) in self.engine.take_dirty() {
            self.store_group(group);
        }
        let place = |held: Held| (held.time, held.order, held.tenant, held.series);
        let (added, gone) = self.engine.take_held_changes();
        self.disk.held.extend(added.into_iter().map(place));
        for held in gone {
            self.disk.held.remove(&place(held));
        }
        self.disk.position = self.engine.position();
    }

    /// Goes on from what is on disk: the log after the checkpoint is replayed.
    pub(crate) fn crash(&mut self) {
        let now = self.now();
        self.ids += 1 << 32;
        let mut engine = Engine::new(self.settings, self.disk.position, counter(self.ids));
        for (id, (tenant, definition, position)) in &self.disk.definitions {
            let expression = Expression::parse(&definition.spec.expression).unwrap();
            engine.restore_definition(*tenant, *id, definition.clone(), expression, *position);
        }
        for (id, stored) in &self.disk.groups {
            let stored: StoredGroup = serde_json::from_str(stored).unwrap();
            let members: Vec<SeriesId> = self.disk.members[id].iter().copied().collect();
            engine.restore_group(&self.memory, *id, &stored, &members).unwrap();
        }
        for (time, order, tenant, series) in self.disk.held.iter().copied() {
            engine.restore_held(Held { tenant, series, time, order });
        }
        self.engine = engine;
        let replayed = self.log.iter().filter(|(_, last, _)| *last > self.disk.position.sequence);
        let replayed: Vec<_> = replayed.cloned().collect();
        for (rows, last, arrival) in replayed {
            self.engine.batch(&self.memory, rows, last, arrival).unwrap();
            self.collect();
        }
        self.advance(now.millis());
    }

    /// Several samples in one request.
    pub(crate) fn write(&mut self, rows: &[(Series, i64, f64)]) {
        self.write_uncommitted(rows);
        self.collect();
    }

    /// The samples are stored, but the engine is cut off from the log and takes its windows anew.
    pub(crate) fn miss(&mut self, now_ms: i64, rows: &[(Series, i64, f64)]) {
        self.sequence += 1;
        let sequence = Sequence::new(self.sequence);
        for (series, time_ms, value) in rows {
            let (_, series) = self.series(series);
            let mut writes = self.memory.writes.borrow_mut();
            writes.entry(series).or_default().push((sequence, *time_ms, *value));
        }
        let now = Timestamp::from_millis(now_ms);
        self.engine.rebuild_all(&self.memory, sequence, now).unwrap();
    }

    /// The samples are durable and evaluated, but nothing of what follows from them is stored.
    pub(crate) fn write_uncommitted(&mut self, rows: &[(Series, i64, f64)]) {
        self.sequence += 1;
        let sequence = Sequence::new(self.sequence);
        let mut handed: Vec<FeedRow> = Vec::new();
        for (series, time_ms, value) in rows {
            let (tenant, series) = self.series(series);
            let time = Timestamp::from_millis(*time_ms);
            handed.push(FeedRow { tenant, series, time, value: *value, sequence });
            let mut writes = self.memory.writes.borrow_mut();
            writes.entry(series).or_default().push((sequence, *time_ms, *value));
        }
        let now = self.now();
        self.log.push((handed.clone(), sequence, now));
        self.engine.batch(&self.memory, handed, sequence, now).unwrap();
    }

    /// Goes on with a new engine from what the old one stores. Closing makes a checkpoint.
    pub(crate) fn restart(&mut self) {
        self.checkpoint();
        let position = self.engine.position();
        self.ids += 1 << 32;
        let mut engine = Engine::new(self.settings, position, counter(self.ids));
        for number in 0..self.tenants.len() {
            let tenant = TenantId::new(u32::try_from(number).unwrap() + 1);
            for definition in self.engine.definitions(tenant) {
                let id = Uuid::parse_str(&definition.id).unwrap();
                let expression = Expression::parse(&definition.spec.expression).unwrap();
                let own = self.engine.definition_position(id).unwrap();
                engine.restore_definition(tenant, id, definition.clone(), expression, own);
            }
        }
        let mut groups: Vec<(Uuid, Vec<SeriesId>)> =
            self.engine.all_groups().map(|(_, id, series)| (id, series)).collect();
        groups.sort();
        for (id, series) in groups {
            let stored = serde_json::to_string(&self.engine.export(id).unwrap()).unwrap();
            let stored: StoredGroup = serde_json::from_str(&stored).unwrap();
            engine.restore_group(&self.memory, id, &stored, &series).unwrap();
        }
        let held: Vec<Held> = self.engine.held().collect();
        for held in held {
            engine.restore_held(held);
        }
        self.engine = engine;
    }
}

fn counter(from: u128) -> impl FnMut() -> Uuid + Send {
    let mut next = from;
    move || {
        next += 1;
        Uuid::from_u128(next)
    }
}

impl Subject for MemoryEngine {
    fn advance(&mut self, now_ms: i64) {
        self.engine.advance(&self.memory, Timestamp::from_millis(now_ms)).unwrap();
        self.collect();
    }

    fn act(&mut self, action: Action<'_>) {
        match action {
            Action::Define { label, tenant, expression, match_by, logic, empty_coefficient } => {
                let tenant = self.tenant(tenant);
                self.ids += 1;
                let id = Uuid::from_u128((1 << 100) + self.ids);
                self.definitions.insert(label.to_owned(), id);
                let parsed = Expression::parse(expression).unwrap();
                let spec = spec(label, expression, match_by, logic, empty_coefficient);
                let definition = definition(id, spec, &parsed, self.now());
                self.engine.define(&self.memory, tenant, id, definition, parsed).unwrap();
                self.checkpoint();
                self.store_definition(label);
            }
            Action::Create { label, series } => {
                let ids: Vec<SeriesId> =
                    series.into_iter().map(|series| self.series(series).1).collect();
                self.engine.make_seen(&self.memory, self.definitions[label], &ids).unwrap();
            }
            Action::Sample { series, time_ms, value } => {
                self.write(&[(series.clone(), time_ms, value)]);
            }
            Action::SetState { alarm, state } => {
                let patch = AlarmPatch { state: Some(state), ..AlarmPatch::default() };
                self.engine.update_alarm(Uuid::parse_str(&alarm).unwrap(), &patch);
            }
            Action::Update { label, expression, logic, empty_coefficient } => {
                let id = self.definitions[label];
                let tenant =
                    (1..=self.tenants.len()).map(|n| TenantId::new(u32::try_from(n).unwrap()));
                let mut spec = tenant
                    .filter_map(|tenant| self.engine.definition(tenant, id))
                    .next()
                    .unwrap()
                    .spec
                    .clone();
                if let Some(expression) = expression {
                    spec.expression = expression.to_owned();
                }
                spec.undetermined_logic = logic.unwrap_or(spec.undetermined_logic);
                spec.empty_coefficient = empty_coefficient.unwrap_or(spec.empty_coefficient);
                let parsed = Expression::parse(&spec.expression).unwrap();
                let definition = definition(id, spec, &parsed, self.now());
                self.engine.update(&self.memory, id, definition, parsed).unwrap();
                self.store_definition(label);
            }
            Action::DeleteAlarm { alarm } => {
                self.engine.delete_alarm(Uuid::parse_str(&alarm).unwrap());
                for label in self.definitions.keys().cloned().collect::<Vec<_>>() {
                    self.store_definition(&label);
                }
            }
            Action::DeleteDefinition { label } => {
                self.engine.delete_definition(self.definitions[label]);
                self.store_definition(label);
            }
            Action::Restart => self.restart(),
        }
        self.collect();
    }

    fn alarms(&mut self) -> Vec<Alarm> {
        let tenants = 1..=self.tenants.len();
        tenants.flat_map(|n| self.engine.alarms(TenantId::new(u32::try_from(n).unwrap()))).collect()
    }

    fn waiting(&mut self) -> Option<usize> {
        let tenants = 1..=self.tenants.len();
        Some(
            tenants.map(|n| self.engine.candidates(TenantId::new(u32::try_from(n).unwrap()))).sum(),
        )
    }

    fn new_transitions(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.transitions)
    }
}

fn spec(
    name: &str,
    expression: &str,
    match_by: &[String],
    undetermined_logic: UndeterminedLogic,
    empty_coefficient: u32,
) -> DefinitionSpec {
    DefinitionSpec {
        name: name.to_owned(),
        description: String::new(),
        expression: expression.to_owned(),
        match_by: match_by.to_vec(),
        severity: Severity::Low,
        actions_enabled: true,
        alarm_actions: Vec::new(),
        ok_actions: Vec::new(),
        undetermined_actions: Vec::new(),
        undetermined_logic,
        empty_coefficient,
    }
}

fn definition(
    id: Uuid,
    spec: DefinitionSpec,
    expression: &Expression,
    now: Timestamp,
) -> Definition {
    let parts = expression.parts.iter();
    Definition {
        id: id.to_string(),
        deterministic: expression.deterministic(),
        metrics: parts.map(|part| (part.metric.clone(), part.dimensions.clone())).collect(),
        spec,
        created: now,
        updated: now,
    }
}

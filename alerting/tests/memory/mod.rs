//! The bare engine over samples in memory.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
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

/// Every write ever made, in order.
#[derive(Default)]
pub struct Memory {
    keys: RefCell<Vec<(TenantId, Arc<SeriesKey>)>>,
    writes: RefCell<HashMap<SeriesId, Vec<(Sequence, i64, f64)>>>,
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

/// See the head of this file.
pub struct MemoryEngine {
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
    pub fn new(settings: ExampleSettings) -> Self {
        let settings = EngineSettings {
            alarm_delay_ms: i64::from(settings.alarm_delay) * 1000,
            future_tolerance_ms: i64::from(settings.future_tolerance) * 1000,
        };
        MemoryEngine {
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

    fn collect(&mut self) {
        for effect in self.engine.take_effects() {
            if let Effect::Transition { transition, .. } = effect {
                self.transitions.push(transition);
            }
        }
    }

    /// Several samples in one request.
    pub fn write(&mut self, rows: &[(Series, i64, f64)]) {
        self.sequence += 1;
        let sequence = Sequence::new(self.sequence);
        let rows: Vec<FeedRow> = rows
            .iter()
            .map(|(series, time_ms, value)| {
                let (tenant, series) = self.series(series);
                let mut writes = self.memory.writes.borrow_mut();
                writes.entry(series).or_default().push((sequence, *time_ms, *value));
                let time = Timestamp::from_millis(*time_ms);
                FeedRow { tenant, series, time, value: *value, sequence }
            })
            .collect();
        let now = self.now();
        self.engine.batch(&self.memory, rows, sequence, now).unwrap();
        self.collect();
    }

    /// Goes on with a new engine from what the old one stores.
    pub fn restart(&mut self) {
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
                self.engine.define(tenant, id, definition, parsed);
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
            }
            Action::DeleteAlarm { alarm } => {
                self.engine.delete_alarm(Uuid::parse_str(&alarm).unwrap());
            }
            Action::DeleteDefinition { label } => {
                self.engine.delete_definition(self.definitions[label]);
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

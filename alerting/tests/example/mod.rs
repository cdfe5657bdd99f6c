//! Reads the file of examples, drives a [`Subject`] through each and compares.

use std::collections::{BTreeMap, BTreeSet};

use moneta_alerting::{Alarm, PartState, State, Transition, UndeterminedLogic};
use serde::Deserialize;

/// What an example is run on.
pub(crate) trait Subject {
    /// The clock moves to `now_ms`; everything due up to then happens.
    fn advance(&mut self, now_ms: i64);
    /// Something happens now.
    fn act(&mut self, action: Action<'_>);
    /// All alarms of all tenants.
    fn alarms(&mut self) -> Vec<Alarm>;
    /// Number of candidates, if it can be told.
    fn waiting(&mut self) -> Option<usize>;
    /// The transitions since the last call, in order per alarm.
    fn new_transitions(&mut self) -> Vec<Transition>;
}

/// Settings of an example, in seconds.
#[derive(Clone, Copy)]
pub(crate) struct ExampleSettings {
    pub(crate) alarm_delay: u32,
    pub(crate) future_tolerance: u32,
}

/// A step of an example. Definitions go by their labels, alarms by their ids.
pub(crate) enum Action<'a> {
    Define {
        label: &'a str,
        tenant: &'a str,
        expression: &'a str,
        match_by: &'a [String],
        logic: UndeterminedLogic,
        empty_coefficient: u32,
    },
    Create {
        label: &'a str,
        series: Vec<&'a Series>,
    },
    Sample {
        series: &'a Series,
        time_ms: i64,
        value: f64,
    },
    SetState {
        alarm: String,
        state: State,
    },
    Update {
        label: &'a str,
        expression: Option<&'a str>,
        logic: Option<UndeterminedLogic>,
        empty_coefficient: Option<u32>,
    },
    DeleteAlarm {
        alarm: String,
    },
    DeleteDefinition {
        label: &'a str,
    },
    Restart,
}

/// A metric identity.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Series {
    pub(crate) tenant: String,
    pub(crate) name: String,
    pub(crate) dimensions: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct File {
    origin: i64,
    examples: Vec<Example>,
}

/// One worked example.
#[derive(Deserialize)]
pub(crate) struct Example {
    pub(crate) id: String,
    pub(crate) title: String,
    #[serde(default = "thirty")]
    alarm_delay: u32,
    #[serde(default = "sixty")]
    future_tolerance: u32,
    series: BTreeMap<String, Series>,
    steps: Vec<Step>,
    #[serde(skip)]
    origin: i64,
}

fn thirty() -> u32 {
    30
}

fn sixty() -> u32 {
    60
}

#[derive(Deserialize)]
struct Step {
    t: f64,
    #[serde(flatten)]
    operation: Operation,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Operation {
    Define {
        definition: String,
        tenant: String,
        expression: String,
        #[serde(default)]
        match_by: Vec<String>,
        #[serde(default)]
        undetermined_logic: UndeterminedLogic,
        #[serde(default = "two")]
        empty_coefficient: u32,
    },
    Create {
        definition: String,
        series: Vec<String>,
    },
    M {
        series: String,
        ts: f64,
        v: f64,
    },
    Tick,
    Api {
        alarm: String,
        state: State,
    },
    Update {
        definition: String,
        expression: Option<String>,
        undetermined_logic: Option<UndeterminedLogic>,
        empty_coefficient: Option<u32>,
    },
    DeleteAlarm {
        alarm: String,
    },
    DeleteDefinition {
        definition: String,
    },
    Restart,
}

fn two() -> u32 {
    2
}

#[derive(Deserialize)]
struct Expect {
    alarms: Vec<ExpectedAlarm>,
    waiting: Option<usize>,
    #[serde(default)]
    transitions: Vec<ExpectedTransition>,
}

#[derive(Deserialize)]
struct ExpectedAlarm {
    alarm: String,
    definition: String,
    #[serde(rename = "match")]
    key: BTreeMap<String, String>,
    series: Vec<String>,
    state: State,
    subs: Vec<State>,
}

#[derive(Deserialize)]
struct ExpectedTransition {
    at: f64,
    alarm: String,
    from: State,
    to: State,
    reason: String,
    listed: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    sub: usize,
    #[serde(default)]
    values: Vec<f64>,
}

/// All examples of the file.
pub(crate) fn examples() -> Vec<Example> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/alarming-conformance.json");
    let file: File = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let origin = file.origin;
    file.examples.into_iter().map(|example| Example { origin, ..example }).collect()
}

impl Example {
    fn millis(&self, seconds: f64) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "seconds of a day with three decimals")]
        let ms = (seconds * 1000.0).round() as i64;
        self.origin * 1000 + ms
    }

    /// Drives a subject through all steps; the first difference is the error.
    pub(crate) fn run(
        &self,
        subject: impl FnOnce(ExampleSettings) -> Box<dyn Subject>,
    ) -> Result<(), String> {
        let mut subject = subject(ExampleSettings {
            alarm_delay: self.alarm_delay,
            future_tolerance: self.future_tolerance,
        });
        let mut ids: BTreeMap<String, String> = BTreeMap::new();
        for (at, step) in self.steps.iter().enumerate() {
            subject.advance(self.millis(step.t));
            if let Some(action) = self.action(&step.operation, &ids) {
                subject.act(action);
            }
            let transitions = subject.new_transitions();
            self.compare(step, &subject.alarms(), subject.waiting(), &transitions, &mut ids)
                .map_err(|difference| format!("step {at} (t={}): {difference}", step.t))?;
        }
        Ok(())
    }

    fn action<'a>(
        &'a self,
        operation: &'a Operation,
        ids: &BTreeMap<String, String>,
    ) -> Option<Action<'a>> {
        let id = |label: &str| ids.get(label).cloned().unwrap_or_default();
        Some(match operation {
            Operation::Tick => return None,
            Operation::Define {
                definition,
                tenant,
                expression,
                match_by,
                undetermined_logic,
                empty_coefficient,
            } => Action::Define {
                label: definition,
                tenant,
                expression,
                match_by,
                logic: *undetermined_logic,
                empty_coefficient: *empty_coefficient,
            },
            Operation::Create { definition, series } => Action::Create {
                label: definition,
                series: series.iter().map(|label| &self.series[label]).collect(),
            },
            Operation::M { series, ts, v } => Action::Sample {
                series: &self.series[series],
                time_ms: self.millis(*ts),
                value: *v,
            },
            Operation::Api { alarm, state } => Action::SetState { alarm: id(alarm), state: *state },
            Operation::Update { definition, expression, undetermined_logic, empty_coefficient } => {
                Action::Update {
                    label: definition,
                    expression: expression.as_deref(),
                    logic: *undetermined_logic,
                    empty_coefficient: *empty_coefficient,
                }
            }
            Operation::DeleteAlarm { alarm } => Action::DeleteAlarm { alarm: id(alarm) },
            Operation::DeleteDefinition { definition } => {
                Action::DeleteDefinition { label: definition }
            }
            Operation::Restart => Action::Restart,
        })
    }

    fn compare(
        &self,
        step: &Step,
        alarms: &[Alarm],
        waiting: Option<usize>,
        transitions: &[Transition],
        ids: &mut BTreeMap<String, String>,
    ) -> Result<(), String> {
        let expect = &step.expect;
        if alarms.len() != expect.alarms.len() {
            return Err(format!("{} alarms, not {}", alarms.len(), expect.alarms.len()));
        }
        let mut labelled: Vec<&ExpectedAlarm> = expect.alarms.iter().collect();
        // Labels that have an id come first: a new one must not claim an alarm that has a label.
        labelled.sort_by_key(|want| !ids.contains_key(&want.alarm));
        for want in labelled {
            let id = match ids.get(&want.alarm) {
                Some(id) => id.clone(),
                None => {
                    let taken: BTreeSet<&String> = ids.values().collect();
                    let found = alarms
                        .iter()
                        .find(|have| !taken.contains(&have.id) && self.same_place(want, have));
                    let Some(found) = found else {
                        return Err(format!("no new alarm is {}", want.alarm));
                    };
                    ids.insert(want.alarm.clone(), found.id.clone());
                    found.id.clone()
                }
            };
            let Some(have) = alarms.iter().find(|have| have.id == id) else {
                return Err(format!("{} is gone", want.alarm));
            };
            if !self.same_place(want, have) {
                return Err(format!("{}: key {} of {:?}", want.alarm, have.key, have.metrics));
            }
            if (have.state, &have.parts) != (want.state, &want.subs) {
                return Err(format!(
                    "{} is {:?} {:?}, not {:?} {:?}",
                    want.alarm, have.state, have.parts, want.state, want.subs
                ));
            }
        }
        if let (Some(want), Some(have)) = (expect.waiting, waiting)
            && want != have
        {
            return Err(format!("{have} candidates wait, not {want}"));
        }
        self.compare_transitions(&expect.transitions, transitions, ids)
    }

    /// Whether definition (subjects name it by its label), key and series are those expected.
    fn same_place(&self, want: &ExpectedAlarm, have: &Alarm) -> bool {
        let key: BTreeMap<String, String> =
            have.key.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let wanted: BTreeSet<(&String, &BTreeMap<String, String>)> = want
            .series
            .iter()
            .map(|label| &self.series[label])
            .map(|series| (&series.name, &series.dimensions))
            .collect();
        let metrics = have.metrics.iter().map(|metric| (&metric.name, &metric.dimensions));
        have.definition_name == want.definition
            && key == want.key
            && metrics.collect::<BTreeSet<_>>() == wanted
    }

    fn compare_transitions(
        &self,
        want: &[ExpectedTransition],
        have: &[Transition],
        ids: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        // The order counts per alarm only.
        let mut want: Vec<&ExpectedTransition> = want.iter().collect();
        want.sort_by_key(|transition| ids.get(&transition.alarm));
        let mut have: Vec<&Transition> = have.iter().collect();
        have.sort_by_key(|transition| Some(&transition.alarm_id));
        let shown = || format!("{have:?}");
        if want.len() != have.len() {
            return Err(format!("{} transitions, not {}: {}", have.len(), want.len(), shown()));
        }
        for (want, have) in want.iter().zip(&have) {
            let listed: Vec<(State, Vec<f64>)> =
                want.listed.iter().map(|part| (want.to, part.values.clone())).collect();
            let parts: Vec<(State, Vec<f64>)> = want
                .listed
                .iter()
                .filter_map(|part| have.parts.get(part.sub))
                .map(|part: &PartState| (part.state, part.values.clone()))
                .collect();
            let same = ids.get(&want.alarm) == Some(&have.alarm_id)
                && self.millis(want.at) == have.time
                && (want.from, want.to) == (have.old_state, have.new_state)
                && want.reason == have.reason
                && listed == parts;
            if !same {
                return Err(format!(
                    "not at {} {} {:?}→{:?} {}: {}",
                    want.at,
                    want.alarm,
                    want.from,
                    want.to,
                    want.reason,
                    shown()
                ));
            }
        }
        Ok(())
    }
}

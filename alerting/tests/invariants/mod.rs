//! What holds for every history of samples, commands, restarts and crashes.

use std::collections::{BTreeMap, BTreeSet};

use crate::example::{Action, ExampleSettings, Series, Subject};
use crate::memory::MemoryEngine;
use moneta_alerting::{Alarm, State, Transition, UndeterminedLogic};
use proptest::prelude::*;

const START_MS: i64 = 1_735_171_200_000;
const EXPRESSIONS: [&str; 7] = [
    "max(a) > 50",
    "avg(a, 20) > 50 times 2 or min(b) < 20",
    "count(a, deterministic) >= 2 and sum(b, 30) < 90",
    "last(a) > 50 and max(b, 10) <= 60 times 3",
    "sum(a, deterministic, 7) > 60 times 2",
    "min(a) >= 30 times 2 and count(b) < 3",
    "avg(a) > 50 and avg(a) > 30",
];

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    /// Samples of one request: series, seconds from now, value.
    Write(Vec<(usize, i64, u8)>),
    Pass(i64),
    SetState(State),
    Delete,
    Update(usize),
    /// Creates a second definition, or deletes it.
    Second,
    /// Of no effect on what is seen from outside.
    Upset(Upset),
}

#[derive(Clone, Copy, Debug)]
enum Upset {
    Checkpoint,
    Restart,
    Crash,
    /// A crash after a write that was evaluated, before anything was stored.
    LoseLastCommit,
}

fn rows() -> impl Strategy<Value = Vec<(usize, i64, u8)>> {
    let offset = prop_oneof![4 => -30i64..5, 1 => -300i64..150];
    prop::collection::vec((0..SERIES, offset, 0u8..100), 1..4)
}

fn event() -> impl Strategy<Value = Event> {
    let state = prop_oneof![Just(State::Ok), Just(State::Alarm), Just(State::Undetermined)];
    let upset = prop_oneof![
        Just(Upset::Checkpoint),
        Just(Upset::Restart),
        Just(Upset::Crash),
        Just(Upset::LoseLastCommit)
    ];
    prop_oneof![
        8 => rows().prop_map(Event::Write),
        6 => (1i64..70).prop_map(Event::Pass),
        1 => state.prop_map(Event::SetState),
        1 => Just(Event::Delete),
        1 => (0usize..3).prop_map(Event::Update),
        1 => Just(Event::Second),
        4 => upset.prop_map(Event::Upset),
    ]
}

/// Number of series: two metrics with each of these dimensions.
const SERIES: usize = 10;

fn series(at: usize) -> Series {
    let (h, n) = [("1", "0"), ("1", "1"), ("2", ""), ("1", ""), ("", "0")][at / 2 % 5];
    let pairs = [("h", h), ("n", n)].into_iter().filter(|(_, value)| !value.is_empty());
    Series {
        tenant: "t".into(),
        name: ["a", "b"][at % 2].into(),
        dimensions: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    }
}

/// The variants an update changes between: the metrics stay, all else may change.
fn changed(expression: &str, variant: usize) -> String {
    match variant {
        0 => expression.to_owned(),
        1 => expression.replace("50", "40").replace(", 20)", ", 15)").replace(" or ", " and "),
        _ => expression.replace("max(", "avg(").replace("times 2", "times 3"),
    }
}

struct Run {
    engine: MemoryEngine,
    now: i64,
    expression: &'static str,
    second: bool,
    transitions: Vec<Transition>,
    deterministic: bool,
}

impl Run {
    fn new(expression: usize, match_by: usize, kleene: bool) -> Self {
        let settings = ExampleSettings { alarm_delay: 30, future_tolerance: 60 };
        let mut engine = MemoryEngine::new(settings);
        engine.advance(START_MS);
        let expression = EXPRESSIONS[expression];
        engine.act(Action::Define {
            label: "D",
            tenant: "t",
            expression,
            match_by: &["h".to_owned(), "n".to_owned()][..match_by],
            logic: if kleene { UndeterminedLogic::Kleene } else { UndeterminedLogic::Strict },
            empty_coefficient: 1,
        });
        let parsed = moneta_alerting::expression::Expression::parse(expression).unwrap();
        let deterministic = parsed.deterministic();
        Run {
            engine,
            now: START_MS,
            expression,
            second: false,
            transitions: Vec::new(),
            deterministic,
        }
    }

    fn rows(&self, rows: &[(usize, i64, u8)]) -> Vec<(Series, i64, f64)> {
        // The greatest stands for no number: stored, but no data.
        let row = |(at, offset, value): &(usize, i64, u8)| {
            let value = if *value < 99 { f64::from(*value) * 1.1 } else { f64::NAN };
            (series(*at), self.now + offset * 1000, value)
        };
        rows.iter().map(row).collect()
    }

    fn oldest(&mut self) -> Option<Alarm> {
        let mut alarms = self.engine.alarms();
        alarms.sort_by_key(|alarm| (alarm.created, alarm.key.clone()));
        alarms.into_iter().next()
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Write(rows) => {
                let rows = self.rows(rows);
                self.engine.write(&rows);
            }
            Event::Pass(seconds) => {
                self.now += seconds * 1000;
                self.engine.advance(self.now);
            }
            Event::SetState(state) => {
                if let Some(alarm) = self.oldest() {
                    self.engine.act(Action::SetState { alarm: alarm.id, state: *state });
                }
            }
            Event::Delete => {
                if let Some(alarm) = self.oldest() {
                    self.engine.act(Action::DeleteAlarm { alarm: alarm.id });
                }
            }
            Event::Update(variant) => {
                let expression = changed(self.expression, *variant);
                self.engine.act(Action::Update {
                    label: "D",
                    expression: Some(&expression),
                    logic: None,
                    empty_coefficient: None,
                });
            }
            Event::Second if self.second => {
                self.second = false;
                self.engine.act(Action::DeleteDefinition { label: "E" });
            }
            Event::Second => {
                self.second = true;
                self.engine.act(Action::Define {
                    label: "E",
                    tenant: "t",
                    expression: "max(a) > 70 or last(b) < 10",
                    match_by: &["h".to_owned()],
                    logic: UndeterminedLogic::Kleene,
                    empty_coefficient: 2,
                });
            }
            Event::Upset(Upset::Checkpoint) => self.engine.checkpoint(),
            Event::Upset(Upset::Restart) => self.engine.restart(),
            Event::Upset(Upset::Crash | Upset::LoseLastCommit) => self.engine.crash(),
        }
        let new = self.engine.new_transitions();
        self.transitions.extend(new);
    }

    /// Alarms by key with state, parts and times; transitions likewise, per alarm in order.
    fn shown(&mut self) -> (Vec<String>, Vec<String>) {
        let alarm = |alarm: &Alarm| {
            format!(
                "{} {} {:?} {:?} {:?} {} {} {}",
                alarm.definition_name,
                alarm.key,
                alarm.metrics,
                alarm.state,
                alarm.parts,
                alarm.created,
                alarm.state_updated,
                alarm.updated
            )
        };
        let mut alarms: Vec<String> = self.engine.alarms().iter().map(alarm).collect();
        alarms.sort();
        let transition = |t: &Transition| {
            format!("{} {:?} {:?}→{:?} {}", t.time, t.metrics, t.old_state, t.new_state, t.reason)
        };
        let mut transitions: Vec<String> = self.transitions.iter().map(transition).collect();
        // Alarms at one instant have no order among each other.
        transitions.sort();
        (alarms, transitions)
    }
}

/// Events whose upsets are merged with the writes before them, and the same without any.
fn run(events: &[Event], upset: bool, setup: (usize, usize, bool)) -> Run {
    let mut run = Run::new(setup.0, setup.1, setup.2);
    let mut at = 0;
    while let Some(event) = events.get(at) {
        let loses = matches!(events.get(at + 1), Some(Event::Upset(Upset::LoseLastCommit)));
        if let (Event::Write(rows), true, true) = (event, upset, loses) {
            let rows = run.rows(rows);
            run.engine.write_uncommitted(&rows);
        } else if upset || !matches!(event, Event::Upset(_)) {
            run.happen(event);
        }
        at += 1;
    }
    run
}

fn setup() -> impl Strategy<Value = (usize, usize, bool)> {
    (0..EXPRESSIONS.len(), 0usize..3, any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Invariant 7, and that a crash neither loses nor invents a transition.
    #[test]
    fn restarts_and_crashes_change_nothing(
        events in prop::collection::vec(event(), 1..60), setup in setup()
    ) {
        let calm = run(&events, false, setup).shown();
        let upset = run(&events, true, setup).shown();
        prop_assert_eq!(calm, upset);
    }

    /// Invariants 2, 3, 4, 5, 8 and 9.
    #[test]
    fn alarms_and_transitions_fit_together(
        events in prop::collection::vec(event(), 1..60), setup in setup()
    ) {
        let mut run = run(&events, true, setup);
        let mut alarms = run.engine.alarms();
        alarms.retain(|alarm| alarm.definition_name == "D");
        if setup.1 == 0 {
            prop_assert!(alarms.len() <= 1);
        }
        let mut last: BTreeMap<String, Transition> = BTreeMap::new();
        for transition in &run.transitions {
            prop_assert_ne!(transition.old_state, transition.new_state);
            if let Some(before) = last.get(&transition.alarm_id) {
                prop_assert_eq!(before.new_state, transition.old_state);
            }
            if run.deterministic && transition.alarm_name == "D" && !transition.parts.is_empty() {
                prop_assert_ne!(transition.new_state, State::Undetermined);
            }
            for part in &transition.parts {
                prop_assert!(part.expression.function != "COUNT" || !part.values.contains(&0.0));
            }
            last.insert(transition.alarm_id.clone(), transition.clone());
        }
        for alarm in &alarms {
            let since = last.get(&alarm.id).map_or(alarm.created.millis(), |last| last.time);
            prop_assert_eq!(alarm.state_updated.millis(), since);
            let names: BTreeSet<&str> = alarm.metrics.iter().map(|m| m.name.as_str()).collect();
            let wanted = if run.expression.contains("(b") { 2 } else { 1 };
            prop_assert!(names.len() >= wanted);
        }
    }

    /// Invariant 11.
    #[test]
    fn repeating_every_sample_changes_nothing(
        events in prop::collection::vec(event(), 1..60), setup in setup()
    ) {
        let twice: Vec<Event> = events
            .iter()
            .flat_map(|event| {
                let Event::Write(rows) = event else { return vec![event.clone()] };
                // Each sample once and all again; one series and time has one value in a request,
                // else the second of them would be a change back.
                let unique: BTreeMap<(usize, i64), u8> =
                    rows.iter().map(|(s, t, v)| ((*s, *t), *v)).collect();
                let rows: Vec<_> = unique.iter().map(|((s, t), v)| (*s, *t, *v)).collect();
                vec![Event::Write(rows.clone()), Event::Write(rows)]
            })
            .collect();
        let once: Vec<Event> = twice
            .iter()
            .enumerate()
            .filter(|(at, event)| {
                let before = at.checked_sub(1).and_then(|at| twice.get(at));
                !matches!((before, event), (Some(Event::Write(a)), Event::Write(b)) if a == b)
            })
            .map(|(_, event)| event.clone())
            .collect();
        prop_assert_eq!(run(&once, false, setup).shown(), run(&twice, false, setup).shown());
    }

    /// Invariant 1: samples exchanged between two timers give the same states at the next.
    #[test]
    fn the_order_of_arrival_does_not_matter(
        (rows, shuffled) in prop::collection::btree_map((0..SERIES, -60i64..0), 0u8..100, 1..20)
            .prop_flat_map(|rows| {
                let rows: Vec<_> = rows.into_iter().map(|((s, t), v)| (s, t, v)).collect();
                (Just(rows.clone()), Just(rows).prop_shuffle())
            }),
        which in 0usize..7, match_by in 0usize..3, kleene: bool
    ) {
        let states = |rows: &[(usize, i64, u8)]| {
            let mut run = Run::new(which, match_by, kleene);
            // All groups exist and none is judged in between; the next timers judge everything.
            run.happen(&Event::Pass(65));
            run.happen(&Event::Write((0..SERIES).map(|at| (at, -1000, 0)).collect()));
            for row in rows {
                run.happen(&Event::Write(vec![*row]));
            }
            run.happen(&Event::Pass(120));
            let alarms = run.engine.alarms().into_iter();
            let mut shown: Vec<_> =
                alarms.map(|alarm| (alarm.key.to_string(), alarm.state, alarm.parts)).collect();
            shown.sort_by(|a, b| a.0.cmp(&b.0));
            shown
        };
        prop_assert_eq!(states(&rows), states(&shuffled));
    }
}

//! Rollups against a naive map: random writes in and out of order, deletions, changes of policy, passing
//! time, flushes, merges, sweeps, rolls and reopening. While samples are kept, statistics are theirs;
//! of what has expired they are what the samples said when they were rolled up last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use moneta_storage::clock::ManualClock;
use moneta_storage::deletion::DeletionRequest;
use moneta_storage::model::{Keep, Selector, SeriesKey, TimeRange, Timestamp};
use moneta_storage::repair::{Mode, repair};
use moneta_storage::retention::{MetricPattern, Policies, Policy, RollupPolicy, RollupStep};
use moneta_storage::rollup::Slot;
use moneta_storage::verify::verify;
use moneta_storage::view::Piece;
use moneta_storage::{Error, Store};
use moneta_tests::{copy_folder, key, of_host, open, reopen, write};
use proptest::prelude::*;

const START: i64 = 20_400 * DAY;
const MINUTE: i64 = 60 * 1000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const SERIES: u8 = 4;
const STEPS: [RollupStep; 2] = RollupStep::ALL;

mod model;
mod sums;

use model::{Known, Model, Sums};

#[derive(Clone, Debug)]
enum Op {
    /// Samples of one request: series, minutes before now, value.
    Write(Vec<(u8, i64, i16)>),
    /// A regular series: many samples in a slot.
    Backfill {
        series: u8,
        start: i64,
        count: i64,
    },
    /// Deletes series of a host, from so many minutes before now, for so many minutes.
    Delete {
        host: u8,
        start: i64,
        length: i64,
    },
    Policies(usize),
    /// Hours.
    Wait(i64),
    Flush,
    Merge,
    Sweep,
    Roll,
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let sample = (0_u8..SERIES, 0_i64..5000, any::<i16>());
    prop_oneof![
        6 => prop::collection::vec(sample, 1..40).prop_map(Op::Write),
        3 => (0_u8..SERIES, 0_i64..4000, 100_i64..1500)
            .prop_map(|(series, start, count)| Op::Backfill { series, start, count }),
        2 => (0..2_u8, 0_i64..6000, 1_i64..3000)
            .prop_map(|(host, start, length)| Op::Delete { host, start, length }),
        2 => (0..5_usize).prop_map(Op::Policies),
        3 => (1_i64..30).prop_map(Op::Wait),
        2 => Just(Op::Flush),
        2 => Just(Op::Merge),
        3 => Just(Op::Sweep),
        4 => Just(Op::Roll),
        1 => Just(Op::Reopen),
    ]
}

fn policies(number: usize) -> Policies {
    let policy = |metric: &str, hours: u64, steps: &[RollupStep]| Policy {
        tenant: None,
        metric: MetricPattern::parse(metric).unwrap(),
        raw: Keep::For(Duration::from_secs(hours * 3600)),
        rollups: steps.iter().map(|&step| RollupPolicy { step, keep: Keep::Forever }).collect(),
    };
    let all = match number {
        0 => vec![],
        1 => vec![policy("*", 40, &STEPS)],
        2 => vec![policy("cpu", 30, &[RollupStep::Hour]), policy("mem", 50, &STEPS)],
        3 => vec![policy("cpu", 7, &[RollupStep::FiveMinutes]), policy("mem", 60, &[])],
        _ => vec![policy("cpu", 1000, &STEPS), policy("mem", 20, &[RollupStep::Hour])],
    };
    Policies::new(all).unwrap()
}

fn metric_of(series: u8) -> &'static str {
    ["cpu", "mem"][usize::from(series % 2)]
}

fn series_key(series: u8) -> SeriesKey {
    key(metric_of(series), &[("host", &format!("h{}", series / 2)), ("zone", "z")])
}

fn by_window(store: &Store, series: u8, range: TimeRange, window: i64) -> BTreeMap<i64, Sums> {
    let tenant = store.tenant("t").unwrap();
    let Some(id) = store.find_series(tenant, &series_key(series)).unwrap() else {
        return BTreeMap::new();
    };
    let mut windows: BTreeMap<i64, Option<Sums>> = BTreeMap::new();
    let mut last = i64::MIN;
    let view = store.view(tenant);
    view.fold(&[id], range, Some(window), u64::MAX, |_, piece| {
        let mut add = |time: i64, sums: Sums| {
            assert!(time > last, "pieces ascend");
            last = time;
            let start = time.div_euclid(window) * window;
            Sums::join(windows.entry(start).or_default(), sums);
        };
        match piece {
            Piece::Samples(times, values) => {
                times.iter().zip(values).for_each(|(time, value)| add(*time, Sums::of(*value)));
            }
            Piece::Summary(s) => {
                add(s.first_time.millis(), Sums(s.count, s.sum, s.min, s.max));
            }
            Piece::Slot(slot) => add(slot.start.millis(), Sums::from(slot)),
        }
        Ok::<_, Error>(())
    })
    .unwrap();
    windows.into_iter().filter_map(|(start, sums)| Some((start, sums?))).collect()
}

struct Run {
    directory: tempfile::TempDir,
    store: Store,
    clock: Arc<ManualClock>,
    now: i64,
    policies: usize,
    model: Model,
}

impl Run {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, clock) = open(directory.path(), START).unwrap();
        store.tenant("t").unwrap();
        Run { directory, store, clock, now: START, policies: 0, model: Model::default() }
    }

    fn ago(&self, minutes: i64) -> i64 {
        self.now - minutes * MINUTE
    }

    fn roll(&mut self) {
        self.store.roll().unwrap();
        self.model.roll(self.now);
    }

    fn write(&mut self, samples: &[(u8, i64, f64)]) {
        let id = self.store.tenant("t").unwrap();
        // What no policy keeps is refused.
        let oldest = if self.policies == 1 { self.now - 40 * HOUR } else { i64::MIN };
        let kept = samples.iter().copied().filter(|(_, time, _)| *time >= oldest);
        let samples = &kept.collect::<Vec<_>>();
        let keys: Vec<SeriesKey> = samples.iter().map(|s| series_key(s.0)).collect();
        let rows: Vec<_> =
            samples.iter().zip(&keys).map(|(s, key)| (key, s.1, s.2, None)).collect();
        write(&self.store, id, &rows).unwrap();
        for &(series, time, value) in samples {
            self.model.write(series, time, value);
        }
    }

    fn carry_out(&mut self, op: Op) {
        match op {
            Op::Write(samples) => {
                let samples: Vec<_> =
                    samples.iter().map(|s| (s.0, self.ago(s.1), f64::from(s.2))).collect();
                self.write(&samples);
            }
            Op::Backfill { series, start, count } => {
                let samples: Vec<_> =
                    (0..count).map(|i| (series, self.ago(start + i), (i % 7) as f64)).collect();
                self.write(&samples);
            }
            Op::Delete { host, start, length } => {
                let from = Timestamp::from_millis(self.ago(start));
                let times = TimeRange::new(from, from.plus_millis(length * MINUTE));
                let selector = of_host(&format!("h{host}"));
                let tenant = self.store.tenant("t").unwrap();
                let (by, what) = ("test".to_owned(), "test".to_owned());
                let request = DeletionRequest { tenant, selector, times, by, what };
                if let Err(error) = self.store.delete(request) {
                    assert!(error.to_string().contains("no series"), "{error}");
                }
                self.model.delete(host, times);
                // At once, and also when all is done.
                self.check(HOUR);
                self.roll();
            }
            Op::Policies(number) => {
                self.model.set_policies(number);
                self.store.set_retention(policies(number)).unwrap();
                self.policies = number;
                self.model.expire(self.now);
                self.store.sweep().unwrap();
                self.roll();
            }
            Op::Wait(hours) => {
                for _ in 0..hours {
                    self.now += HOUR;
                    self.clock.set(Timestamp::from_millis(self.now));
                    // Whoever reads sees the time pass; a day without anybody would be a leap.
                    drop(self.store.view(self.store.tenant("t").unwrap()));
                }
            }
            Op::Flush => self.store.flush().unwrap(),
            Op::Merge => self.store.merge().unwrap(),
            Op::Sweep => {
                self.roll();
                self.store.sweep().unwrap();
            }
            Op::Roll => self.roll(),
            Op::Reopen => {
                self.clock = reopen(&mut self.store, self.directory.path(), self.now).unwrap();
            }
        }
        self.model.expire(self.now);
    }

    /// Compares windows of whole hours.
    #[track_caller]
    fn check(&self, window: i64) {
        let first = START - 12 * DAY;
        let range = TimeRange::new(
            Timestamp::from_millis(first),
            Timestamp::from_millis((self.now / DAY + 1) * DAY),
        );
        for series in 0..SERIES {
            let got = by_window(&self.store, series, range, window);
            for start in (first..range.end.millis()).step_by(usize::try_from(window).unwrap()) {
                let mut want = None;
                let hours = (start..start + window).step_by(3_600_000);
                let open = hours.map(|hour| self.model.hour(series, hour)).any(|hour| {
                    if let Known::Is(Some(sums)) = hour {
                        Sums::join(&mut want, sums);
                    }
                    hour == Known::Open
                });
                if !open {
                    let hour = (start - START) / HOUR;
                    assert_eq!(got.get(&start).copied(), want, "series {series}, hour {hour}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn statistics_are_those_of_the_samples(
        first in 1..5_usize,
        ops in prop::collection::vec(op(), 1..30),
        window in prop_oneof![Just(HOUR), Just(6 * HOUR), Just(DAY)],
    ) {
        let mut run = Run::new();
        // What is not there has no floors.
        let samples: Vec<_> = (0..SERIES).map(|series| (series, START, 1.0)).collect();
        run.write(&samples);
        run.carry_out(Op::Policies(first));
        for op in ops {
            run.carry_out(op);
            run.check(window);
        }
        run.store.verify().unwrap();
        let path = run.directory.path().to_path_buf();
        drop(run.store);
        prop_assert_eq!(verify(&path, &|_, _| {}).unwrap().problems, []);
    }
}

/// Five days of two series, a sample a minute, rolled up.
fn rolled(policy: usize) -> Run {
    let mut run = Run::new();
    run.carry_out(Op::Policies(policy));
    for _ in 0..5 {
        run.carry_out(Op::Wait(24));
        for series in [0, 1] {
            run.carry_out(Op::Backfill { series, start: 1, count: 24 * 60 });
        }
        run.carry_out(Op::Roll);
    }
    run
}

#[test]
fn samples_go_and_rollups_stay() {
    let mut run = rolled(1);
    let before = run.store.stats();
    // Of each of five days that are over, two rollups.
    assert_eq!(before.rollup_segments, 10);
    run.check(HOUR);
    run.carry_out(Op::Wait(100 * 24));
    run.carry_out(Op::Roll);
    run.store.sweep().unwrap();
    assert_eq!(run.store.stats().segments, 0);
    run.check(HOUR);
    let want = by_window(&run.store, 0, TimeRange::ALL, DAY);
    assert_eq!(want.values().map(|sums| sums.0).sum::<u64>(), 5 * 24 * 60);
    // The series stay, and can be found by their time.
    let tenant = run.store.tenant("t").unwrap();
    let span = TimeRange::new(
        Timestamp::from_millis(START + HOUR),
        Timestamp::from_millis(START + 3 * HOUR),
    );
    let selector = Selector { active: Some(span), ..Selector::default() };
    assert_eq!(run.store.select(tenant, &selector).unwrap().len(), 2);
    run.carry_out(Op::Reopen);
    run.check(HOUR);
    // What is deleted takes the slots with it that it overlaps, and never comes back.
    run.carry_out(Op::Delete { host: 0, start: (102 * 24) * 60, length: 61 });
    run.check(HOUR);
    run.store.sweep().unwrap();
    run.carry_out(Op::Reopen);
    run.check(HOUR);
    // No policy asks any more.
    run.carry_out(Op::Policies(0));
    assert_eq!(run.store.stats().rollup_segments, 0);
    assert_eq!(run.store.select(tenant, &Selector::default()).unwrap().len(), 0);
}

#[test]
fn windows_finer_than_the_slots_that_are_left_are_said_to_be_coarse() {
    let mut run = rolled(2);
    run.carry_out(Op::Wait(100 * 24));
    let tenant = run.store.tenant("t").unwrap();
    let fold = |series: u8, window: i64| {
        let view = run.store.view(tenant);
        let id = run.store.find_series(tenant, &series_key(series)).unwrap().unwrap();
        let mut count = 0;
        view.fold(&[id], TimeRange::ALL, Some(window), u64::MAX, |_, piece| {
            let Piece::Slot(slot) = piece else { panic!("nothing else is left") };
            count += slot.count;
            Ok::<_, Error>(())
        })
        .unwrap();
        (count, view.resolution())
    };
    let all = 5 * 24 * 60;
    assert_eq!(fold(0, HOUR), (all, None));
    assert_eq!(fold(0, MINUTE), (all, Some(HOUR)), "of cpu there are hours");
    assert_eq!(fold(1, MINUTE), (all, Some(5 * MINUTE)), "of mem there is finer");
    assert_eq!(fold(1, 10 * MINUTE), (all, None));
}

#[test]
fn first_last_and_increase_are_kept() {
    let mut run = Run::new();
    run.carry_out(Op::Policies(1));
    let samples: Vec<_> = [5.0, 7.0, 2.0, 3.0]
        .into_iter()
        .zip(0..)
        .map(|(v, i)| (0, START + i * MINUTE, v))
        .collect();
    run.write(&samples);
    run.carry_out(Op::Wait(24));
    run.carry_out(Op::Roll);
    let tenant = run.store.tenant("t").unwrap();
    let id = run.store.find_series(tenant, &series_key(0)).unwrap().unwrap();
    let mut slots = Vec::new();
    let view = run.store.view(tenant);
    view.fold(&[id], TimeRange::ALL, Some(HOUR), u64::MAX, |_, piece| {
        let Piece::Slot(slot) = piece else { panic!("all of it is rolled up") };
        slots.push(*slot);
        Ok::<_, Error>(())
    })
    .unwrap();
    let want = Slot {
        start: Timestamp::from_millis(START),
        step: RollupStep::Hour,
        count: 4,
        sum: 17.0,
        min: 2.0,
        max: 7.0,
        first: 5.0,
        last: 3.0,
        increase: 5.0,
    };
    assert_eq!(slots, [want]);
}

#[test]
fn rollups_are_in_snapshots_and_are_repaired() {
    let mut run = rolled(1);
    run.carry_out(Op::Wait(100 * 24));
    run.carry_out(Op::Sweep);
    let want = by_window(&run.store, 0, TimeRange::ALL, HOUR);
    assert_eq!(want.len(), 5 * 24);
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("copy");
    // Copied, because its files are links to those of the store.
    run.store.snapshot(&elsewhere.path().join("snapshot")).unwrap();
    copy_folder(&elsewhere.path().join("snapshot"), &copy).unwrap();
    let (store, _clock) = open(&copy, run.now).unwrap();
    assert_eq!(by_window(&store, 0, TimeRange::ALL, HOUR), want);
    store.close().unwrap();
    drop(store);
    // Of a damaged one only what is damaged is lost, and not for ever where there is another.
    let day = copy.join(format!("segments/tier-2/day+{}", START / DAY + 1));
    let file = std::fs::read_dir(day).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(!verify(&copy, &|_, _| {}).unwrap().problems.is_empty());
    repair(&copy, Mode::Apply, &|_, _| {}).unwrap();
    assert_eq!(verify(&copy, &|_, _| {}).unwrap().problems, []);
    let (store, _clock) = open(&copy, run.now).unwrap();
    store.roll().unwrap();
    let got = by_window(&store, 0, TimeRange::ALL, HOUR);
    let other_days = |windows: &BTreeMap<i64, Sums>| {
        let day = START + DAY..START + 2 * DAY;
        windows.iter().filter(|(at, _)| !day.contains(at)).map(|(at, s)| (*at, *s)).collect()
    };
    let (got, want): (Vec<_>, Vec<_>) = (other_days(&got), other_days(&want));
    assert_eq!(got, want);
}

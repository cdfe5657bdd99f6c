//! What is deleted or has expired, against a naive map: random writes, deletions, changes of policy,
//! passing time, flushes, merges, sweeps and reopening always give the same answers. What is gone
//! stays gone; what is written again after a deletion is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use moneta_storage::clock::ManualClock;
use moneta_storage::deletion::{DeletionRequest, DeletionState};
use moneta_storage::model::{Keep, Selector, SeriesKey, TenantId, TimeRange, Timestamp};
use moneta_storage::record::{RecordBatch, RecordKind};
use moneta_storage::retention::{MetricPattern, Policies, Policy};
use moneta_storage::verify::verify;
use moneta_storage::{Error, Store};
use moneta_tests::{Write, key, of_host, open, reopen, total, write};
use proptest::prelude::*;

const START: i64 = 20_400 * DAY;
const MINUTE: i64 = 60 * 1000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const TENANTS: [&str; 2] = ["one", "two"];
const SERIES: u8 = 6;

#[derive(Clone, Debug)]
enum Op {
    /// Samples of one request: series, minutes before now, value.
    Write {
        tenant: usize,
        samples: Vec<(u8, i64, i16)>,
    },
    /// A regular series long enough for series blocks.
    Backfill {
        series: u8,
        start: i64,
        count: i64,
    },
    /// Deletes series of a host, from so many minutes before now, for so many minutes.
    Delete {
        tenant: usize,
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
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let sample = (0_u8..SERIES, 0_i64..4000, any::<i16>());
    prop_oneof![
        8 => (0..2_usize, prop::collection::vec(sample, 1..40))
            .prop_map(|(tenant, samples)| Op::Write { tenant, samples }),
        2 => (0_u8..SERIES, 0_i64..3000, 100_i64..600)
            .prop_map(|(series, start, count)| Op::Backfill { series, start, count }),
        3 => (0..2_usize, 0..3_u8, 0_i64..4000, 1_i64..4000)
            .prop_map(|(tenant, host, start, length)| Op::Delete { tenant, host, start, length }),
        2 => (0..4_usize).prop_map(Op::Policies),
        2 => (1_i64..24).prop_map(Op::Wait),
        3 => Just(Op::Flush),
        2 => Just(Op::Merge),
        2 => Just(Op::Sweep),
        1 => Just(Op::Reopen),
    ]
}

fn policies(number: usize) -> Policies {
    let policy = |tenant: Option<&str>, metric: &str, hours: u64| Policy {
        tenant: tenant.map(str::to_owned),
        metric: MetricPattern::parse(metric).unwrap(),
        raw: Keep::For(Duration::from_secs(hours * 3600)),
        rollups: Vec::new(),
    };
    let all = match number {
        0 => vec![],
        1 => vec![policy(None, "cpu", 24)],
        2 => vec![policy(None, "*", 40), policy(Some("two"), "c*", 12)],
        _ => vec![policy(Some("one"), "mem", 7), policy(None, "*", 60)],
    };
    Policies::new(all).unwrap()
}

fn series_key(series: u8) -> SeriesKey {
    let metric = ["cpu", "mem"][usize::from(series % 2)];
    key(metric, &[("host", &format!("h{}", series / 2)), ("zone", "z")])
}

/// What should be seen: (tenant, series, time) → value.
#[derive(Default)]
struct Model {
    samples: BTreeMap<(usize, u8, i64), f64>,
    policies: usize,
    /// What had expired so far, by tenant and metric, of those of which something was ever stored.
    floors: BTreeMap<(usize, String), i64>,
}

impl Model {
    fn write(&mut self, tenant: usize, series: u8, time: i64, value: f64) {
        let metric = (tenant, series_key(series).metric);
        if time >= *self.floors.entry(metric).or_insert(i64::MIN) {
            self.samples.insert((tenant, series, time), value);
        }
    }

    fn delete(&mut self, tenant: usize, host: u8, range: TimeRange) {
        self.samples.retain(|(owner, series, time), _| {
            *owner != tenant || series / 2 != host || !range.contains(Timestamp::from_millis(*time))
        });
    }

    /// What is older is refused.
    fn oldest(&self, now: i64) -> i64 {
        match self.policies {
            0 | 1 => i64::MIN,
            2 => now - 40 * HOUR,
            _ => now - 60 * HOUR,
        }
    }

    /// Lets expire what is old now.
    fn expire(&mut self, now: i64) {
        let policies = policies(self.policies);
        for ((tenant, metric), floor) in &mut self.floors {
            if let Some(Policy { raw: Keep::For(span), .. }) = policies.of(TENANTS[*tenant], metric)
            {
                *floor = (now - i64::try_from(span.as_millis()).unwrap()).max(*floor);
            }
        }
        self.samples.retain(|(tenant, series, time), _| {
            let floor = self.floors.get(&(*tenant, series_key(*series).metric));
            floor.is_none_or(|floor| time >= floor)
        });
    }
}

fn check(store: &Store, model: &Model, range: TimeRange, window: Option<i64>) {
    for (tenant, name) in TENANTS.iter().enumerate() {
        let Some(id) = store.find_tenant(name) else { continue };
        let view = store.view(id);
        let mut active = BTreeSet::new();
        for series in 0..SERIES {
            let span = (tenant, series, range.start.millis())..(tenant, series, range.end.millis());
            let want: Vec<(i64, f64)> =
                model.samples.range(span).map(|((_, _, time), value)| (*time, *value)).collect();
            if !want.is_empty() {
                active.insert(series_key(series));
            }
            let Some(number) = store.find_series(id, &series_key(series)).unwrap() else {
                assert_eq!(want, []);
                continue;
            };
            let mut got = Vec::new();
            view.read(&[number], range, u64::MAX, |_, samples| {
                got = samples.times.into_iter().zip(samples.values).collect();
                Ok::<_, Error>(())
            })
            .unwrap();
            assert_eq!(got, want, "tenant {name}, series {series}");
            let total = total(&view, number, range, window).unwrap();
            let sum: f64 = want.iter().map(|(_, value)| value).sum();
            assert_eq!(total, (want.len() as u64, sum), "summaries and samples agree");
        }
        let selector = Selector { active: Some(range), ..Selector::default() };
        let got: BTreeSet<SeriesKey> = store
            .select(id, &selector)
            .unwrap()
            .into_iter()
            .map(|series| (*store.series(id, series).unwrap().unwrap()).clone())
            .collect();
        assert_eq!(got, active, "series of {name} with samples");
    }
}

fn host(host: u8) -> Selector {
    of_host(&format!("h{host}"))
}

fn delete(store: &Store, tenant: TenantId, selector: Selector, times: TimeRange) {
    let plan = store.plan_deletion(tenant, &selector, times).unwrap();
    let request =
        DeletionRequest { tenant, selector, times, by: "test".into(), what: "test".into() };
    match store.delete(request) {
        Ok(deletion) => assert_eq!(deletion.plan, plan),
        Err(error) => {
            assert_eq!(plan.series, 0, "{error}");
            assert!(error.to_string().contains("no series"), "{error}");
        }
    }
}

/// Writes; once more where the sweeper has just taken a series out of the index.
fn write_again(store: &Store, tenant: TenantId, rows: &[Write<'_>]) {
    while let Err(error) = write(store, tenant, rows) {
        assert!(matches!(error, Error::Removed), "{error}");
    }
}

struct Run {
    directory: tempfile::TempDir,
    store: Store,
    clock: Arc<ManualClock>,
    now: i64,
    model: Model,
}

impl Run {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, clock) = open(directory.path(), START).unwrap();
        Run { directory, store, clock, now: START, model: Model::default() }
    }

    fn ago(&self, minutes: i64) -> i64 {
        self.now - minutes * MINUTE
    }

    fn carry_out(&mut self, op: Op) {
        match op {
            Op::Write { tenant, samples } => {
                let id = self.store.tenant(TENANTS[tenant]).unwrap();
                let oldest = self.model.oldest(self.now);
                let mut samples = samples;
                samples.retain(|(_, minutes, _)| self.ago(*minutes) >= oldest);
                let keys: Vec<SeriesKey> = samples.iter().map(|s| series_key(s.0)).collect();
                let rows: Vec<_> = samples
                    .iter()
                    .zip(&keys)
                    .map(|(s, key)| (key, self.ago(s.1), f64::from(s.2), None))
                    .collect();
                write_again(&self.store, id, &rows);
                for (series, minutes, value) in samples {
                    let time = self.ago(minutes);
                    self.model.write(tenant, series, time, f64::from(value));
                }
            }
            Op::Backfill { series, start, count } => {
                let id = self.store.tenant(TENANTS[0]).unwrap();
                let key = series_key(series);
                let mut rows: Vec<_> =
                    (0..count).map(|i| (&key, self.ago(start + i), (i % 7) as f64, None)).collect();
                rows.retain(|(_, time, ..)| *time >= self.model.oldest(self.now));
                write_again(&self.store, id, &rows);
                for (_, time, value, _) in rows {
                    self.model.write(0, series, time, value);
                }
            }
            Op::Delete { tenant, host: number, start, length } => {
                let Some(id) = self.store.find_tenant(TENANTS[tenant]) else { return };
                let start = self.ago(start);
                let times = TimeRange::new(
                    Timestamp::from_millis(start),
                    Timestamp::from_millis(start + length * MINUTE),
                );
                delete(&self.store, id, host(number), times);
                self.model.delete(tenant, number, times);
            }
            Op::Policies(number) => {
                self.model.expire(self.now);
                self.store.set_retention(policies(number)).unwrap();
                self.model.policies = number;
            }
            Op::Wait(hours) => {
                self.now += hours * HOUR;
                self.clock.set(Timestamp::from_millis(self.now));
                // Whoever reads sees the time pass; a day without anybody would be a leap.
                self.store.plan_retention(&policies(self.model.policies)).unwrap();
            }
            Op::Flush => self.store.flush().unwrap(),
            Op::Merge => self.store.merge().unwrap(),
            Op::Sweep => drop(self.store.sweep().unwrap()),
            Op::Reopen => {
                self.clock = reopen(&mut self.store, self.directory.path(), self.now).unwrap();
            }
        }
        self.model.expire(self.now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_gone_stays_gone(
        ops in prop::collection::vec(op(), 1..30),
        start in 0_i64..4000,
        length in 1_i64..4000,
        window in prop_oneof![Just(None), Just(Some(HOUR)), Just(Some(DAY))],
    ) {
        let mut run = Run::new();
        let range = TimeRange::new(
            Timestamp::from_millis(run.ago(start + length)),
            Timestamp::from_millis(run.ago(start) + 1),
        );
        for op in ops {
            run.carry_out(op);
            check(&run.store, &run.model, range, window);
        }
        check(&run.store, &run.model, TimeRange::ALL, window);
        run.store.verify().unwrap();
    }
}

#[test]
fn the_space_of_a_deletion_comes_back_and_its_record_stays() {
    let mut run = Run::new();
    let count = 3000;
    run.carry_out(Op::Backfill { series: 0, start: 0, count });
    run.carry_out(Op::Backfill { series: 2, start: 0, count });
    run.carry_out(Op::Flush);
    run.carry_out(Op::Merge);
    let before = run.store.stats();
    run.carry_out(Op::Delete { tenant: 0, host: 0, start: 4000, length: 5000 });
    run.carry_out(Op::Sweep);
    let after = run.store.stats();
    assert_eq!(after.segment_samples, before.segment_samples / 2);
    let deletions = run.store.deletions().unwrap();
    assert_eq!(deletions.len(), 1);
    assert_eq!(deletions[0].state, DeletionState::Done);
    assert_eq!(deletions[0].plan.samples, 3000);
    check(&run.store, &run.model, TimeRange::ALL, None);
    // Everything: the files go.
    run.carry_out(Op::Delete { tenant: 0, host: 1, start: 4000, length: 5000 });
    run.carry_out(Op::Sweep);
    assert_eq!(run.store.stats().segments, 0);
    assert_eq!(run.store.deletions().unwrap().len(), 2);
}

#[test]
fn expired_days_are_dropped_as_files() {
    let mut run = Run::new();
    run.carry_out(Op::Policies(2));
    run.carry_out(Op::Backfill { series: 0, start: 0, count: 2000 });
    run.carry_out(Op::Backfill { series: 1, start: 0, count: 2000 });
    run.carry_out(Op::Flush);
    let before = run.store.stats().segments;
    assert!(before >= 2, "{before}");
    run.carry_out(Op::Wait(29));
    let swept = run.store.sweep().unwrap();
    assert_eq!((swept.segments_removed, swept.segments_rewritten), (1, 0), "{swept:?}");
    run.carry_out(Op::Wait(24));
    assert_eq!(run.store.sweep().unwrap().segments_removed, before - 1);
    assert_eq!(run.store.stats().segments, 0);
    check(&run.store, &run.model, TimeRange::ALL, None);
}

#[test]
fn a_plan_tells_what_a_policy_would_remove() {
    let mut run = Run::new();
    run.carry_out(Op::Backfill { series: 0, start: 0, count: 2000 });
    run.carry_out(Op::Backfill { series: 1, start: 0, count: 2000 });
    run.carry_out(Op::Flush);
    run.carry_out(Op::Merge);
    let plan = run.store.plan_retention(&policies(1)).unwrap();
    let metrics: Vec<_> =
        plan.metrics.iter().map(|m| (m.metric.as_str(), m.series, m.samples)).collect();
    // A sample a minute; those of the last 24 hours stay, the one on the edge included.
    assert_eq!(metrics, [("cpu", 1, 2000 - 24 * 60 - 1)]);
    assert!(plan.metrics[0].bytes > 0);
    run.carry_out(Op::Policies(1));
    assert_eq!(run.store.plan_retention(&policies(1)).unwrap().metrics, []);
}

#[test]
fn a_tenant_is_removed_with_everything_and_its_name_is_free() {
    let mut run = Run::new();
    run.carry_out(Op::Backfill { series: 0, start: 0, count: 500 });
    run.carry_out(Op::Write { tenant: 1, samples: vec![(0, 5, 7), (3, 900, 8)] });
    run.carry_out(Op::Flush);
    run.carry_out(Op::Backfill { series: 2, start: 0, count: 300 });
    let one = run.store.find_tenant("one").unwrap();
    let mut records = RecordBatch::new();
    records.put(one, RecordKind::Setting, b"x", b"y".to_vec());
    run.store.records().commit(records).unwrap();
    // A write on its way finds out that its tenant is gone.
    let mut late = run.store.request(one);
    let raw = series_key(0);
    let time = Timestamp::from_millis(run.now);
    late.push(&raw.encode(), || Ok::<_, Error>(raw.clone()), time, 1.0, None).unwrap();

    let plan = run.store.plan_tenant_removal(one).unwrap();
    assert_eq!((plan.series, plan.samples), (2, 800));
    run.store.remove_tenant(one, "test").unwrap();
    run.model.samples.retain(|(tenant, ..), _| *tenant != 0);
    assert!(run.store.remove_tenant(one, "test").is_err());
    assert!(run.store.write(late).unwrap_err().to_string().contains("no such tenant"));
    assert_eq!(run.store.find_tenant("one"), None);
    assert!(run.store.select(one, &Selector::default()).unwrap().is_empty());
    assert_eq!(run.store.records().get(one, RecordKind::Setting, b"x").unwrap(), None);
    run.store.verify().unwrap();
    check(&run.store, &run.model, TimeRange::ALL, None);

    // A new one of that name starts from nothing, also after a restart in between.
    run.carry_out(Op::Reopen);
    let path = run.directory.path().to_path_buf();
    let again = run.store.tenant("one").unwrap();
    assert!(again > one, "numbers are not given again");
    run.carry_out(Op::Write { tenant: 0, samples: vec![(0, 5, 9)] });
    check(&run.store, &run.model, TimeRange::ALL, None);
    run.carry_out(Op::Flush);
    run.carry_out(Op::Sweep);
    assert_eq!(run.store.stats().segment_samples, 3);
    assert_eq!(run.store.deletions().unwrap()[0].state, DeletionState::Done);
    check(&run.store, &run.model, TimeRange::ALL, None);
    drop(run.store);
    assert_eq!(verify(&path, &|_, _| {}).unwrap().problems, []);
}

#[test]
fn series_without_samples_leave_the_index_and_come_back_with_the_next_sample() {
    let mut run = Run::new();
    for series in 0..SERIES {
        run.carry_out(Op::Backfill { series, start: 0, count: 100 });
    }
    let one = run.store.find_tenant("one").unwrap();
    let all = |run: &Run| run.store.select(one, &Selector::default()).unwrap().len();
    assert_eq!(all(&run), 6);
    run.carry_out(Op::Delete { tenant: 0, host: 0, start: 4000, length: 5000 });
    // The sweeper may have been quicker.
    run.store.sweep().unwrap();
    assert_eq!(run.store.deletions().unwrap()[0].state, DeletionState::Done);
    assert_eq!(all(&run), 4);
    // The writer's cache has forgotten the series and the day, so both are noted again.
    run.carry_out(Op::Backfill { series: 0, start: 0, count: 10 });
    run.carry_out(Op::Flush);
    check(&run.store, &run.model, TimeRange::ALL, None);
    assert_eq!(all(&run), 5);
    // So is the day of a series that stays: its samples of today go and come back.
    run.carry_out(Op::Delete { tenant: 0, host: 1, start: 99, length: 100 });
    run.carry_out(Op::Sweep);
    run.carry_out(Op::Write { tenant: 0, samples: vec![(2, 3, 1)] });
    run.carry_out(Op::Flush);
    check(&run.store, &run.model, TimeRange::ALL, None);
    let path = run.directory.path().to_path_buf();
    drop(run.store);
    assert_eq!(verify(&path, &|_, _| {}).unwrap().problems, []);
}

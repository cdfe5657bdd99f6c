//! What does a sample cost that feeds one of 10 000 alarms: in the bare engine, timers included, and
//! through a store, from the write until it is judged? And one that feeds none?
//!
//! 1000 hosts with ten metrics each report every ten seconds, one request of 1000 samples after the
//! other; a definition per metric makes an alarm per host. Nothing crosses its threshold: this is the
//! everyday load, not a storm. Every sixth round ends a minute, so each alarm is judged by a timer; every
//! round brings the store's engine a checkpoint, which stores each alarm whose values have changed.
//!
//! Last answer, on 2 cores, x86-64, shared with other work, in M samples/s:
//!
//! ```text
//!         engine  store
//! avg        8.6   0.99
//! max        7.3   0.94
//! last       9.4   0.29   every alarm changes in every round: see above
//! nobody     130    2.4
//! ```

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use moneta_alerting::engine::{Engine, EngineSettings, Position, Samples};
use moneta_alerting::expression::Expression;
use moneta_alerting::{
    Alarms, Definition, DefinitionSpec, Error, Settings, Severity, UndeterminedLogic,
};
use moneta_benches::{Fleet, METRICS, START, open};
use moneta_storage::feed::FeedRow;
use moneta_storage::model::{
    Dimensions, Sequence, SeriesId, SeriesKey, TenantId, TimeRange, Timestamp,
};
use uuid::Uuid;

const HOSTS: usize = 1000;
const REQUEST_SAMPLES: usize = 1000;
const ROUND_MS: i64 = 10_000;

/// What becomes of the samples.
#[derive(Clone, Copy)]
enum Fed {
    /// Each feeds an alarm by this function.
    To(&'static str),
    /// None feeds any: the definitions are about other metrics.
    Nobody,
}

impl Fed {
    fn specs(self) -> impl Iterator<Item = DefinitionSpec> {
        (0..METRICS).map(move |metric| {
            let expression = match self {
                Fed::To(function) => format!("{function}(cpu.metric_{metric}, 60) > 1000"),
                Fed::Nobody => format!("avg(disk.metric_{metric}, 60) > 1000"),
            };
            DefinitionSpec {
                name: format!("definition {metric}"),
                description: String::new(),
                expression,
                match_by: vec!["hostname".into()],
                severity: Severity::Low,
                actions_enabled: true,
                alarm_actions: Vec::new(),
                ok_actions: Vec::new(),
                undetermined_actions: Vec::new(),
                undetermined_logic: UndeterminedLogic::Strict,
                empty_coefficient: 2,
            }
        })
    }

    fn alarms(self) -> usize {
        match self {
            Fed::To(_) => HOSTS * METRICS,
            Fed::Nobody => 0,
        }
    }
}

const CASES: [(&str, Fed); 4] = [
    ("avg", Fed::To("avg")),
    ("max", Fed::To("max")),
    ("last", Fed::To("last")),
    ("nobody", Fed::Nobody),
];

/// The series of the fleet, and no stored samples: a first sample finds none before it, and later
/// ones, which come in order, never ask.
struct Nothing(Vec<Arc<SeriesKey>>);

impl Samples for Nothing {
    fn key(&self, _tenant: TenantId, series: SeriesId) -> Result<Option<Arc<SeriesKey>>, Error> {
        let at = usize::try_from(series.number()).ok();
        Ok(at.and_then(|at| self.0.get(at)).map(Arc::clone))
    }

    fn select(
        &self,
        _tenant: TenantId,
        _metric: &str,
        _dimensions: &Dimensions,
    ) -> Result<Vec<SeriesId>, Error> {
        Ok(Vec::new())
    }

    fn read(
        &self,
        _tenant: TenantId,
        _series: SeriesId,
        _range: TimeRange,
        _upto: Sequence,
        _each: &mut dyn FnMut(i64, f64),
    ) -> Result<(), Error> {
        Ok(())
    }

    fn newest(
        &self,
        _tenant: TenantId,
        _series: SeriesId,
        _range: TimeRange,
        _upto: Sequence,
    ) -> Result<Option<(i64, f64)>, Error> {
        Ok(None)
    }
}

/// The bare engine, fed round by round.
struct Bare {
    engine: Engine,
    samples: Nothing,
    /// One of every series; a round gives them its time and sequence.
    rows: Vec<FeedRow>,
    round: i64,
    sequence: u64,
}

impl Bare {
    fn new(fed: Fed) -> Self {
        let settings = EngineSettings { alarm_delay_ms: 30_000, future_tolerance_ms: 60_000 };
        let mut engine = Engine::new(settings, Position::START, Uuid::new_v4);
        let tenant = TenantId::new(1);
        let now = Timestamp::from_millis(START);
        let series = Fleet::of(HOSTS).series;
        let samples = Nothing(series.into_iter().map(|(_, key)| Arc::new(key)).collect());
        engine.advance(&samples, now).expect("nothing is read");
        for spec in fed.specs() {
            let expression = Expression::parse(&spec.expression).expect("a correct expression");
            let id = Uuid::new_v4();
            let definition = Definition {
                id: id.to_string(),
                spec,
                deterministic: false,
                metrics: Vec::new(),
                created: now,
                updated: now,
            };
            engine.define(&samples, tenant, id, definition, expression).expect("nothing is stored");
        }
        let ids = 0..u32::try_from(HOSTS * METRICS).expect("a small number");
        let row = |(at, id)| FeedRow {
            tenant,
            series: SeriesId::new(id),
            time: now,
            value: Fleet::value(at, 0),
            sequence: Sequence::ZERO,
        };
        let rows = ids.enumerate().map(row).collect();
        let mut bare = Bare { engine, samples, rows, round: 0, sequence: 0 };
        // Series are matched, alarms made and judged before anything is measured.
        for _ in 0..12 {
            bare.feed_round();
        }
        assert_eq!(bare.engine.alarms(tenant).len(), fed.alarms());
        bare
    }

    /// One sample of every series, as the service feeds them.
    fn feed_round(&mut self) {
        self.round += 1;
        let time = Timestamp::from_millis(START + self.round * ROUND_MS);
        for rows in self.rows.chunks(REQUEST_SAMPLES) {
            self.sequence += 1;
            let sequence = Sequence::new(self.sequence);
            let rows = rows.iter().map(|row| FeedRow { time, sequence, ..*row });
            self.engine.batch(&self.samples, rows, sequence, time).expect("nothing is read");
        }
        // What a service would make durable is dropped here.
        self.engine.take_effects();
        self.engine.take_dirty();
    }
}

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("alarm/10k_alarms/engine");
    group.throughput(Throughput::Elements((HOSTS * METRICS) as u64));
    for (name, fed) in CASES {
        let mut bare = Bare::new(fed);
        group.bench_function(name, |bencher| bencher.iter(|| bare.feed_round()));
    }
    group.finish();
}

/// From the write to the judgement, with everything in between made durable.
fn store(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("alarm/10k_alarms/store");
    group.throughput(Throughput::Elements((HOSTS * METRICS) as u64)).sample_size(20);
    for (name, fed) in CASES {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (store, tenant, clock) = open(directory.path()).expect("an empty directory opens");
        clock.set(Timestamp::from_millis(START));
        let alarms = Alarms::start(store.clone(), Settings::default()).expect("a running engine");
        for spec in fed.specs() {
            alarms.create_definition(tenant, spec).expect("a correct definition");
        }
        let fleet = Fleet::of(HOSTS);
        let mut round = 0;
        let mut feed_round = || {
            round += 1;
            let time = Timestamp::from_millis(START + round * ROUND_MS);
            clock.set(time);
            for (chunk, series) in fleet.series.chunks(REQUEST_SAMPLES).enumerate() {
                let mut request = store.request(tenant);
                for (at, (raw, key)) in series.iter().enumerate() {
                    let value = Fleet::value(chunk * REQUEST_SAMPLES + at, round);
                    let fresh = || Ok::<_, moneta_storage::Error>(key.clone());
                    request.push(raw, fresh, time, value, None).expect("a correct sample");
                }
                store.write(request).expect("an acknowledged write");
            }
            alarms.wait_for(store.newest(), time).expect("a running engine");
        };
        for _ in 0..12 {
            feed_round();
        }
        group.bench_function(name, |bencher| bencher.iter(&mut feed_round));
        alarms.close().expect("a good end");
        store.close().expect("a good end");
    }
    group.finish();
}

criterion_group!(benches, engine, store);
criterion_main!(benches);

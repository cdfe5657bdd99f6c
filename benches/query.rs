//! How fast are measurements and statistics computed from merged segments, per series and over many?
//!
//! 100 hosts with ten metrics each, six hours at ten seconds: 2.16 M samples, flushed and merged.
//! Throughput is in samples that the answer covers, whether they were decoded or summarised.
//!
//! Last answer, on 2 cores, x86-64, shared with other work:
//!
//! ```text
//! measurements_1_series_1h                   98 µs   3.7 M samples/s
//! statistics_1_series_1h_by_1m               69 µs   5.2 M samples/s
//! statistics_1_series_6h_by_1h               75 µs    29 M samples/s
//! statistics_100_series_6h_by_1h_merged     2.4 ms    88 M samples/s
//! statistics_100_series_6h_by_1h_by_host    2.5 ms    86 M samples/s
//! statistics_100_series_1h_by_1m_by_host    3.2 ms    11 M samples/s
//! ```

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use moneta_benches::{Fleet, START, open};
use moneta_query::lang::monasca::{Grouping, Question, Statistic, measurements, statistics};
use moneta_storage::model::{DimensionMatcher, TimeRange, Timestamp, ValueMatcher};

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;
/// Rounds of ten seconds in an hour.
const HOUR_ROUNDS: u64 = 360;

fn question(host: Option<&str>, hours: (i64, i64), grouping: Grouping) -> Question {
    let matcher = |host: &str| DimensionMatcher {
        name: "hostname".into(),
        value: ValueMatcher::Equals(host.into()),
    };
    Question {
        metric: "cpu.metric_3".into(),
        dimensions: host.map(matcher).into_iter().collect(),
        range: TimeRange::new(
            Timestamp::from_millis(START + hours.0 * HOUR_MS),
            Timestamp::from_millis(START + hours.1 * HOUR_MS),
        ),
        grouping,
        page: None,
        rows_max: 10_000,
        samples_max: 100_000_000,
        asker: moneta_query::Asker::default(),
    }
}

fn query(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (store, tenant, _clock) = open(directory.path()).expect("an empty directory opens");
    let rounds = i64::try_from(6 * HOUR_ROUNDS).expect("a small number");
    Fleet::of(100).write(&store, tenant, rounds).expect("acknowledged writes");
    store.flush().expect("a flush");
    store.merge().expect("a merge");

    let mut group = criterion.benchmark_group("query/1k_series_6h");
    let one = question(Some("host_42"), (3, 4), Grouping::Single);
    let read = || measurements(&store, tenant, &one).expect("an answer");
    assert_eq!(read().groups.iter().map(|group| group.rows.len()).sum::<usize>(), 360);
    group.throughput(Throughput::Elements(HOUR_ROUNDS));
    group.bench_function("measurements_1_series_1h", |bencher| bencher.iter(read));

    let by_host = Grouping::By(vec!["hostname".into()]);
    let cases: [(&str, Question, i64, u64, usize); 5] = [
        ("statistics_1_series_1h_by_1m", one.clone(), MINUTE_MS, HOUR_ROUNDS, 60),
        (
            "statistics_1_series_6h_by_1h",
            question(Some("host_42"), (0, 6), Grouping::Single),
            HOUR_MS,
            6 * HOUR_ROUNDS,
            6,
        ),
        (
            "statistics_100_series_6h_by_1h_merged",
            question(None, (0, 6), Grouping::Merged),
            HOUR_MS,
            600 * HOUR_ROUNDS,
            6,
        ),
        (
            "statistics_100_series_6h_by_1h_by_host",
            question(None, (0, 6), by_host.clone()),
            HOUR_MS,
            600 * HOUR_ROUNDS,
            600,
        ),
        (
            "statistics_100_series_1h_by_1m_by_host",
            question(None, (3, 4), by_host),
            MINUTE_MS,
            100 * HOUR_ROUNDS,
            6000,
        ),
    ];
    for (name, question, period_ms, samples, rows) in cases {
        let compute = || {
            statistics(&store, tenant, &question, period_ms, &[Statistic::Avg, Statistic::Max])
                .expect("an answer")
        };
        let got: usize = compute().groups.iter().map(|group| group.rows.len()).sum();
        assert_eq!(got, rows, "{name}");
        group.throughput(Throughput::Elements(samples));
        group.bench_function(name, |bencher| bencher.iter(compute));
    }
    group.finish();
}

criterion_group!(benches, query);
criterion_main!(benches);

//! How fast are series found among 100 000, by metric, by dimension, and by when they had samples?
//!
//! 10 000 hosts with ten metrics each, in ten services; a sample of each, flushed. The answers are
//! ids or names; looking up what a series is called is not part of it.
//!
//! Last answer, on 2 cores, x86-64, shared with other work:
//!
//! ```text
//! one_metric                          10 000 ids      39 µs
//! one_metric_and_service               1 000 ids      17 µs
//! one_host                                10 ids     1.6 µs
//! one_series                               1 id      7.1 µs
//! one_metric_of_100_hosts                100 ids     196 µs
//! one_metric_any_hostname             10 000 ids     7.4 ms   unites the lists of 10 000 values
//! one_service_in_an_hour              10 000 ids    18.5 ms   looks for samples of each at the edges
//! 10k_dimension_values                10 000 names   4.7 ms
//! first_1000_dimension_values          1 000 names   0.5 ms
//! 10k_dimension_values_of_one_metric  10 000 names  10.7 ms
//! ```
//!
//! Since then a dimension name has a posting list of its own, so `one_metric_any_hostname` reads one list
//! instead of 10 000; the table waits for a quiet machine. `examples/series.rs` asks at a million series.

use criterion::{Criterion, criterion_group, criterion_main};
use moneta_benches::{Fleet, START, open};
use moneta_storage::model::{DimensionMatcher, Selector, TimeRange, Timestamp, ValueMatcher};

fn with(name: &str, value: ValueMatcher) -> DimensionMatcher {
    DimensionMatcher { name: name.into(), value }
}

fn equals(name: &str, value: &str) -> DimensionMatcher {
    with(name, ValueMatcher::Equals(value.into()))
}

fn select(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (store, tenant, _clock) = open(directory.path()).expect("an empty directory opens");
    Fleet::of(10_000).write(&store, tenant, 1).expect("acknowledged writes");
    store.flush().expect("a flush");

    let mut group = criterion.benchmark_group("select/100k_series");
    let metric = || Some("cpu.metric_3".to_owned());
    let hour = TimeRange::new(
        Timestamp::from_millis(START - 1_800_000),
        Timestamp::from_millis(START + 1_800_000),
    );
    let hosts = (0..100).map(|host| format!("host_{}", host * 97)).collect();
    let cases: [(&str, usize, Selector); 7] = [
        ("one_metric", 10_000, Selector { metric: metric(), ..Selector::default() }),
        (
            "one_metric_and_service",
            1000,
            Selector {
                metric: metric(),
                dimensions: vec![equals("service", "service_7")],
                active: None,
            },
        ),
        (
            "one_host",
            10,
            Selector { dimensions: vec![equals("hostname", "host_7777")], ..Selector::default() },
        ),
        (
            "one_series",
            1,
            Selector {
                metric: metric(),
                dimensions: vec![equals("hostname", "host_7777")],
                active: None,
            },
        ),
        (
            "one_metric_of_100_hosts",
            100,
            Selector {
                metric: metric(),
                dimensions: vec![with("hostname", ValueMatcher::OneOf(hosts))],
                active: None,
            },
        ),
        (
            "one_metric_any_hostname",
            10_000,
            Selector {
                metric: metric(),
                dimensions: vec![with("hostname", ValueMatcher::Present)],
                active: None,
            },
        ),
        (
            "one_service_in_an_hour",
            10_000,
            Selector {
                dimensions: vec![equals("service", "service_7")],
                active: Some(hour),
                ..Selector::default()
            },
        ),
    ];
    for (name, want, selector) in cases {
        let found = store.select(tenant, &selector).expect("a selection");
        assert_eq!(found.len(), want, "{name}");
        group.bench_function(name, |bencher| {
            bencher.iter(|| store.select(tenant, &selector).expect("a selection"));
        });
    }

    let one_metric = Selector { metric: metric(), ..Selector::default() };
    let everything = Selector::default();
    for (name, selector, limit, want) in [
        ("10k_dimension_values", &everything, usize::MAX, 10_000),
        ("first_1000_dimension_values", &everything, 1000, 1000),
        ("10k_dimension_values_of_one_metric", &one_metric, usize::MAX, 10_000),
    ] {
        let values = || {
            store.dimension_values(tenant, "hostname", selector, None, limit).expect("the values")
        };
        assert_eq!(values().len(), want, "{name}");
        group.bench_function(name, |bencher| bencher.iter(values));
    }
    group.finish();
}

criterion_group!(benches, select);
criterion_main!(benches);

//! The store against a naive map: random writes in and out of order, with duplicates and
//! `value_meta`, interleaved with flushes, merges and reopening, always give the same answers.

use std::collections::{BTreeMap, BTreeSet};

use moneta_storage::model::{
    DimensionMatcher, Selector, SeriesKey, TimeRange, Timestamp, ValueMatcher,
};
use moneta_storage::view::SeriesSamples;
use moneta_storage::{Error, Store};
use moneta_tests::{key, open, total, write};
use proptest::prelude::*;

const NOW: i64 = 20_400 * DAY;
const DAY: i64 = 24 * 3600 * 1000;

#[derive(Clone, Debug)]
enum Op {
    /// Samples of one request: series, minutes before now, value, `value_meta`.
    Write {
        tenant: usize,
        samples: Vec<(u8, i64, i16, bool)>,
    },
    /// A regular series long enough for series blocks.
    Backfill {
        series: u8,
        start: i64,
        count: i64,
    },
    Flush,
    Merge,
    Reopen,
    CloseAndReopen,
}

fn op() -> impl Strategy<Value = Op> {
    let sample = (0_u8..6, 0_i64..4000, any::<i16>(), prop::bool::weighted(0.2));
    prop_oneof![
        8 => (0..2_usize, prop::collection::vec(sample, 1..40))
            .prop_map(|(tenant, samples)| Op::Write { tenant, samples }),
        2 => (0_u8..6, 0_i64..3000, 100_i64..600)
            .prop_map(|(series, start, count)| Op::Backfill { series, start, count }),
        3 => Just(Op::Flush),
        2 => Just(Op::Merge),
        1 => Just(Op::Reopen),
        1 => Just(Op::CloseAndReopen),
    ]
}

/// What the store should hold: (tenant, series, time) → (value, meta).
type Model = BTreeMap<(usize, u8, i64), (f64, Option<String>)>;

const TENANTS: [&str; 2] = ["one", "two"];

fn series_key(series: u8) -> SeriesKey {
    let metric = ["cpu", "mem"][usize::from(series % 2)];
    key(metric, &[("host", &format!("h{}", series / 2)), ("zone", "z")])
}

fn samples_of(store: &Store, model: &Model, range: TimeRange, window: Option<i64>) {
    for (tenant, name) in TENANTS.iter().enumerate() {
        let Some(id) = store.find_tenant(name) else { continue };
        let view = store.view(id);
        for series in 0..6 {
            let want: Vec<(i64, u64, Option<String>)> = model
                .range((tenant, series, range.start.millis())..(tenant, series, range.end.millis()))
                .map(|((_, _, time), (value, meta))| (*time, value.to_bits(), meta.clone()))
                .collect();
            let Some(series) = store.find_series(id, &series_key(series)).unwrap() else {
                assert_eq!(want, []);
                continue;
            };
            let mut got = SeriesSamples::default();
            view.read(&[series], range, u64::MAX, |_, samples| {
                got = samples;
                Ok::<_, Error>(())
            })
            .unwrap();
            let metas: BTreeMap<u32, String> =
                got.metas.iter().map(|(at, meta)| (*at, meta.text().to_owned())).collect();
            let got: Vec<(i64, u64, Option<String>)> = (0..)
                .zip(got.times.iter().zip(&got.values))
                .map(|(at, (&time, &value))| (time, value.to_bits(), metas.get(&at).cloned()))
                .collect();
            assert_eq!(got, want, "tenant {name}, series {series}");
            let total = total(&view, series, range, window).unwrap();
            let sum: f64 = want.iter().map(|(_, bits, _)| f64::from_bits(*bits)).sum();
            assert_eq!(total, (want.len() as u64, sum), "summaries and samples agree");
        }
    }
}

fn selections(store: &Store, model: &Model, range: TimeRange) {
    for (tenant, name) in TENANTS.iter().enumerate() {
        let Some(id) = store.find_tenant(name) else { continue };
        let selector = Selector {
            metric: Some("cpu".into()),
            dimensions: vec![DimensionMatcher {
                name: "host".into(),
                value: ValueMatcher::OneOf(vec!["h0".into(), "h2".into(), "none".into()]),
            }],
            active: Some(range),
        };
        let got: BTreeSet<SeriesKey> = store
            .select(id, &selector)
            .unwrap()
            .into_iter()
            .map(|series| (*store.series(id, series).unwrap().unwrap()).clone())
            .collect();
        let want: BTreeSet<SeriesKey> = model
            .keys()
            .filter(|(owner, _, time)| {
                *owner == tenant && range.contains(Timestamp::from_millis(*time))
            })
            .map(|(_, series, _)| series_key(*series))
            .filter(|key| key.metric == "cpu" && key.dimensions.get("host") != Some("h1"))
            .collect();
        assert_eq!(got, want, "active series of {name}");
        let names: BTreeSet<String> = model
            .keys()
            .filter(|(owner, ..)| *owner == tenant)
            .map(|(_, series, _)| series_key(*series).metric)
            .collect();
        let got = store.metric_names(id, &Selector::default(), None, 10).unwrap();
        assert_eq!(got, names.into_iter().collect::<Vec<_>>());
        let hosts: BTreeSet<String> = model
            .keys()
            .filter(|(owner, series, _)| *owner == tenant && series_key(*series).metric == "mem")
            .filter_map(|(_, series, _)| {
                series_key(*series).dimensions.get("host").map(str::to_owned)
            })
            .collect();
        let mem = Selector { metric: Some("mem".into()), ..Selector::default() };
        let got = store.dimension_values(id, "host", &mem, None, 10).unwrap();
        assert_eq!(got, hosts.into_iter().collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_like_a_map(
        ops in prop::collection::vec(op(), 1..25),
        start in 0_i64..4000,
        length in 1_i64..4000,
        window in prop_oneof![Just(None), Just(Some(3600 * 1000)), Just(Some(DAY))],
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, mut _clock) = open(directory.path(), NOW).unwrap();
        let mut model = Model::new();
        let minute = |minutes: i64| NOW - minutes * 60_000;
        let range = TimeRange::new(
            Timestamp::from_millis(minute(start + length)),
            Timestamp::from_millis(minute(start) + 1),
        );
        for op in ops {
            match op {
                Op::Write { tenant, samples } => {
                    let id = store.tenant(TENANTS[tenant]).unwrap();
                    let keys: Vec<SeriesKey> = samples.iter().map(|s| series_key(s.0)).collect();
                    let rows: Vec<_> = samples
                        .iter()
                        .zip(&keys)
                        .map(|(s, key)| (key, minute(s.1), f64::from(s.2), s.3.then_some("{\"a\": 1}")))
                        .collect();
                    write(&store, id, &rows).unwrap();
                    for (series, minutes, value, meta) in samples {
                        let meta = meta.then(|| "{\"a\": 1}".to_owned());
                        model.insert((tenant, series, minute(minutes)), (f64::from(value), meta));
                    }
                }
                Op::Backfill { series, start, count } => {
                    let id = store.tenant(TENANTS[0]).unwrap();
                    let key = series_key(series);
                    let rows: Vec<_> =
                        (0..count).map(|i| (&key, minute(start + i), (i % 7) as f64, None)).collect();
                    write(&store, id, &rows).unwrap();
                    for (_, time, value, _) in rows {
                        model.insert((0, series, time), (value, None));
                    }
                }
                Op::Flush => store.flush().unwrap(),
                Op::Merge => store.merge().unwrap(),
                Op::Reopen => {
                    drop(store);
                    (store, _clock) = open(directory.path(), NOW).unwrap();
                }
                Op::CloseAndReopen => {
                    store.close().unwrap();
                    drop(store);
                    (store, _clock) = open(directory.path(), NOW).unwrap();
                }
            }
            samples_of(&store, &model, range, window);
        }
        samples_of(&store, &model, TimeRange::ALL, window);
        selections(&store, &model, range);
        selections(&store, &model, TimeRange::ALL);
    }
}

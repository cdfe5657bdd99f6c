//! Tenants: two of them write series with the same names at the same times; whatever is read for one,
//! by any call of the store, nothing of the other shows.

use std::collections::{BTreeMap, BTreeSet};

use moneta_storage::model::{
    DimensionMatcher, Selector, SeriesId, TenantId, TimeRange, Timestamp, ValueMatcher,
};
use moneta_storage::record::{RecordBatch, RecordKind};
use moneta_storage::view::{Piece, View};
use moneta_storage::{Error, Store};
use moneta_tests::{key, open, write};
use proptest::prelude::*;

const NOW: i64 = 1_764_000_000_000;
/// Values of the second tenant are this much greater.
const APART: f64 = 1_000_000.0;

/// What happens to the store.
#[derive(Clone, Debug)]
enum Step {
    /// Who writes; series and time of each sample.
    Write(usize, Vec<(u8, u16)>),
    Record(usize, u8),
    Flush,
    Merge,
}

fn step() -> impl Strategy<Value = Step> {
    let samples = proptest::collection::vec((0..12_u8, 0..400_u16), 1..200);
    prop_oneof![
        6 => (0..2_usize, samples).prop_map(|(who, samples)| Step::Write(who, samples)),
        2 => (0..2_usize, any::<u8>()).prop_map(|(who, id)| Step::Record(who, id)),
        1 => Just(Step::Flush),
        1 => Just(Step::Merge),
    ]
}

/// What one tenant has written, and may see.
#[derive(Default)]
struct Own {
    metrics: BTreeSet<String>,
    names: BTreeSet<String>,
    values: BTreeSet<String>,
    samples: BTreeMap<(String, i64), f64>,
    records: BTreeSet<Vec<u8>>,
}

/// The series `number` of tenant `who`: most names are common to both, some are not.
fn series(who: usize, number: u8) -> moneta_storage::model::SeriesKey {
    let host = format!("host{}", number % 3);
    let own = format!("of{who}");
    match number % 4 {
        0 => key("cpu", &[("host", &host)]),
        1 => key("mem", &[("host", &host), ("rack", "r")]),
        2 => key("cpu", &[("host", &host), ("owner", &own)]),
        _ => key(&format!("metric.{own}"), &[(&format!("name_{own}"), &host)]),
    }
}

fn sample_time(time: u16) -> i64 {
    // Three days.
    NOW - i64::from(time) * 500_000
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_of_another_tenant_shows(steps in proptest::collection::vec(step(), 1..14)) {
        let directory = tempfile::tempdir().unwrap();
        let (store, _clock) = open(directory.path(), NOW).unwrap();
        let tenants = ["one", "two"].map(|name| store.tenant(name).unwrap());
        let mut own = [Own::default(), Own::default()];
        for step in &steps {
            match step {
                Step::Write(who, samples) => {
                    put(&store, tenants[*who], *who, samples, &mut own[*who]);
                }
                Step::Record(who, id) => {
                    let mut batch = RecordBatch::new();
                    let value = format!("{who}:{id}").into_bytes();
                    batch.put(tenants[*who], RecordKind::Setting, &[*id], value.clone());
                    store.records().commit(batch).unwrap();
                    own[*who].records.insert(value);
                }
                Step::Flush => store.flush().unwrap(),
                Step::Merge => store.merge().unwrap(),
            }
        }
        for who in 0..2 {
            check(&store, tenants[who], who, &own[who]);
            // The ids of the other are not of use here either.
            let others = store.select(tenants[1 - who], &Selector::default()).unwrap();
            let ids: Vec<SeriesId> = others.into_iter().chain([SeriesId::new(9999)]).collect();
            let seen = read(&store.view(tenants[who]), &ids);
            prop_assert!(seen.iter().all(|value| mine(who, *value)));
        }
    }
}

fn put(store: &Store, tenant: TenantId, who: usize, samples: &[(u8, u16)], own: &mut Own) {
    let offset = if who == 0 { 0.0 } else { APART };
    let keys: Vec<_> = samples.iter().map(|(number, _)| series(who, *number)).collect();
    let rows: Vec<_> = samples
        .iter()
        .zip(&keys)
        .map(|((number, time), key)| (key, sample_time(*time), offset + f64::from(*number), None))
        .collect();
    write(store, tenant, &rows).unwrap();
    for (key, time, value, _) in rows {
        own.metrics.insert(key.metric.clone());
        for (name, value) in key.dimensions.iter() {
            own.names.insert(name.to_owned());
            own.values.insert(value.to_owned());
        }
        own.samples.insert((format!("{key:?}"), time), value);
    }
}

fn mine(who: usize, value: f64) -> bool {
    (value >= APART) == (who == 1)
}

/// Every value that any way of reading gives.
fn read(view: &View, ids: &[SeriesId]) -> Vec<f64> {
    let mut seen = Vec::new();
    view.read(ids, TimeRange::ALL, u64::MAX, |_, samples| {
        seen.extend(samples.values);
        Ok::<_, Error>(())
    })
    .unwrap();
    view.read_versions(ids, TimeRange::ALL, u64::MAX, |_, versions| {
        seen.extend(versions.values);
        Ok::<_, Error>(())
    })
    .unwrap();
    for window in [None, Some(86_400_000), Some(7 * 86_400_000)] {
        view.fold(ids, TimeRange::ALL, window, u64::MAX, |_, piece| {
            match piece {
                Piece::Samples(_, values) => seen.extend_from_slice(values),
                Piece::Slot(_) => panic!("no policy asks for rollups"),
                Piece::Summary(summary) => {
                    seen.extend([summary.min, summary.max, summary.first, summary.last]);
                }
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    }
    seen
}

fn selectors() -> Vec<Selector> {
    let matcher = |name: &str, value| DimensionMatcher { name: name.into(), value };
    let some = |dimensions| Selector { dimensions, ..Selector::default() };
    let hosts = vec!["host0".to_owned(), "of0".to_owned(), "of1".to_owned()];
    let day =
        TimeRange::new(Timestamp::from_millis(NOW - 86_400_000), Timestamp::from_millis(NOW + 1));
    vec![
        Selector::default(),
        Selector { metric: Some("cpu".into()), ..Selector::default() },
        Selector { metric: Some("metric.of0".into()), ..Selector::default() },
        Selector { metric: Some("metric.of1".into()), ..Selector::default() },
        some(vec![matcher("host", ValueMatcher::Equals("host1".into()))]),
        some(vec![matcher("owner", ValueMatcher::OneOf(hosts))]),
        some(vec![matcher("owner", ValueMatcher::Present)]),
        Selector { active: Some(day), ..Selector::default() },
        Selector { metric: Some("mem".into()), active: Some(TimeRange::ALL), dimensions: vec![] },
    ]
}

/// Calls everything that reads, for one tenant.
fn check(store: &Store, tenant: TenantId, who: usize, own: &Own) {
    for selector in selectors() {
        let ids = store.select(tenant, &selector).unwrap();
        for &id in &ids {
            let key = store.series(tenant, id).unwrap().unwrap();
            assert!(own.metrics.contains(&key.metric), "{key:?}");
            assert!(key.dimensions.iter().all(|(_, value)| own.values.contains(value)), "{key:?}");
            assert_eq!(store.find_series(tenant, &key).unwrap(), Some(id));
        }
        let within = |names: Vec<String>, own: &BTreeSet<String>| {
            assert!(names.iter().all(|name| own.contains(name)), "{names:?}");
        };
        within(store.metric_names(tenant, &selector, None, 100).unwrap(), &own.metrics);
        within(store.dimension_names(tenant, &selector, None, 100).unwrap(), &own.names);
        for name in ["host", "owner", "rack", "name_of0", "name_of1"] {
            let values = store.dimension_values(tenant, name, &selector, None, 100).unwrap();
            within(values, &own.values);
        }
        for view in [store.view(tenant), store.view_as_of(tenant, store.newest())] {
            let seen = read(&view, &ids);
            assert!(seen.iter().all(|value| mine(who, *value)), "{seen:?}");
            let some = view.with_samples(&ids, TimeRange::ALL).unwrap();
            assert!(some.iter().all(|id| ids.contains(id)));
        }
    }
    // All of its own is there, and nothing more.
    let all = store.select(tenant, &Selector::default()).unwrap();
    let mut found = BTreeMap::new();
    store
        .view(tenant)
        .read(&all, TimeRange::ALL, u64::MAX, |id, samples| {
            let key = store.series(tenant, id)?.unwrap();
            for (time, value) in samples.times.iter().zip(&samples.values) {
                found.insert((format!("{key:?}"), *time), *value);
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(found, own.samples);
    let records = store.records().scan(tenant, RecordKind::Setting, &[], None, 1000).unwrap();
    for (id, value) in records {
        assert!(own.records.contains(&value));
        let same = store.records().get(tenant, RecordKind::Setting, &id).unwrap();
        assert_eq!(same, Some(value));
    }
    // A series of this tenant that the other has as well is another series there.
    for number in 0..12 {
        if let Some(id) = store.find_series(tenant, &series(who, number)).unwrap() {
            assert!(all.contains(&id));
        }
        let others = store.find_series(tenant, &series(1 - who, number)).unwrap();
        assert!(others.is_none_or(|id| all.contains(&id)));
    }
}

//! Removing series: what must go goes, what is in use stays, and no id comes back.

use std::path::Path;
use std::sync::Arc;

use crate::clock::ManualClock;
use crate::key::Key;
use crate::kv::{Batch, Sync};
use crate::model::{
    DimensionMatcher, Selector, SeriesId, SeriesKey, TenantId, Timestamp, ValueMatcher,
};
use crate::segment::partition_of;
use crate::write::WriteRequest;
use crate::{Error, Store, StoreConfig};

const DAY: i64 = 24 * 3600 * 1000;
const NOW: i64 = 20_400 * DAY;

fn open(directory: &Path) -> (Store, TenantId) {
    let clock: Arc<ManualClock> = ManualClock::at(Timestamp::from_millis(NOW));
    let store = Store::open(directory, StoreConfig::default(), clock).unwrap();
    let tenant = store.tenant("t").unwrap();
    (store, tenant)
}

fn key(n: u32) -> SeriesKey {
    let pairs = [("host", format!("h{n}")), ("zone", "z".to_owned())];
    SeriesKey {
        metric: if n.is_multiple_of(10) { "rare".into() } else { "m".into() },
        dimensions: pairs.into_iter().collect(),
        region: String::new(),
    }
}

fn request(store: &Store, tenant: TenantId, series: &[u32], time: i64) -> WriteRequest {
    let mut request = store.request(tenant);
    for &n in series {
        let key = key(n);
        let time = Timestamp::from_millis(time);
        request.push(&key.encode(), || Ok::<_, Error>(key.clone()), time, 1.0, None).unwrap();
    }
    request
}

fn put(store: &Store, tenant: TenantId, series: std::ops::Range<u32>, time: i64) {
    let series: Vec<u32> = series.collect();
    store.write(request(store, tenant, &series, time)).unwrap();
}

/// What retention does when a day goes.
fn forget_day(store: &Store, tenant: TenantId, time: i64) {
    let mut batch = Batch::default();
    batch.delete(&Key::Activity(tenant, partition_of(time)));
    store.shared.kv.commit(batch, Sync::Disk).unwrap();
}

fn id(store: &Store, tenant: TenantId, n: u32) -> Option<SeriesId> {
    store.find_series(tenant, &key(n)).unwrap()
}

fn values(store: &Store, tenant: TenantId) -> usize {
    store.dimension_values(tenant, "host", &Selector::default(), None, usize::MAX).unwrap().len()
}

#[test]
fn series_without_samples_go_and_their_ids_never_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let (store, tenant) = open(directory.path());
    put(&store, tenant, 0..100, NOW - 9 * DAY);
    put(&store, tenant, 91..95, NOW);
    store.flush().unwrap();
    assert_eq!(store.clean(tenant).unwrap(), 0, "all have a day");
    forget_day(&store, tenant, NOW - 9 * DAY);
    assert_eq!(store.clean(tenant).unwrap(), 96);
    let check = |store: &Store| {
        assert_eq!(store.stats().series, 4);
        let all = store.select(tenant, &Selector::default()).unwrap();
        assert_eq!(all, [91, 92, 93, 94].map(SeriesId::new));
        assert_eq!(id(store, tenant, 5), None);
        assert_eq!(store.series(tenant, SeriesId::new(5)).unwrap(), None);
        assert_eq!(values(store, tenant), 4);
        let names = store.metric_names(tenant, &Selector::default(), None, 10).unwrap();
        assert_eq!(names, ["m"], "rare has no series left");
        let absent = DimensionMatcher { name: "zone".into(), value: ValueMatcher::Absent };
        let absent = Selector { dimensions: vec![absent], ..Selector::default() };
        assert_eq!(store.select(tenant, &absent).unwrap(), []);
        assert_eq!(store.clean(tenant).unwrap(), 0);
    };
    check(&store);
    drop(store);
    let (store, tenant) = open(directory.path());
    check(&store);
    // The last ids were removed; still the next one is a new one.
    put(&store, tenant, 99..100, NOW);
    assert_eq!(id(&store, tenant, 99), Some(SeriesId::new(100)));
    put(&store, tenant, 10..11, NOW);
    assert_eq!(id(&store, tenant, 10), Some(SeriesId::new(101)));
    let names = store.metric_names(tenant, &Selector::default(), None, 10).unwrap();
    assert_eq!(names, ["m", "rare"]);
}

#[test]
fn a_write_that_found_a_series_before_it_went_does_not_write_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let (store, tenant) = open(directory.path());
    put(&store, tenant, 0..10, NOW - 9 * DAY);
    store.flush().unwrap();
    forget_day(&store, tenant, NOW - 9 * DAY);
    let on_its_way = request(&store, tenant, &[3], NOW);
    let unconcerned = request(&store, tenant, &[50], NOW);
    assert_eq!(store.clean(tenant).unwrap(), 10);
    let error = store.write(on_its_way).unwrap_err();
    assert!(matches!(error, Error::Removed), "{error}");
    store.write(unconcerned).unwrap();
    // Sent again it makes a new series, although the cache knew the old one.
    store.write(request(&store, tenant, &[3], NOW)).unwrap();
    assert_eq!(id(&store, tenant, 3), Some(SeriesId::new(11)));
    assert_eq!(
        store
            .view(tenant)
            .with_samples(
                &[SeriesId::new(3), SeriesId::new(11)],
                crate::model::TimeRange::new(
                    Timestamp::from_millis(NOW),
                    Timestamp::from_millis(NOW + 1)
                ),
            )
            .unwrap(),
        [SeriesId::new(11)]
    );
}

#[test]
fn what_has_samples_in_the_head_or_is_held_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (store, tenant) = open(directory.path());
    put(&store, tenant, 0..10, NOW - 9 * DAY);
    store.flush().unwrap();
    put(&store, tenant, 2..3, NOW);
    forget_day(&store, tenant, NOW - 9 * DAY);
    let held = [5, 6].map(SeriesId::new);
    store.hold(tenant, &held);
    store.hold(tenant, &held[..1]);
    assert_eq!(store.clean(tenant).unwrap(), 7);
    assert!(id(&store, tenant, 2).is_some() && id(&store, tenant, 5).is_some());
    store.release(tenant, &held);
    assert_eq!(store.clean(tenant).unwrap(), 1);
    assert!(id(&store, tenant, 5).is_some(), "held twice");
    store.release(tenant, &held[..1]);
    assert_eq!(store.clean(tenant).unwrap(), 1);
    assert_eq!(store.select(tenant, &Selector::default()).unwrap(), [SeriesId::new(2)]);
}

/// Writers and cleaning at the same time: every acknowledged sample is found under a living series.
#[test]
fn cleaning_beside_writers_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (store, tenant) = open(directory.path());
    let day = |round: i64| NOW - 30 * DAY + round * DAY;
    std::thread::scope(|scope| {
        for writer in 0..2_u32 {
            let store = store.clone();
            scope.spawn(move || {
                for round in 0..20 {
                    for n in 0..50 {
                        let series = [writer * 1000 + n];
                        loop {
                            let time = day(round) + i64::from(n);
                            match store.write(request(&store, tenant, &series, time)) {
                                Ok(_) => break,
                                Err(Error::Removed) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                    }
                }
            });
        }
        scope.spawn(|| {
            for round in 0..20 {
                store.flush().unwrap();
                forget_day(&store, tenant, day(round));
                store.clean(tenant).unwrap();
            }
        });
    });
    store.flush().unwrap();
    // The last day is still there for whoever wrote after it was forgotten; all ids are living ones.
    for id in store.select(tenant, &Selector::default()).unwrap() {
        let key = store.series(tenant, id).unwrap().unwrap();
        assert_eq!(store.find_series(tenant, &key).unwrap(), Some(id));
    }
    let active = store.active_days(tenant, i32::MIN, i32::MAX).unwrap();
    let living = store.shared.index.all_series(tenant);
    assert!(active.is_subset(&living), "a sample was written to a series that is gone");
}

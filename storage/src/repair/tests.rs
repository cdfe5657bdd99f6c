//! What a repair does with an index and a log that contradict themselves: each row of the table takes
//! something away or adds it, and the repair brings the answers back.

mod forgotten;
mod journal;
mod segments;

use std::path::{Path, PathBuf};

use super::{Mode, Repaired, repair};
use crate::clock::ManualClock;
use crate::config::StoreConfig;
use crate::error::Error;
use crate::key::{Fact, Family, Key, PostingKind};
use crate::kv::{Batch, Kv, Sync};
use crate::model::{
    MetricNo, Selector, Sequence, SeriesId, SeriesKey, TenantId, TimeRange, Timestamp,
};
use crate::offline;
use crate::segment::partition_of;
use crate::store::Store;
use crate::verify::{Part, verify};

const NOW: i64 = 1_764_000_000_000;

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("moneta-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is found in the system's folder for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(directory: &Path) -> Store {
    let clock = ManualClock::at(Timestamp::from_millis(NOW));
    Store::open(directory, StoreConfig::default(), clock).unwrap()
}

fn put(store: &Store, tenant: TenantId, host: u32, time: i64) {
    let key = SeriesKey {
        metric: format!("metric{}", host % 3),
        dimensions: [("host", format!("h{host}").as_str()), ("zone", "z")].into_iter().collect(),
        region: String::new(),
    };
    let mut request = store.request(tenant);
    let time = Timestamp::from_millis(time);
    request
        .push(&key.encode(), || Ok::<_, Error>(key.clone()), time, f64::from(host), None)
        .unwrap();
    store.write(request).unwrap();
}

/// Changes what RocksDB holds, behind the store's back.
fn change(directory: &Path, change: impl FnOnce(&Kv, &mut Batch)) {
    let kv = Kv::open(&offline::database(directory), &offline::sizes()).unwrap();
    let mut batch = Batch::default();
    change(&kv, &mut batch);
    kv.commit(batch, Sync::Disk).unwrap();
}

/// All that is asked of a store.
fn answers(store: &Store) -> Vec<String> {
    let mut all = Vec::new();
    for tenant in store.tenants() {
        all.push(format!("{:?}", store.tenant_name(tenant)));
        let active = Selector { active: Some(TimeRange::ALL), ..Selector::default() };
        for selector in [Selector::default(), active] {
            let ids = store.select(tenant, &selector).unwrap();
            let view = store.view(tenant);
            let read = view.read(&ids, TimeRange::ALL, u64::MAX, |id, samples| {
                let key = store.series(tenant, id)?.unwrap();
                assert_eq!(store.find_series(tenant, &key)?, Some(id));
                all.push(format!("{key:?} {:?} {:?}", samples.times, samples.values));
                Ok::<_, Error>(())
            });
            read.unwrap();
            for name in ["host", "zone"] {
                let values = store.dimension_values(tenant, name, &selector, None, 100).unwrap();
                all.push(format!("{values:?}"));
            }
        }
        let names = store.metric_names(tenant, &Selector::default(), None, 100).unwrap();
        all.push(format!("{names:?}"));
    }
    all
}

/// Damages a store of flushed and unflushed samples, repairs it, and compares the answers.
#[track_caller]
fn check(name: &str, damage: impl FnOnce(&Kv, &mut Batch)) -> Repaired {
    let folder = Folder::new(name);
    let store = open(&folder.0);
    let tenant = store.tenant("t").unwrap();
    (0..20).for_each(|host| put(&store, tenant, host, NOW - 1000));
    store.flush().unwrap();
    store.merge().unwrap();
    (15..25).for_each(|host| put(&store, tenant, host, NOW));
    store.flush().unwrap();
    (0..5).for_each(|host| put(&store, tenant, host, NOW + 1000));
    let before = answers(&store);
    drop(store);
    assert_eq!(verify(&folder.0, &|_, _| {}).unwrap().problems, []);
    change(&folder.0, damage);
    let found = verify(&folder.0, &|_, _| {}).unwrap().problems;
    assert!(!found.is_empty(), "nothing is noticed");
    let repaired = repair(&folder.0, Mode::Apply, &|_, _| {}).unwrap();
    assert_eq!(repaired.left, [], "{:?}", repaired.steps);
    assert_eq!(repaired.found, found);
    let after = answers(&open(&folder.0));
    if repaired.lost.is_empty() {
        assert_eq!(after, before, "{:?}", repaired.steps);
    } else {
        assert!(after != before);
    }
    assert_eq!(verify(&folder.0, &|_, _| {}).unwrap().problems, []);
    repaired
}

const T: TenantId = TenantId::new(1);

#[track_caller]
fn check_whole(name: &str, damage: impl FnOnce(&Kv, &mut Batch)) {
    assert_eq!(check(name, damage).lost, []);
}

#[test]
fn lists_come_back_from_definitions() {
    let metric = Key::Posting(T, PostingKind::Metric, "", "metric1");
    let zone = Key::Posting(T, PostingKind::Dimension, "zone", "z");
    let host = Key::Posting(T, PostingKind::Dimension, "host", "h7");
    check_whole("metric-list", |_, batch| batch.delete(&metric));
    check_whole("dimension-list", |_, batch| batch.delete(&zone));
    check_whole("one-too-many", |_, batch| batch.add_to_posting(host.encode(), &[3]));
    check_whole("one-that-is-nobody", |_, batch| batch.delete(&host));
    check_whole("not-a-set", |_, batch| batch.put(&host, vec![9, 9]));
    check_whole("hash-lists", |kv, batch| {
        kv.scan(Family::Series, &crate::key::HASH_PREFIX, &crate::key::HASH_PREFIX, |key, _| {
            batch.delete_raw(Family::Series, key.to_vec());
            Ok::<_, Error>(true)
        })
        .unwrap();
    });
    check_whole("seed", |_, batch| batch.delete(&Key::Fact(Fact::HashSeed)));
}

#[test]
fn definitions_come_back_from_series_tables() {
    check_whole("one-definition", |_, batch| batch.delete(&Key::Series(T, SeriesId::new(4))));
    check_whole("young-definition", |_, batch| batch.delete(&Key::Series(T, SeriesId::new(22))));
    check_whole("not-a-definition", |_, batch| {
        batch.put(&Key::Series(T, SeriesId::new(9)), vec![1, 2]);
    });
    check_whole("all-definitions", |_, batch| {
        (0..25).for_each(|id| batch.delete(&Key::Series(T, SeriesId::new(id))));
    });
    check_whole("metric-name", |_, batch| batch.delete(&Key::Metric(T, MetricNo::new(1))));
    check_whole("tenant", |_, batch| batch.delete(&Key::Tenant(T)));
}

#[test]
fn activity_and_facts_come_back_from_segments() {
    let day = partition_of(NOW - 1000);
    check_whole("activity", |_, batch| batch.delete(&Key::Activity(T, day)));
    check_whole("activity-of-nobody", |_, batch| {
        batch.add_bitmap(&Key::Activity(T, day), &[999].into_iter().collect());
    });
    check_whole("trimmed", |_, batch| batch.put(&Key::Fact(Fact::TrimmedTo), vec![0; 8]));
    check_whole("next-segment", |_, batch| batch.delete(&Key::Fact(Fact::NextSegment)));
}

#[test]
fn a_bad_log_record_does_not_take_those_after_it_along() {
    let first = Sequence::new(31);
    let repaired = check("log-record", |_, batch| batch.put(&Key::Wal(first), vec![1, 2, 3]));
    assert!(repaired.lost.iter().all(|lost| lost.part == Part::Log), "{:?}", repaired.lost);
    let repaired = check("log-gap", |_, batch| batch.delete(&Key::Wal(first.next())));
    assert_eq!(repaired.lost.len(), 1);
    check("log-end", |_, batch| batch.put(&Key::Wal(Sequence::new(35)), vec![]));
}

#[test]
fn an_id_that_nobody_has_is_taken_out_and_said() {
    let zone = Key::Posting(T, PostingKind::Dimension, "zone", "z");
    let folder_free = check_lost("ghost", |_, batch| batch.add_to_posting(zone.encode(), &[500]));
    assert_eq!(folder_free.lost.len(), 1, "{:?}", folder_free.lost);
}

/// As [`check`], where something is reported as lost and the answers stay.
#[track_caller]
fn check_lost(name: &str, damage: impl FnOnce(&Kv, &mut Batch)) -> Repaired {
    let folder = Folder::new(name);
    let store = open(&folder.0);
    let tenant = store.tenant("t").unwrap();
    (0..5).for_each(|host| put(&store, tenant, host, NOW));
    store.flush().unwrap();
    let before = answers(&store);
    drop(store);
    change(&folder.0, damage);
    let repaired = repair(&folder.0, Mode::Apply, &|_, _| {}).unwrap();
    assert_eq!(repaired.left, [], "{:?}", repaired.steps);
    assert_eq!(answers(&open(&folder.0)), before);
    repaired
}

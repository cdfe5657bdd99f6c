//! Tests of forgetting as a whole, on a store: what other threads do meanwhile, and what is damaged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::{Deletion, DeletionRequest, DeletionState, Tombstone};
use crate::key::Key;
use crate::kv::{Batch, Sync};
use crate::model::{
    DimensionMatcher, Keep, Selector, Sequence, TenantId, TimeRange, Timestamp, ValueMatcher,
};
use crate::retention::{MetricPattern, Policies, Policy};
use crate::scratch::{Scratch, request};
use crate::segment::PARTITION_MS;
use crate::{Error, Store, StoreConfig};

const DAY: i64 = 20_000 * PARTITION_MS;
/// An hour into the day.
const START: i64 = DAY + 3_600_000;

/// Everything that is seen: series and time, value.
fn seen(store: &Store, tenant: TenantId) -> BTreeMap<(u32, i64), f64> {
    let all = store.select(tenant, &Selector::default()).unwrap();
    let mut seen = BTreeMap::new();
    let view = store.view(tenant);
    view.read(&all, TimeRange::ALL, u64::MAX, |id, samples| {
        for (&time, &value) in samples.times.iter().zip(&samples.values) {
            seen.insert((id.number(), time), value);
        }
        Ok::<_, Error>(())
    })
    .unwrap();
    seen
}

/// All samples of a series.
fn all_of(tenant: TenantId, series: u32) -> DeletionRequest {
    let value = ValueMatcher::Equals(series.to_string());
    let dimensions = vec![DimensionMatcher { name: "n".into(), value }];
    let selector = Selector { dimensions, ..Selector::default() };
    let (by, what) = ("test".to_owned(), "test".to_owned());
    DeletionRequest { tenant, selector, times: TimeRange::ALL, by, what }
}

/// A merge that comes between "what was written so far" and the tombstone's being in force would join
/// hidden rows with newer ones, and a series block cannot tell them apart any more.
#[test]
fn what_was_acknowledged_before_a_deletion_never_comes_back_whatever_runs_meanwhile() {
    let scratch = Scratch::new();
    let (store, _clock) = scratch.store(StoreConfig::default(), DAY + PARTITION_MS);
    let tenant = store.tenant("t").unwrap();
    // Counting these takes a deletion a while.
    let others = (0..200_000).map(|at| (1, DAY + PARTITION_MS + at, 1.0));
    store.write(request(&store, tenant, others)).unwrap();
    store.flush().unwrap();
    let acknowledged = Arc::new(AtomicI64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (store, acknowledged, over) = (store.clone(), acknowledged.clone(), over.clone());
        move || {
            for block in 0.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                // Enough for a series block.
                let samples = || (0..200).map(|at| (0, START + block * 200 + at, 1.0));
                while let Err(error) = store.write(request(&store, tenant, samples())) {
                    // The series was without samples for a moment, and was cleaned.
                    assert!(matches!(error, Error::Removed), "{error}");
                }
                acknowledged.store(block + 1, Ordering::SeqCst);
                store.flush().unwrap();
                store.merge().unwrap();
            }
        }
    });
    while acknowledged.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    for _ in 0..20 {
        let before = START + acknowledged.load(Ordering::SeqCst) * 200;
        match store.delete(all_of(tenant, 0)) {
            Ok(_) => {}
            Err(error) => assert!(error.to_string().contains("no series"), "{error}"),
        }
        let mut back = seen(&store, tenant);
        back.retain(|(series, time), _| *series != 1 && *time < before);
        let back: Vec<_> = back.into_keys().collect();
        assert_eq!(back.len(), 0, "deleted and seen, before {before}: {:?}", back.first());
    }
    over.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    store.verify().unwrap();
}

/// So many that the index is written again.
#[test]
fn many_series_leave_the_index_and_the_others_stay() {
    let scratch = Scratch::new();
    let (store, _clock) = scratch.store(StoreConfig::default(), DAY + PARTITION_MS);
    let tenant = store.tenant("t").unwrap();
    store.write(request(&store, tenant, (0..12_000).map(|series| (series, START, 1.0)))).unwrap();
    store.flush().unwrap();
    let selector = Selector {
        dimensions: vec![DimensionMatcher {
            name: "n".into(),
            value: ValueMatcher::Matches(crate::model::Pattern::new("[0-9]*[1-9]").unwrap()),
        }],
        ..Selector::default()
    };
    store.delete(DeletionRequest { selector, ..all_of(tenant, 0) }).unwrap();
    store.sweep().unwrap();
    assert_eq!(store.select(tenant, &Selector::default()).unwrap().len(), 1200);
    let values =
        store.dimension_values(tenant, "n", &Selector::default(), None, usize::MAX).unwrap();
    assert_eq!(values.len(), 1200);
    store.write(request(&store, tenant, [(11, START, 2.0)])).unwrap();
    assert_eq!(store.select(tenant, &Selector::default()).unwrap().len(), 1201);
    store.verify().unwrap();
}

#[test]
fn a_cancelled_deletion_of_which_nothing_is_left_stays_cancelled() {
    let scratch = Scratch::new();
    let (store, clock) = scratch.store(StoreConfig::default(), DAY + PARTITION_MS);
    let tenant = store.tenant("t").unwrap();
    store.write(request(&store, tenant, [(0, START, 1.0)])).unwrap();
    let number = store.delete(all_of(tenant, 0)).unwrap().number;
    let cancelled = Deletion {
        state: DeletionState::Cancelled,
        finished: Some(Timestamp::from_millis(DAY + PARTITION_MS)),
        segments_left: 0,
        ..store.deletion(number).unwrap().unwrap()
    };
    let mut batch = Batch::default();
    batch.put(&Key::Deletion(number), super::stored::encode(&cancelled));
    store.sweep().unwrap();
    store.shared().kv.commit(batch, Sync::Disk).unwrap();
    clock.set(Timestamp::from_millis(DAY + 2 * PARTITION_MS));
    let tombstone = Tombstone {
        number,
        tenant,
        series: [0].into(),
        times: TimeRange::ALL,
        upto: Sequence::ZERO,
        clean_from: 1,
    };
    super::finish(store.shared(), &tombstone).unwrap();
    assert_eq!(store.deletion(number).unwrap().unwrap(), cancelled);
}

/// The removal of a tenant is stored before it is known in memory; a flush may come in between.
#[test]
fn a_flush_goes_on_while_a_tenant_is_being_removed() {
    let scratch = Scratch::new();
    let (store, _clock) = scratch.store(StoreConfig::default(), DAY + PARTITION_MS);
    let (tenant, other) = (store.tenant("t").unwrap(), store.tenant("u").unwrap());
    store.write(request(&store, tenant, [(0, START, 1.0)])).unwrap();
    store.write(request(&store, other, [(0, START, 2.0)])).unwrap();
    let mut batch = Batch::default();
    batch.delete_tenant(tenant);
    store.shared().kv.commit(batch, Sync::Disk).unwrap();
    assert!(store.shared().index.tenant_by_id(tenant).is_some());
    store.flush().unwrap();
    assert_eq!(seen(&store, other).len(), 1);
    store.write(request(&store, other, [(1, START, 2.0)])).unwrap();
}

/// A flush that was under way when a tenant was removed may leave activity behind; it goes with the
/// tombstone, and only without one is it a damage.
#[test]
fn what_a_flush_leaves_of_a_removed_tenant_is_no_damage_until_its_tombstone_is_gone() {
    let scratch = Scratch::new();
    let (store, clock) = scratch.store(StoreConfig::default(), DAY + PARTITION_MS);
    let tenant = store.tenant("t").unwrap();
    store.write(request(&store, tenant, [(0, START, 1.0)])).unwrap();
    store.remove_tenant(tenant, "test").unwrap();
    store.sweep().unwrap();
    let kv = store.shared().kv.clone();
    let tombstone = Tombstone {
        number: 7,
        tenant,
        series: Default::default(),
        times: TimeRange::ALL,
        upto: Sequence::ZERO,
        clean_from: u64::MAX,
    };
    let mut batch = Batch::default();
    batch.put(&Key::Tombstone(7), tombstone.encode());
    batch.add_bitmap(&Key::Activity(tenant, 20_000), &[5].into());
    kv.commit(batch, Sync::Disk).unwrap();
    drop((store, clock, kv));
    let problems = || crate::verify::verify(scratch.path(), &|_, _| {}).unwrap().problems;
    assert_eq!(problems(), []);
    let (store, clock) = scratch.store(StoreConfig::default(), DAY + PARTITION_MS);
    let kv = store.shared().kv.clone();
    store.sweep().unwrap();
    assert_eq!(kv.get(&Key::Activity(tenant, 20_000)).unwrap(), None, "gone with its tombstone");
    let mut batch = Batch::default();
    batch.add_bitmap(&Key::Activity(tenant, 20_000), &[5].into());
    kv.commit(batch, Sync::Disk).unwrap();
    drop((store, clock, kv));
    assert_eq!(problems().len(), 1);
}

/// A segment in quarantine may come back with a repair, and its series with it.
#[test]
fn series_of_a_segment_in_quarantine_stay_in_the_index() {
    let scratch = Scratch::new();
    let (store, clock) = scratch.store(StoreConfig::default(), DAY + PARTITION_MS);
    let tenant = store.tenant("t").unwrap();
    store.write(request(&store, tenant, [(7, START, 1.0)])).unwrap();
    store.flush().unwrap();
    let path = store.shared().live.moment().segments[0].address.path();
    let path = store.shared().directory.join(path);
    drop((store, clock));
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (store, _clock) = scratch.store(StoreConfig::default(), DAY + PARTITION_MS);
    assert_eq!(store.quarantined().len(), 1);
    assert_eq!(store.sweep().unwrap().series_removed, 0);
    assert_eq!(store.select(tenant, &Selector::default()).unwrap().len(), 1);
    // Also where something else of the day goes.
    store.write(request(&store, tenant, [(8, START, 1.0)])).unwrap();
    store.delete(all_of(tenant, 8)).unwrap();
    store.flush().unwrap();
    store.sweep().unwrap();
    let left = store.select(tenant, &Selector::default()).unwrap();
    assert!(left.iter().any(|id| id.number() == 0), "{left:?}");
}

fn keep_days(days: u64) -> Policies {
    let raw = Keep::For(std::time::Duration::from_secs(days * 86_400));
    let metric = MetricPattern::parse("*").unwrap();
    Policies::new(vec![Policy { tenant: None, metric, raw, rollups: Vec::new() }]).unwrap()
}

/// A look of the sweeper by itself.
fn beat(store: &Store) {
    store.shared().sweeper.ask(crate::sweep::Order::Beat).unwrap();
}

/// Years ahead all is hidden, and nothing is removed; set right, all is there.
#[test]
fn a_clock_that_leaps_removes_nothing() {
    let scratch = Scratch::new();
    let now = DAY + PARTITION_MS;
    let (store, clock) = scratch.store(StoreConfig::default(), now);
    let tenant = store.tenant("t").unwrap();
    store.set_retention(keep_days(30)).unwrap();
    store.write(request(&store, tenant, [(0, START, 1.0), (1, START, 1.0)])).unwrap();
    store.flush().unwrap();
    store.write(request(&store, tenant, [(0, START, 2.0)])).unwrap();
    let all = seen(&store, tenant);
    assert_eq!(all.len(), 2);
    let leapt = now + 4000 * PARTITION_MS;
    clock.set(Timestamp::from_millis(leapt));
    assert_eq!(seen(&store, tenant).len(), 0, "hidden at once");
    for look in 0..40 {
        clock.set(Timestamp::from_millis(leapt + look * 60_000));
        beat(&store);
    }
    // Nor does anything else that writes segments, or that changes policies.
    store.flush().unwrap();
    store.merge().unwrap();
    store.set_retention(keep_days(31)).unwrap();
    assert_eq!(store.stats().segment_samples, 2);
    clock.set(Timestamp::from_millis(now + 60_000));
    beat(&store);
    assert_eq!(seen(&store, tenant), all);
    // It runs on from there, without a write: what it shows is true.
    for look in 0..=70 {
        clock.set(Timestamp::from_millis(leapt + look * 60_000));
        beat(&store);
    }
    assert_eq!(store.stats().segments, 0);
    assert_eq!(store.select(tenant, &Selector::default()).unwrap(), []);
}

/// Of an overwritten value the newer one may be gone when the clock goes back, so neither is seen.
#[test]
fn a_clock_that_goes_back_brings_nothing_back() {
    let scratch = Scratch::new();
    let now = START + 2 * PARTITION_MS;
    // Less than the time after which the merger takes the day for over, and joins both files.
    const BACK: i64 = 600_000;
    let (store, clock) = scratch.store(StoreConfig::default(), now - BACK);
    let tenant = store.tenant("t").unwrap();
    store.set_retention(keep_days(2)).unwrap();
    // Of the older file too little expires for it to be written again.
    let others = (0..50).map(|at| (0, START + at * 60_000, 1.0));
    store.write(request(&store, tenant, others)).unwrap();
    store.flush().unwrap();
    store.write(request(&store, tenant, [(0, START, 2.0)])).unwrap();
    store.flush().unwrap();
    clock.set(Timestamp::from_millis(now + 1));
    assert_eq!(seen(&store, tenant).len(), 49);
    store.sweep().unwrap();
    assert_eq!(store.stats().segment_samples, 50, "the newer value is gone");
    clock.set(Timestamp::from_millis(now - BACK));
    assert_eq!(seen(&store, tenant).len(), 49);
    drop((store, clock));
    let (store, _clock) = scratch.store(StoreConfig::default(), now - BACK);
    assert_eq!(seen(&store, tenant).len(), 49);
}

/// A backfill that would vanish at once is told so.
#[test]
fn what_no_policy_keeps_is_refused_at_the_door() {
    let scratch = Scratch::new();
    let (store, _clock) = scratch.store(StoreConfig::default(), DAY);
    let tenant = store.tenant("t").unwrap();
    store.set_retention(keep_days(2)).unwrap();
    let check = |time: i64, want: Result<(), ()>| {
        let mut request = store.request(tenant);
        let key = crate::scratch::key(0);
        let time = Timestamp::from_millis(time);
        let pushed = request.push(&key.encode(), || Ok::<_, Error>(key), time, 1.0, None);
        let oldest = (DAY - 2 * PARTITION_MS).to_string();
        if let Err(error) = &pushed {
            assert!(error.to_string().contains(&oldest), "{error} names {oldest}");
        }
        assert_eq!(pushed.map_err(drop), want, "{time}");
    };
    check(DAY - 2 * PARTITION_MS, Ok(()));
    check(DAY - 2 * PARTITION_MS - 1, Err(()));
    check(0, Err(()));
    store.set_retention(Policies::default()).unwrap();
    check(0, Ok(()));
}

//! The feed: every write once and in order, from memory or from the log; the log is kept for whoever
//! still needs it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use moneta_storage::clock::ManualClock;
use moneta_storage::feed::{Consumer, Feed, FeedEvent};
use moneta_storage::model::{Sequence, TenantId, Timestamp};
use moneta_storage::{Store, StoreConfig};
use moneta_tests::{key, write};

const NOW: i64 = 1_764_000_000_000;

fn open(directory: &Path) -> (Store, Arc<ManualClock>, TenantId) {
    let clock = ManualClock::at(Timestamp::from_millis(NOW));
    let config = StoreConfig { consumer: Consumer::Expected, ..StoreConfig::default() };
    let store = Store::open(directory, config, clock.clone()).unwrap();
    let tenant = store.tenant("t").unwrap();
    (store, clock, tenant)
}

fn write_one(store: &Store, tenant: TenantId, value: u32) {
    let cpu = key("cpu", &[]);
    write(store, tenant, &[(&cpu, NOW + i64::from(value), f64::from(value), None)]).unwrap();
}

/// The values of the batches up to `last`.
fn values(feed: &mut Feed, last: u64) -> Vec<f64> {
    let mut values = Vec::new();
    loop {
        match feed.next(None).unwrap() {
            FeedEvent::Batch(batch) => {
                values.extend(batch.rows().map(|row| row.value));
                if batch.last() >= Sequence::new(last) {
                    return values;
                }
            }
            FeedEvent::Due | FeedEvent::Woken | FeedEvent::CheckpointWanted => {}
            FeedEvent::CutOff | FeedEvent::Closed => panic!("the log is there"),
        }
    }
}

#[test]
fn every_write_comes_once_in_order_also_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _clock, tenant) = open(directory.path());
    let mut feed = store.feed(Sequence::ZERO).unwrap();
    (1..=5).for_each(|value| write_one(&store, tenant, value));
    assert_eq!(values(&mut feed, 5), [1.0, 2.0, 3.0, 4.0, 5.0]);
    feed.release(Sequence::new(2));
    drop(feed);
    // Nobody has released more than 2, so closing keeps the log.
    store.close().unwrap();
    drop(store);
    let (store, _clock, tenant) = open(directory.path());
    // Before its consumer is back, a flush leaves the log alone as well.
    store.flush().unwrap();
    write_one(&store, tenant, 6);
    let mut feed = store.feed(Sequence::new(2)).unwrap();
    assert_eq!(values(&mut feed, 6), [3.0, 4.0, 5.0, 6.0]);
    feed.release(Sequence::new(6));
    store.flush().unwrap();
    assert_eq!(store.stats().head_rows, 0);
    write_one(&store, tenant, 7);
    assert_eq!(values(&mut feed, 7), [7.0]);
}

#[test]
fn one_that_comes_back_to_a_trimmed_place_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _clock, tenant) = open(directory.path());
    let feed = store.feed(Sequence::ZERO).unwrap();
    (1..=5).for_each(|value| write_one(&store, tenant, value));
    feed.release(Sequence::new(5));
    store.flush().unwrap();
    let mut feed = store.feed(Sequence::new(2)).unwrap();
    assert!(matches!(feed.next(None).unwrap(), FeedEvent::CutOff));
    write_one(&store, tenant, 6);
    assert_eq!(values(&mut feed, 6), [6.0]);
}

#[test]
fn a_flush_under_steady_writes_gets_through_and_the_consumer_goes_on() {
    /// Far more than it takes.
    const WRITES_MAX: u64 = 50_000;
    let directory = tempfile::tempdir().unwrap();
    let (store, _clock, tenant) = open(directory.path());
    let mut feed = store.feed(Sequence::ZERO).unwrap();
    let waker = feed.waker();
    let flushed = AtomicBool::new(false);
    let (mut seen, mut checkpoints) = (0_u32, 0);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let more = |_: &u32| !flushed.load(Ordering::Acquire);
            let values = (1..=u32::MAX).zip(1..=WRITES_MAX).map(|(value, _)| value);
            values.take_while(more).map(|value| write_one(&store, tenant, value)).count()
        });
        scope.spawn(|| {
            while store.stats().segments == 0 && store.newest() < Sequence::new(WRITES_MAX) {
                store.flush().unwrap();
            }
            flushed.store(true, Ordering::Release);
            waker.wake();
        });
        while !flushed.load(Ordering::Acquire) || feed.is_behind() {
            match feed.next(None).unwrap() {
                FeedEvent::Batch(batch) => {
                    for row in batch.rows() {
                        seen += 1;
                        assert_eq!(row.value, f64::from(seen));
                    }
                }
                FeedEvent::CheckpointWanted => {
                    checkpoints += 1;
                    feed.release(Sequence::new(u64::from(seen)));
                }
                FeedEvent::Due | FeedEvent::Woken => {}
                FeedEvent::CutOff | FeedEvent::Closed => panic!("the log is there"),
            }
        }
        writer.join().unwrap()
    });
    assert!(store.stats().segments > 0, "no flush got through {written} writes");
    assert!((1..=seen).contains(&checkpoints), "{checkpoints} checkpoints for {seen} writes");
}

#[test]
fn timers_come_before_batches_of_their_instant() {
    let directory = tempfile::tempdir().unwrap();
    let (store, clock, tenant) = open(directory.path());
    let mut feed = store.feed(Sequence::ZERO).unwrap();
    let due = Timestamp::from_millis(NOW + 10);
    clock.set(due);
    write_one(&store, tenant, 1);
    assert!(matches!(feed.next(Some(due)).unwrap(), FeedEvent::Due));
    let later = Timestamp::from_millis(NOW + 11);
    assert!(matches!(feed.next(Some(later)).unwrap(), FeedEvent::Batch(_)));
}

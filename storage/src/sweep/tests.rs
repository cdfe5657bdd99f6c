//! Sweeps that fail, and what they leave.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::ManualClock;
use crate::deletion::{DeletionRequest, DeletionState};
use crate::model::{
    DimensionMatcher, Keep, Selector, TenantId, TimeRange, Timestamp, ValueMatcher,
};
use crate::retention::{MetricPattern, Policies, Policy};
use crate::scratch::{Scratch, request};
use crate::segment::{PARTITION_MS, Segment};
use crate::space::{FreeSpace, ManualDisk};
use crate::{Store, StoreConfig};

const DAY: i64 = 20_000 * PARTITION_MS;

fn of_series(tenant: TenantId, series: u32, first: i64, end: i64) -> DeletionRequest {
    let value = ValueMatcher::Equals(series.to_string());
    let dimensions = vec![DimensionMatcher { name: "n".into(), value }];
    let times = TimeRange::new(Timestamp::from_millis(first), Timestamp::from_millis(end));
    let selector = Selector { dimensions, ..Selector::default() };
    DeletionRequest { tenant, selector, times, by: "test".into(), what: "test".into() }
}

fn samples_of(series: u32, day: i64) -> impl Iterator<Item = (u32, i64, f64)> {
    (0..300).map(move |at| (series, DAY + day * PARTITION_MS + at * 1000, 1.0))
}

fn keep_days(days: u64) -> Policies {
    let raw = Keep::For(std::time::Duration::from_secs(days * 86_400));
    let metric = MetricPattern::parse("*").unwrap();
    Policies::new(vec![Policy { tenant: None, metric, raw, rollups: Vec::new() }]).unwrap()
}

fn of_day(store: &Store, day: i64) -> Arc<Segment> {
    let partition = i32::try_from(20_000 + day).unwrap();
    let segments = store.shared().live.moment().segments;
    segments.iter().find(|segment| segment.address.partition == partition).unwrap().clone()
}

/// A store on a disk that can be filled, at the end of [`DAY`].
fn on_a_disk(scratch: &Scratch) -> (Store, Arc<ManualClock>, Arc<ManualDisk>) {
    let disk = ManualDisk::of(1 << 40);
    let config = StoreConfig {
        disk: disk.clone(),
        free_space_min: FreeSpace::Bytes(1 << 20),
        ..StoreConfig::default()
    };
    let (store, clock) = scratch.store(config, DAY + PARTITION_MS);
    (store, clock, disk)
}

/// What has expired is what a full disk needs.
#[test]
fn expired_segments_go_although_the_head_cannot_be_flushed() {
    let scratch = Scratch::new();
    let (store, clock, disk) = on_a_disk(&scratch);
    let tenant = store.tenant("t").unwrap();
    store.write(request(&store, tenant, samples_of(0, 0))).unwrap();
    store.flush().unwrap();
    store.set_retention(keep_days(2)).unwrap();
    clock.set(Timestamp::from_millis(DAY + 4 * PARTITION_MS));
    store.write(request(&store, tenant, samples_of(1, 3))).unwrap();
    disk.set_free(10);
    store.shared().space.look();
    store.delete(of_series(tenant, 1, i64::MIN, i64::MAX)).unwrap();
    assert!(store.flush().is_err(), "there is no room for a flush");
    assert_eq!(store.stats().segments, 1);
    let _ = store.sweep();
    assert_eq!(store.stats().segments, 0);
}

/// Without room a segment stays as it is; with it, the next sweep writes it again.
#[test]
fn a_segment_that_could_not_be_rewritten_is_tried_again() {
    let scratch = Scratch::new();
    let (store, clock, disk) = on_a_disk(&scratch);
    let tenant = store.tenant("t").unwrap();
    let hours = (0..24).map(|hour| (u32::from(hour > 11), DAY + hour * 3_600_000, 1.0));
    store.write(request(&store, tenant, hours)).unwrap();
    store.flush().unwrap();
    store.set_retention(keep_days(2)).unwrap();
    clock.set(Timestamp::from_millis(DAY + 5 * PARTITION_MS / 2));
    // It is told to believe the clock.
    assert_eq!(store.sweep().unwrap().segments_rewritten, 0);
    disk.set_free(10);
    store.shared().space.look();
    // What has expired by earlier policies is looked for everywhere.
    store.set_retention(keep_days(3)).unwrap();
    assert!(store.sweep().is_err());
    assert_eq!(store.stats().segment_samples, 24);
    disk.set_free(1 << 40);
    store.shared().space.look();
    assert_eq!(store.sweep().unwrap().segments_rewritten, 1);
    assert_eq!(store.stats().segment_samples, 12);
}

/// One in quarantine may come back, but only of its own day.
#[test]
fn a_deletion_ends_although_a_segment_of_another_day_is_in_quarantine() {
    let scratch = Scratch::new();
    let (store, clock) = scratch.store(StoreConfig::default(), DAY + 2 * PARTITION_MS);
    let tenant = store.tenant("t").unwrap();
    for day in [0, 1] {
        store.write(request(&store, tenant, samples_of(0, day))).unwrap();
        store.flush().unwrap();
    }
    let path = scratch.path().join(of_day(&store, 0).address.path());
    drop((store, clock));
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (store, _clock) = scratch.store(StoreConfig::default(), DAY + 2 * PARTITION_MS);
    assert_eq!(store.quarantined().len(), 1);
    let of = |first: i64, end: i64| of_series(tenant, 0, DAY + first, DAY + end);
    let first = store.delete(of(PARTITION_MS, PARTITION_MS + 60_000)).unwrap().number;
    let second = store.delete(of(0, 2 * PARTITION_MS)).unwrap().number;
    store.sweep().unwrap();
    let state = |number: u64| store.deletion(number).unwrap().unwrap().state;
    assert_eq!(state(first), DeletionState::Done);
    assert_eq!(state(second), DeletionState::Hidden, "it would come back");
}

/// A damaged block elsewhere, or even there, does not keep anything from being deleted.
#[test]
fn a_deletion_goes_on_where_a_block_is_damaged() {
    let scratch = Scratch::new();
    let (store, _clock) = scratch.store(StoreConfig::default(), DAY + PARTITION_MS);
    let tenant = store.tenant("t").unwrap();
    // Few of each: they share row blocks, which a census has to read.
    let few = (0..200).map(|series| (series, DAY + i64::from(series), 1.0));
    store.write(request(&store, tenant, few)).unwrap();
    store.flush().unwrap();
    let segment = of_day(&store, 0);
    let block = segment.row_group(&segment.row_groups()[0]).unwrap()[0].extent;
    let path = scratch.path().join(segment.address.path());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[usize::try_from(block.at).unwrap() + 20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut none = BTreeMap::new();
    let all = store.select(tenant, &Selector::default()).unwrap();
    let read = store.view(tenant).read(&all, TimeRange::ALL, u64::MAX, |id, samples| {
        none.insert(id.number(), samples.times.len());
        Ok::<_, crate::Error>(())
    });
    assert!(read.is_err(), "the block is damaged");
    let deletion = store.delete(of_series(tenant, 0, i64::MIN, i64::MAX)).unwrap();
    assert_eq!((deletion.plan.series, deletion.plan.samples), (1, 0));
}

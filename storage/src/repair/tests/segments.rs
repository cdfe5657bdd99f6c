//! Repair of segments beside others: siblings, files that nobody lists, what lies in quarantine.

use super::*;
use crate::batch::Batch as Joint;
use crate::manifest;
use crate::merge::merge_in_pieces;
use crate::segment::{PARTITION_MS, Segment, SegmentAddress, SegmentFacts};

/// Changes RocksDB of a directory that nobody has open.
fn change(directory: &Path, damage: impl FnOnce(&Kv, &mut Batch)) {
    let kv = Kv::open(&offline::database(directory), &offline::sizes()).unwrap();
    let mut batch = Batch::default();
    damage(&kv, &mut batch);
    kv.commit(batch, Sync::Disk).unwrap();
}

fn listed(directory: &Path) -> Vec<(SegmentAddress, SegmentFacts)> {
    let kv = Kv::open_read_only(&offline::database(directory), &offline::sizes()).unwrap();
    offline::manifest_entries(&kv, |_| {}).unwrap()
}

/// Makes a repair look at files that nobody lists.
fn spoil_manifest(_: &Kv, batch: &mut Batch) {
    batch.put(&Key::Segment(0, 0, u64::MAX), vec![9]);
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn apply(directory: &Path) -> Repaired {
    let repaired = repair(directory, Mode::Apply, &|_, _| {}).unwrap();
    assert_eq!(repaired.left, [], "{:?}", repaired.steps);
    assert_eq!(verify(directory, &|_, _| {}).unwrap().problems, []);
    repaired
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { drop(std::fs::copy(&path, &target)) }
    }
}

#[test]
fn series_that_only_a_segment_in_quarantine_has_come_back() {
    let folder = Folder::new("quarantined-series");
    let store = open(&folder.0);
    let tenant = store.tenant("t").unwrap();
    (0..5).for_each(|host| put(&store, tenant, host, NOW - 3 * PARTITION_MS));
    store.flush().unwrap();
    (5..8).for_each(|host| put(&store, tenant, host, NOW));
    store.flush().unwrap();
    let before = answers(&store);
    drop(store);
    flip(&folder.0.join(listed(&folder.0)[0].0.path()), 3);
    let store = open(&folder.0);
    assert_eq!(store.stats().quarantined, 1);
    store.sweep().unwrap();
    drop(store);
    // Also where their definitions are gone.
    change(&folder.0, |_, batch| batch.delete(&Key::Series(T, SeriesId::new(2))));
    let repaired = apply(&folder.0);
    assert_eq!((repaired.lost.as_slice(), repaired.lost_samples), (&[][..], 0));
    assert_eq!(answers(&open(&folder.0)), before);
}

/// Writes hundreds of samples of some series, twice over.
fn fill(store: &Store, tenant: TenantId) {
    for step in 0..2_i64 {
        let mut request = store.request(tenant);
        for host in 0..30 {
            let key = SeriesKey {
                metric: format!("metric{}", host % 3),
                dimensions: [("host", format!("h{host}").as_str())].into_iter().collect(),
                region: String::new(),
            };
            for sample in 0..400_i64 {
                let time = Timestamp::from_millis(NOW - 1_000_000 + sample * 1000 + step);
                let value = f64::from(host) + (sample * sample % 977) as f64 / 7.0;
                let raw = key.encode();
                request.push(&raw, || Ok::<_, Error>(key.clone()), time, value, None).unwrap();
            }
        }
        store.write(request).unwrap();
        store.flush().unwrap();
    }
}

/// A store of siblings, with the answers it gives.
fn siblings(folder: &Folder) -> (Vec<String>, Vec<(SegmentAddress, SegmentFacts)>) {
    let store = open(&folder.0);
    let tenant = store.tenant("t").unwrap();
    fill(&store, tenant);
    merge_in_pieces(&store, 16 << 10);
    let before = answers(&store);
    drop(store);
    let segments = listed(&folder.0);
    assert!(segments.len() > 1, "there are siblings");
    assert!(segments.iter().all(|(_, facts)| facts.sequences == segments[0].1.sequences));
    (before, segments)
}

#[test]
fn siblings_do_not_overlap_and_are_all_kept() {
    let folder = Folder::new("siblings");
    let (before, _) = siblings(&folder);
    assert_eq!(verify(&folder.0, &|_, _| {}).unwrap().problems, []);
    change(&folder.0, spoil_manifest);
    let repaired = apply(&folder.0);
    assert_eq!((repaired.lost.len(), repaired.lost_samples), (0, 0), "{:?}", repaired.lost);
    assert_eq!(answers(&open(&folder.0)), before);
}

#[test]
fn a_missing_sibling_is_missed() {
    let folder = Folder::new("missing-sibling");
    let (_, segments) = siblings(&folder);
    std::fs::remove_file(folder.0.join(segments[0].0.path())).unwrap();
    let repaired = apply(&folder.0);
    assert_eq!(repaired.lost_samples, segments[0].1.samples, "{:?}", repaired.steps);
    assert_eq!(repaired.lost.len(), 1);
}

/// What was merged and the inputs are both there, as after a crash; RocksDB is gone.
#[track_caller]
fn check_both(name: &str, outputs_kept: impl Fn(&[SegmentAddress]) -> usize) {
    let folder = Folder::new(name);
    let store = open(&folder.0);
    let tenant = store.tenant("t").unwrap();
    fill(&store, tenant);
    let aside = Folder::new(&format!("{name}-aside"));
    copy(&folder.0.join("segments"), &aside.0);
    merge_in_pieces(&store, 16 << 10);
    assert!(store.stats().segments > 1, "there are siblings");
    let before = answers(&store);
    drop(store);
    let outputs: Vec<SegmentAddress> =
        listed(&folder.0).into_iter().map(|(address, _)| address).collect();
    for gone in &outputs[outputs_kept(&outputs)..] {
        std::fs::remove_file(folder.0.join(gone.path())).unwrap();
    }
    copy(&aside.0, &folder.0.join("segments"));
    std::fs::remove_dir_all(folder.0.join("rocksdb")).unwrap();
    let repaired = apply(&folder.0);
    assert_eq!(repaired.lost_samples, 0, "{:?}", repaired.lost);
    assert_eq!(answers(&open(&folder.0)), before);
}

#[test]
fn an_output_counts_only_with_all_its_siblings() {
    check_both("whole-set", <[_]>::len);
    check_both("cut-short-set", |outputs| outputs.len() - 1);
}

#[test]
fn a_flush_that_the_log_still_has_is_not_listed() {
    let folder = Folder::new("uncommitted-flush");
    let aside = Folder::new("uncommitted-flush-aside");
    let store = open(&folder.0);
    let tenant = store.tenant("t").unwrap();
    (0..5).for_each(|host| put(&store, tenant, host, NOW - 1000));
    store.flush().unwrap();
    (0..5).for_each(|host| put(&store, tenant, host, NOW - PARTITION_MS));
    (5..9).for_each(|host| put(&store, tenant, host, NOW));
    let before = answers(&store);
    drop(store);
    copy(&folder.0, &aside.0);
    let committed = listed(&folder.0);
    let store = open(&folder.0);
    store.flush().unwrap();
    drop(store);
    // Of the two segments of the flush the younger day's came to the disk.
    let (orphan, _) = listed(&folder.0)
        .into_iter()
        .filter(|entry| !committed.contains(entry))
        .max_by_key(|(address, _)| address.partition)
        .unwrap();
    let target = aside.0.join(orphan.path());
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    std::fs::copy(folder.0.join(orphan.path()), target).unwrap();
    change(&aside.0, spoil_manifest);
    let repaired = apply(&aside.0);
    assert_eq!(repaired.lost_samples, 0);
    assert_eq!(answers(&open(&aside.0)), before);
}

#[test]
fn what_is_in_quarantine_already_stays_beside_what_comes() {
    let folder = Folder::new("quarantined-twice");
    let store = open(&folder.0);
    let tenant = store.tenant("t").unwrap();
    (0..5).for_each(|host| put(&store, tenant, host, NOW));
    store.flush().unwrap();
    drop(store);
    let (address, _) = listed(&folder.0).remove(0);
    let segment = folder.0.join(address.path());
    flip(&segment, 40);
    let damaged = std::fs::read(&segment).unwrap();
    let quarantined = folder.0.join(offline::QUARANTINE).join(address.below());
    std::fs::create_dir_all(quarantined.parent().unwrap()).unwrap();
    std::fs::write(&quarantined, b"older").unwrap();
    apply(&folder.0);
    assert_eq!(std::fs::read(&quarantined).unwrap(), damaged);
    assert_eq!(std::fs::read(quarantined.with_extension("seg.1")).unwrap(), b"older");
}

#[test]
fn a_log_record_far_behind_the_others_is_no_reason_to_fill_the_gap() {
    let folder = Folder::new("far-gap");
    let store = open(&folder.0);
    let tenant = store.tenant("t").unwrap();
    (0..5).for_each(|host| put(&store, tenant, host, NOW));
    let before = answers(&store);
    drop(store);
    let empty = |first| Joint {
        first: Sequence::new(first),
        arrival: Timestamp::from_millis(NOW),
        requests: vec![(T, 0)],
        rows: Vec::new(),
        metas: Vec::new(),
    };
    change(&folder.0, |_, batch| {
        batch.put(&Key::Wal(Sequence::new(1 << 50)), empty(1 << 50).encode());
        // This gap can be filled, with more than one record.
        batch.put(&Key::Wal(Sequence::new(200_000)), empty(200_000).encode());
    });
    let repaired = apply(&folder.0);
    assert_eq!(repaired.lost.len(), 2, "{:?}", repaired.lost);
    assert!(repaired.lost.iter().all(|lost| lost.part == Part::Log));
    assert_eq!(answers(&open(&folder.0)), before);
}

#[test]
fn rows_of_a_removed_tenant_need_no_table() {
    let folder = Folder::new("removed-rows");
    let store = open(&folder.0);
    let tenant = store.tenant("t").unwrap();
    put(&store, tenant, 0, NOW);
    store.flush().unwrap();
    let before = answers(&store);
    drop(store);
    let address = SegmentAddress { number: 70, ..listed(&folder.0).remove(0).0 };
    let place = crate::segment::SeriesPlace {
        tenant: TenantId::new(9),
        metric: MetricNo::new(0),
        series: SeriesId::new(0),
    };
    let rows = crate::segment::SeriesRows {
        times: vec![NOW],
        sequences: vec![1],
        values: vec![1.0],
        metas: Vec::new(),
    };
    let range = (Sequence::new(2), Sequence::new(2));
    let path = folder.0.join(address.path());
    let mut writer = crate::segment::SegmentWriter::create(&path, 1).unwrap();
    let rows = crate::segment::SeriesRows { sequences: vec![2], ..rows };
    writer.add(place, &rows).unwrap();
    let facts = writer.finish(range, std::iter::empty()).unwrap().unwrap();
    drop(Segment::open(&folder.0, address.clone()).unwrap());
    change(&folder.0, |_, batch| {
        batch.put(&manifest::key(&address), manifest::encode(&facts));
        batch.put(&Key::Fact(Fact::TrimmedTo), 2_u64.to_le_bytes().to_vec());
        batch.put(&Key::Fact(Fact::NextSegment), 71_u64.to_le_bytes().to_vec());
        super::forgotten::tombstone(batch, TenantId::new(9), [], 2);
    });
    assert_eq!(verify(&folder.0, &|_, _| {}).unwrap().problems, []);
    // Damaged, its rows are no loss.
    flip(&path, 3);
    let repaired = apply(&folder.0);
    assert_eq!((repaired.lost.as_slice(), repaired.lost_samples), (&[][..], 0));
    assert_eq!(answers(&open(&folder.0)), before);
}

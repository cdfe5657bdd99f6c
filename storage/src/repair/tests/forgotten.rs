//! Repair and what was deleted, has expired or was removed: it stays so, or the report says that it does
//! not.

use super::*;
use crate::deletion::Tombstone;
use crate::offline::Offline;

/// Hides everything of some series; of none: that the tenant was removed.
pub(super) fn tombstone(
    batch: &mut Batch,
    tenant: TenantId,
    series: impl IntoIterator<Item = u32>,
    upto: u64,
) {
    let tombstone = Tombstone {
        number: 1,
        tenant,
        series: series.into_iter().collect(),
        times: TimeRange::ALL,
        upto: Sequence::new(upto),
        clean_from: 2,
    };
    batch.put(&Key::Tombstone(1), tombstone.encode());
}

#[test]
fn what_was_deleted_stays_deleted_in_a_segment_that_is_written_again() {
    let folder = Folder::new("deleted");
    let store = open(&folder.0);
    let tenant = store.tenant("t").unwrap();
    (0..6).for_each(|host| put(&store, tenant, host, NOW));
    store.flush().unwrap();
    drop(store);
    let kv = Kv::open(&offline::database(&folder.0), &offline::sizes()).unwrap();
    let mut batch = Batch::default();
    tombstone(&mut batch, tenant, [1, 2], 6);
    kv.commit(batch, Sync::Disk).unwrap();
    let (address, _) = offline::manifest_entries(&kv, |_| {}).unwrap().remove(0);
    drop(kv);
    let before = answers(&open(&folder.0));
    let path = folder.0.join(address.path());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[3] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let repaired = repair(&folder.0, Mode::Apply, &|_, _| {}).unwrap();
    assert_eq!((repaired.left.as_slice(), repaired.lost_samples), (&[][..], 0));
    let kv = Kv::open_read_only(&offline::database(&folder.0), &offline::sizes()).unwrap();
    let stored = kv.get(&Key::Tombstone(1)).unwrap().unwrap();
    assert_eq!(Tombstone::decode(1, &stored).unwrap().clean_from, u64::MAX);
    drop(kv);
    let store = open(&folder.0);
    assert_eq!(answers(&store), before);
    store.sweep().unwrap();
    drop(store);
    let read = |directory: &Path| {
        let all = answers(&open(directory));
        all.iter().filter(|line| line.contains("SeriesKey")).count()
    };
    assert_eq!(read(&folder.0), 8, "four series, asked for in two ways");
}

#[test]
fn a_removed_tenant_stays_removed_without_rocksdb() {
    let folder = Folder::new("removed");
    let store = open(&folder.0);
    let (gone, stays) = (store.tenant("gone").unwrap(), store.tenant("stays").unwrap());
    let last = store.tenant("last").unwrap();
    for tenant in [gone, stays, last] {
        (0..5).for_each(|host| put(&store, tenant, host, NOW));
    }
    store.flush().unwrap();
    store.merge().unwrap();
    drop(store);
    let segments = Folder::new("removed-segments");
    let files = crate::recovery::segment_files(&folder.0.join("segments")).unwrap();
    let aside = segments.0.join("segment");
    std::fs::copy(&files[0], &aside).unwrap();
    let store = open(&folder.0);
    store.remove_tenant(gone, "test").unwrap();
    store.remove_tenant(last, "test").unwrap();
    store.sweep().unwrap();
    let before = answers(&store);
    drop(store);
    // The segment as it was before the space came back, and nothing of RocksDB.
    for file in crate::recovery::segment_files(&folder.0.join("segments")).unwrap() {
        std::fs::remove_file(file).unwrap();
    }
    std::fs::copy(&aside, &files[0]).unwrap();
    std::fs::remove_dir_all(offline::database(&folder.0)).unwrap();
    let repaired = repair(&folder.0, Mode::Apply, &|_, _| {}).unwrap();
    assert_eq!(repaired.left, [], "{:?}", repaired.steps);
    for part in [Part::Retention, Part::Deletion] {
        assert!(repaired.lost.iter().any(|lost| lost.part == part), "{:?}", repaired.lost);
    }
    let store = open(&folder.0);
    assert_eq!(answers(&store), before);
    let again = store.tenant("gone").unwrap();
    assert!(again > last, "numbers are not given again");
    store.sweep().unwrap();
    assert_eq!(store.stats().segment_samples, 5);
    drop(store);
    assert_eq!(verify(&folder.0, &|_, _| {}).unwrap().problems, []);
}

/// An entry that does not decode is a problem of its own: the repair removes it alone.
#[track_caller]
fn check_entry(name: &str, part: Part, key: &Key<'_>) {
    let folder = Folder::new(name);
    let store = open(&folder.0);
    let tenant = store.tenant("t").unwrap();
    (0..5).for_each(|host| put(&store, tenant, host, NOW));
    store.flush().unwrap();
    let before = answers(&store);
    drop(store);
    change(&folder.0, |_, batch| batch.put(key, vec![7]));
    let found = verify(&folder.0, &|_, _| {}).unwrap().problems;
    assert_eq!(found.iter().map(|found| found.part).collect::<Vec<_>>(), [part], "{found:?}");
    let repaired = repair(&folder.0, Mode::Apply, &|_, _| {}).unwrap();
    assert_eq!(repaired.left, [], "{:?}", repaired.steps);
    assert!(!repaired.steps.iter().any(|step| step.contains("RocksDB")), "{:?}", repaired.steps);
    if part != Part::Facts {
        assert_eq!(repaired.lost.len(), 1, "{:?}", repaired.lost);
        assert_eq!(repaired.lost[0].part, part);
    }
    assert_eq!(answers(&open(&folder.0)), before);
    let offline = Offline::open(&folder.0).unwrap();
    let left = offline.kv.unwrap().get(key).unwrap();
    assert!(left.is_none_or(|left| left.len() == 8), "the bad one is gone");
}

#[test]
fn a_bad_entry_about_deletion_or_retention_goes_alone() {
    check_entry("bad-policies", Part::Retention, &Key::Policies);
    check_entry("bad-floors", Part::Retention, &Key::Floors(T));
    check_entry("bad-tombstone", Part::Deletion, &Key::Tombstone(4));
    check_entry("bad-deletion", Part::Deletion, &Key::Deletion(4));
    check_entry("bad-removed", Part::Facts, &Key::Fact(Fact::RemovedTenant));
    check_entry("bad-arrival", Part::Facts, &Key::Fact(Fact::LastArrival));
}

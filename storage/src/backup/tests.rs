//! Snapshots and backups of stores that are not whole, or were left in the middle of something.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::{Progress, Repository};
use crate::clock::ManualClock;
use crate::model::{Selector, Timestamp};
use crate::offline::QUARANTINE;
use crate::recovery::segment_files;
use crate::scratch::{Scratch, request};
use crate::segment::PARTITION_MS;
use crate::{Store, StoreConfig};

const NOW: i64 = 20_000 * PARTITION_MS;

fn onward(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A store with a segment on each of three days.
fn filled(scratch: &Scratch) -> (Store, Vec<PathBuf>) {
    let (store, _) = scratch.store(StoreConfig::default(), NOW);
    let tenant = store.tenant("t").unwrap();
    for day in 0..3 {
        store.write(request(&store, tenant, [(1, NOW - day * PARTITION_MS, 1.0)])).unwrap();
    }
    store.flush().unwrap();
    let mut files = segment_files(&scratch.path().join("segments")).unwrap();
    files.sort();
    assert_eq!(files.len(), 3);
    (store, files)
}

#[test]
fn what_is_in_quarantine_is_saved_and_what_is_gone_is_told() {
    let (scratch, other) = (Scratch::new(), Scratch::new());
    let (store, files) = filled(&scratch);
    drop(store);
    let mut bytes = fs::read(&files[0]).unwrap();
    bytes[3] ^= 1;
    fs::write(&files[0], &bytes).unwrap();
    fs::remove_file(&files[1]).unwrap();
    let (store, _) = scratch.store(StoreConfig::default(), NOW);
    assert_eq!(store.stats().quarantined, 2);

    let snapshot = other.path().join("snapshot");
    let list = store.snapshot(&snapshot).unwrap();
    let below = files[0].strip_prefix(scratch.path().join("segments")).unwrap();
    let aside = PathBuf::from(QUARANTINE).join(below);
    assert_eq!(fs::read(snapshot.join(&aside)).unwrap(), bytes);
    let gone = files[1].strip_prefix(scratch.path()).unwrap();
    let without = [aside.to_str().unwrap(), gone.to_str().unwrap()].map(str::to_owned);
    assert_eq!(list.without(), without);
    let clock = ManualClock::at(Timestamp::from_millis(NOW));
    let copy = Store::open(&snapshot, StoreConfig::default(), clock.clone()).unwrap();
    assert_eq!(copy.stats().quarantined, 2);

    let repository = other.path().join("repository");
    store.backup(&repository, &mut onward).unwrap();
    let target = other.path().join("restored");
    let restored = Repository::open(&repository).unwrap();
    let restored = restored.restore(None, &target, clock, &mut onward).unwrap();
    assert_eq!(restored.without, without);
    assert_eq!(restored.verified.unwrap().samples, 1);
    assert_eq!(fs::read(target.join(&aside)).unwrap(), bytes);
}

#[test]
fn a_snapshot_has_the_names_of_the_tenants() {
    let (scratch, other) = (Scratch::new(), Scratch::new());
    let (store, _) = filled(&scratch);
    let target = other.path().join("snapshot");
    store.snapshot(&target).unwrap();
    let name = crate::roster::NAME;
    assert_eq!(fs::read(target.join(name)).unwrap(), fs::read(scratch.path().join(name)).unwrap());
    // A later tenant is none of the snapshot's.
    store.tenant("later").unwrap();
    assert_eq!(crate::roster::read(&target).len(), 1);
}

#[test]
fn what_a_backup_could_not_remove_does_not_hinder_the_next() {
    let (scratch, other) = (Scratch::new(), Scratch::new());
    let (store, _) = filled(&scratch);
    let staging = scratch.path().join(super::STAGING);
    fs::create_dir_all(staging.join("rocksdb")).unwrap();
    fs::write(staging.join("rocksdb/left"), "?").unwrap();
    let repository = other.path().join("repository");
    // One that runs is another matter.
    let refused = store.backup(&repository, &mut |_| {
        let error = store.backup(&other.path().join("second"), &mut onward).unwrap_err();
        assert!(error.to_string().contains("another backup"), "{error}");
        ControlFlow::Continue(())
    });
    assert_eq!(refused.unwrap().id, 1);
    assert!(!staging.exists());
    let tenant = store.find_tenant("t").unwrap();
    assert_eq!(store.select(tenant, &Selector::default()).unwrap().len(), 1);
}

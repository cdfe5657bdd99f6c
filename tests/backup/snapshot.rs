//! Snapshots: whatever was acknowledged is inside, of every write all or nothing, however others write,
//! flush and merge meanwhile.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use moneta_storage::ErrorKind;
use moneta_tests::open;

use super::{NOW, backup, expected, files, filled, onward, restored, samples, write};

/// Snapshots taken while others write, flush and merge.
const SNAPSHOTS: usize = 12;

/// Ends the other threads also when this one fails.
struct StopWhenDropped<'a>(&'a AtomicBool);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn snapshots_under_writes_flushes_and_merges_hold_every_acknowledged_write() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _clock) = open(directory.path(), NOW).unwrap();
    let acknowledged = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = StopWhenDropped(&stop);
        scope.spawn(|| {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                write(&store, number);
                acknowledged.store(number + 1, Ordering::SeqCst);
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                store.flush().and_then(|()| store.merge()).unwrap();
            }
        });
        for round in 0..SNAPSHOTS {
            let before = acknowledged.load(Ordering::SeqCst);
            let target = directory.path().join(format!("snapshot-{round}"));
            let list = store.snapshot(&target).unwrap();
            let after = acknowledged.load(Ordering::SeqCst);
            assert!(list.newest.number() >= before);
            // What the source does from now on does not reach the snapshot.
            let (copy, _clock) = open(&target, NOW).unwrap();
            copy.verify().unwrap();
            let stored = samples(&copy);
            // One more than was heard of may have been committed. Whole writes, without a gap.
            let whole = (before..=after + 1).find(|&writes| expected(0..writes) == stored);
            assert!(whole.is_some(), "round {round}: {} samples after {before}", stored.len());
        }
    });
    assert_eq!(samples(&store), expected(0..acknowledged.into_inner()));
}

#[test]
fn a_snapshot_is_a_store_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory.path().join("data"));
    let target = directory.path().join("deep/er/snapshot");
    let list = store.snapshot(&target).unwrap();
    assert_eq!(list.newest, store.newest());
    assert!(!target.join("unfinished").exists() && target.join("snapshot").exists());
    // Segments are the same files; nothing but them is listed by the manifest or lies there.
    let count = files(&target.join("segments")).len();
    assert_eq!(u64::try_from(count).unwrap(), store.stats().segments);
    let (copy, _clock) = open(&target, NOW).unwrap();
    assert_eq!(samples(&copy), samples(&store));
    write(&copy, 70);
    copy.flush().unwrap();
    copy.merge().unwrap();
    store.merge().unwrap();
    assert_eq!((samples(&copy), samples(&store)), (expected(0..71), expected(0..70)));
    assert!(copy.verify().is_ok() && store.verify().is_ok());
}

#[test]
fn targets_that_will_not_do_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let store = filled(&data);
    let full = directory.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("precious"), "1").unwrap();
    let unfinished = directory.path().join("half");
    fs::create_dir(&unfinished).unwrap();
    fs::write(unfinished.join("unfinished"), "").unwrap();
    let refused = [
        full.clone(),
        data.clone(),
        unfinished.clone(),
        data.join("segments/x"),
        data.join("rocksdb"),
        directory.path().join("full/../data/segments/x"),
        directory.path().join("nowhere/../data/segments/x"),
    ];
    for target in &refused {
        let before = files(directory.path());
        let snapshot = store.snapshot(target).unwrap_err();
        let backup = store.backup(target, &mut onward).unwrap_err();
        for error in [snapshot, backup] {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{}: {error}", target.display());
        }
        assert_eq!(files(directory.path()), before, "{}", target.display());
    }
    let error = open(&unfinished, NOW).map(drop).unwrap_err();
    assert!(error.to_string().contains("interrupted"), "{error}");
    // An empty folder will do.
    let empty = directory.path().join("empty");
    fs::create_dir(&empty).unwrap();
    store.snapshot(&empty).unwrap();
}

#[test]
fn a_snapshot_cannot_leave_the_file_system_but_a_backup_can() {
    use std::os::unix::fs::MetadataExt;
    let directory = tempfile::tempdir().unwrap();
    let memory = Path::new("/dev/shm");
    let device = |path: &Path| fs::metadata(path).map(|facts| facts.dev()).ok();
    if device(memory).is_none() || device(memory) == device(directory.path()) {
        println!("no second file system here");
        return;
    }
    let elsewhere = tempfile::tempdir_in(memory).unwrap();
    let store = filled(&directory.path().join("data"));
    let target = elsewhere.path().join("snapshot");
    let error = store.snapshot(&target).unwrap_err().to_string();
    assert!(error.contains("another file system") && !target.exists(), "{error}");
    let repository = elsewhere.path().join("repository");
    backup(&store, &repository);
    assert_eq!(restored(&repository, None), expected(0..70));
}

//! Backups and restoring: what is acknowledged is inside, what is new is copied once, what
//! is damaged is named, and an interruption at any moment leaves what was there.

mod snapshot;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use moneta_storage::backup::{Progress, Repository, Step, Taken};
use moneta_storage::clock::ManualClock;
use moneta_storage::model::{Selector, TenantId, TimeRange, Timestamp};
use moneta_storage::record::{RecordBatch, RecordKind};
use moneta_storage::{Error, ErrorKind, Store};
use moneta_tests::{crash, open};

/// Later than every time that is written.
const NOW: i64 = 1_800_000_000_000;

type Samples = BTreeMap<(String, i64), u64>;

fn onward(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn write(store: &Store, number: u64) {
    let tenant = store.tenant("crash").unwrap();
    store.write(crash::request(store, tenant, number).unwrap()).unwrap();
}

/// Every sample of the store: series and time, bits of the value.
fn samples(store: &Store) -> Samples {
    let mut stored = BTreeMap::new();
    let Some(tenant) = store.find_tenant("crash") else { return stored };
    let all = store.select(tenant, &Selector::default()).unwrap();
    store
        .view(tenant)
        .read(&all, TimeRange::ALL, u64::MAX, |id, samples| {
            let key = store.series(tenant, id)?.unwrap();
            let name = key.dimensions.get("series").unwrap();
            for (time, value) in samples.times.iter().zip(&samples.values) {
                stored.insert((name.to_owned(), *time), value.to_bits());
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    stored
}

fn expected(numbers: std::ops::Range<u64>) -> Samples {
    numbers
        .flat_map(crash::samples)
        .map(|(key, time, value)| {
            ((key.dimensions.get("series").unwrap().to_owned(), time), value.to_bits())
        })
        .collect()
}

/// A store with segments of two levels and something in the log.
fn filled(directory: &Path) -> Store {
    let (store, _clock) = open(directory, NOW).unwrap();
    for number in 0..60 {
        write(&store, number);
        if number % 20 == 19 {
            store.flush().unwrap();
        }
        if number == 39 {
            store.merge().unwrap();
        }
    }
    for number in 60..70 {
        write(&store, number);
    }
    store
}

fn backup(store: &Store, repository: &Path) -> Taken {
    store.backup(repository, &mut onward).unwrap()
}

fn restore(repository: &Path, id: Option<u64>, target: &Path) -> Result<u64, Error> {
    let clock = ManualClock::at(Timestamp::from_millis(NOW));
    let repository = Repository::open(repository)?;
    Ok(repository.restore(id, target, clock, &mut onward)?.id)
}

/// What a restored backup holds.
fn restored(repository: &Path, id: Option<u64>) -> Samples {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("data");
    restore(repository, id, &target).unwrap();
    let (store, _clock) = open(&target, NOW).unwrap();
    store.verify().unwrap();
    samples(&store)
}

fn damages(repository: &Path) -> Vec<String> {
    let checked = Repository::open(repository).unwrap().check(None, &mut onward).unwrap();
    checked.damaged.iter().map(|(error, _)| error.to_string()).collect()
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn bytes(folder: &Path) -> u64 {
    files(folder).iter().map(|file| fs::metadata(file).unwrap().len()).sum()
}

#[test]
fn a_second_backup_copies_only_what_is_new() {
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path().join("repository");
    let store = filled(&directory.path().join("data"));
    let objects = || files(&repository.join("objects"));
    let segments = |files: &[PathBuf]| -> usize {
        files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "seg")).count()
    };
    let first = backup(&store, &repository);
    assert_eq!((first.id, first.files, first.bytes), (1, first.new_files, first.new_bytes));
    assert_eq!(bytes(&repository.join("objects")), first.bytes);
    assert!(!directory.path().join("data/staging").exists());
    let before = objects();

    write(&store, 70);
    let second = backup(&store, &repository);
    let added: Vec<PathBuf> = objects().into_iter().filter(|file| !before.contains(file)).collect();
    assert_eq!(second.id, 2);
    // The backup flushes: one day's new segment.
    assert_eq!((segments(&before) > 1, segments(&added)), (true, 1));
    assert_eq!(added.len(), usize::try_from(second.new_files).unwrap());
    let new_bytes: u64 = added.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert_eq!(second.new_bytes, new_bytes);
    assert!(second.new_files < second.files && second.new_bytes < second.bytes);

    let third = backup(&store, &repository);
    assert_eq!(segments(&objects()), segments(&before) + 1);
    assert!(third.new_bytes <= second.new_bytes, "{third:?}");
    assert_eq!(restored(&repository, Some(1)), expected(0..70));
    assert_eq!(restored(&repository, Some(2)), expected(0..71));
    assert_eq!(restored(&repository, None), expected(0..71));
}

#[test]
fn what_is_restored_answers_as_the_source_does() {
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path().join("repository");
    let store = filled(&directory.path().join("data"));
    let owner = TenantId::new(1);
    let mut batch = RecordBatch::new();
    batch.put(owner, RecordKind::Alarm, b"a", b"in alarm".to_vec());
    store.records().commit(batch).unwrap();
    backup(&store, &repository);
    let target = directory.path().join("restored");
    restore(&repository, None, &target).unwrap();
    let (copy, _clock) = open(&target, NOW).unwrap();
    assert_eq!(samples(&copy), samples(&store));
    assert_eq!(copy.newest(), store.newest());
    let record = copy.records().get(owner, RecordKind::Alarm, b"a").unwrap();
    assert_eq!(record.as_deref(), Some(b"in alarm".as_slice()));
    let tenant = store.find_tenant("crash").unwrap();
    let all = Selector::default();
    assert_eq!(copy.select(tenant, &all).unwrap(), store.select(tenant, &all).unwrap());
    // Where the source goes on, the copy does not.
    let error = restore(&repository, None, &target).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[test]
fn a_restored_store_goes_on_with_its_repository() {
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path().join("repository");
    let store = filled(&directory.path().join("data"));
    backup(&store, &repository);
    write(&store, 70);
    backup(&store, &repository);
    // Back to the first backup: its next segment has the name of one that the repository knows.
    let target = directory.path().join("restored");
    restore(&repository, Some(1), &target).unwrap();
    let (copy, _clock) = open(&target, NOW).unwrap();
    write(&copy, 71);
    assert_eq!(backup(&copy, &repository).id, 3);
    assert_eq!(restored(&repository, Some(2)), expected(0..71));
    let mut third = expected(0..70);
    third.extend(expected(71..72));
    assert_eq!(restored(&repository, Some(3)), third);
    // Another store does not belong there.
    let (other, _clock) = open(&directory.path().join("other"), NOW).unwrap();
    let error = other.backup(&repository, &mut onward).unwrap_err();
    assert!(error.to_string().contains("another data directory"), "{error}");
}

#[test]
fn damage_of_any_file_is_named_and_nothing_is_restored() {
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path().join("repository");
    let store = filled(&directory.path().join("data"));
    backup(&store, &repository);
    let target = directory.path().join("restored");
    let mut kinds = std::collections::BTreeSet::new();
    let list = repository.join("backups/0000000001.list");
    for file in files(&repository.join("objects")).into_iter().chain([list]) {
        let whole = fs::read(&file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        kinds.insert(name.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap().to_owned());
        let mut flipped = whole.clone();
        let at = whole.len() / 2;
        if let Some(byte) = flipped.get_mut(at) {
            *byte ^= 4;
        }
        let longer = [whole.as_slice(), b"x"].concat();
        let shorter = whole.get(..whole.len().saturating_sub(1)).unwrap().to_vec();
        for damaged in [Some(flipped), Some(longer), Some(shorter), None] {
            match &damaged {
                Some(bytes) if *bytes == whole => continue,
                Some(bytes) => fs::write(&file, bytes).unwrap(),
                None if name.ends_with(".list") => continue,
                None => fs::remove_file(&file).unwrap(),
            }
            let found = damages(&repository);
            assert!(found.len() == 1 && found[0].contains(&name), "{name}: {found:?}");
            let error = restore(&repository, None, &target).unwrap_err().to_string();
            assert!(error.contains(&name), "{name}: {error}");
            assert!(!target.exists(), "{name}");
        }
        fs::write(&file, &whole).unwrap();
    }
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    assert_eq!(kinds, ["", "CURRENT", "MANIFEST", "OPTIONS", "acknowledged", "tenants"]);
    assert_eq!(damages(&repository), [""; 0]);
    restore(&repository, None, &target).unwrap();
    fs::write(repository.join("repository"), "moneta repository 9\nstore 0\n").unwrap();
    let error = Repository::open(&repository).unwrap_err();
    assert!(error.to_string().contains("version 9"), "{error}");
}

#[test]
fn damage_of_the_source_is_found_at_the_restore_which_can_be_told_to_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let (data, repository) = (directory.path().join("data"), directory.path().join("repository"));
    let store = filled(&data);
    let segment = files(&data.join("segments")).pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    // Behind the header: a block.
    bytes[40] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    backup(&store, &repository);
    assert_eq!(damages(&repository), [""; 0]);
    let target = directory.path().join("restored");
    let error = restore(&repository, None, &target).unwrap_err();
    assert_eq!((error.kind(), target.exists()), (ErrorKind::Corrupt, false), "{error}");
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert!(error.to_string().contains(name), "{error}");
    let opened = Repository::open(&repository).unwrap();
    let restored = opened.restore_unopened(None, &target, &mut onward).unwrap();
    assert!(restored.verified.is_none() && !target.join("unfinished").exists());
    let copy = target.join(segment.strip_prefix(&data).unwrap());
    assert_eq!(fs::read(copy).unwrap(), bytes);
}

#[test]
fn an_object_that_is_gone_is_copied_again() {
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path().join("repository");
    let store = filled(&directory.path().join("data"));
    backup(&store, &repository);
    let objects = files(&repository.join("objects"));
    let segment = objects.iter().find(|file| file.to_str().unwrap().ends_with(".seg")).unwrap();
    fs::remove_file(segment).unwrap();
    backup(&store, &repository);
    assert!(segment.exists() && damages(&repository).is_empty());
}

#[test]
fn an_interruption_anywhere_leaves_the_earlier_backups() {
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path().join("repository");
    let data = directory.path().join("data");
    let store = filled(&data);
    backup(&store, &repository);
    write(&store, 70);
    store.flush().unwrap();
    let mut steps = 0;
    loop {
        let mut left = steps;
        let outcome = store.backup(&repository, &mut |_| {
            if left == 0 {
                return ControlFlow::Break(());
            }
            left -= 1;
            ControlFlow::Continue(())
        });
        assert!(!data.join("staging").exists());
        match outcome {
            Ok(taken) => {
                assert_eq!(taken.id, 2);
                break;
            }
            Err(error) => assert_eq!(error.to_string(), "cancelled"),
        }
        let ids: Vec<u64> =
            Repository::open(&repository).unwrap().list().unwrap().iter().map(|b| b.id).collect();
        assert_eq!((ids, damages(&repository).len()), (vec![1], 0), "step {steps}");
        steps += 1;
    }
    assert!(steps > 5, "{steps} steps");
    assert_eq!(restored(&repository, Some(1)), expected(0..70));
    assert_eq!(restored(&repository, Some(2)), expected(0..71));
}

#[test]
fn what_a_killed_backup_leaves_is_cleared_away() {
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path().join("repository");
    let data = directory.path().join("data");
    let store = filled(&data);
    backup(&store, &repository);
    // As a kill leaves it: the staging folder, an object on its way, one without a list, a list on
    // its way.
    store.snapshot(&directory.path().join("staging")).unwrap();
    drop(store);
    fs::rename(directory.path().join("staging"), data.join("staging")).unwrap();
    let parts = [repository.join("objects/incoming.part"), repository.join("backups/2.part")];
    for part in &parts {
        fs::write(part, "half").unwrap();
    }
    let orphan = repository.join("objects/000009-0123.seg");
    fs::write(&orphan, "whole, but no list was written").unwrap();
    assert_eq!(restored(&repository, None), expected(0..70));

    let (store, _clock) = open(&data, NOW).unwrap();
    assert!(!data.join("staging").exists());
    write(&store, 70);
    assert_eq!(backup(&store, &repository).id, 2);
    assert!(parts.iter().all(|part| !part.exists()));
    assert_eq!(restored(&repository, None), expected(0..71));
    let alone = Repository::open_alone(&repository).unwrap();
    let pruned = alone.prune(NonZeroU64::MAX).unwrap();
    assert_eq!((pruned.backups, pruned.files, orphan.exists()), (0, 1, false));
}

#[test]
fn prune_removes_what_no_kept_backup_needs() {
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path().join("repository");
    let store = filled(&directory.path().join("data"));
    for number in 70..74 {
        backup(&store, &repository);
        write(&store, number);
        store.merge().unwrap();
    }
    let before = bytes(&repository.join("objects"));
    // A damaged list among those that stay: nobody knows what it needs.
    let list = repository.join("backups/0000000004.list");
    let whole = fs::read(&list).unwrap();
    fs::write(&list, "?").unwrap();
    let alone = Repository::open_alone(&repository).unwrap();
    let error = alone.prune(NonZeroU64::new(2).unwrap()).unwrap_err();
    assert_eq!((error.kind(), bytes(&repository.join("objects"))), (ErrorKind::Corrupt, before));
    fs::write(&list, whole).unwrap();

    // Nobody else reads or writes meanwhile.
    assert!(Repository::open(&repository).is_err());
    assert!(store.backup(&repository, &mut onward).is_err());
    let pruned = alone.prune(NonZeroU64::new(2).unwrap()).unwrap();
    drop(alone);
    assert!(pruned.backups == 2 && pruned.bytes > 0, "{pruned:?}");
    assert_eq!(bytes(&repository.join("objects")), before - pruned.bytes);
    let error = restore(&repository, Some(2), &directory.path().join("x")).unwrap_err();
    assert!(error.to_string().contains("no backup 2"), "{error}");
    assert_eq!(restored(&repository, Some(3)), expected(0..72));
    assert_eq!(restored(&repository, Some(4)), expected(0..73));
    assert_eq!(backup(&store, &repository).id, 5);
}

#[test]
fn a_restore_that_is_ended_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path().join("repository");
    backup(&filled(&directory.path().join("data")), &repository);
    let repository = Repository::open(&repository).unwrap();
    let clock: Arc<ManualClock> = ManualClock::at(Timestamp::from_millis(NOW));
    let target = directory.path().join("restored");
    for last in [Step::Copy, Step::Verify] {
        let mut marked = false;
        let outcome = repository.restore(None, &target, clock.clone(), &mut |progress| {
            // Whoever looks meanwhile is told.
            marked |= target.join("unfinished").exists();
            if progress.step == last && (last == Step::Verify || progress.files > 2) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        assert_eq!(outcome.unwrap_err().to_string(), "cancelled");
        assert!(marked && !target.exists());
    }
}

//! Damaged files: a flipped bit or a missing end is noticed, reported with file and offset, and never
//! becomes a panic or a wrong number.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use moneta_storage::clock::ManualClock;
use moneta_storage::model::{TenantId, TimeRange, Timestamp};
use moneta_storage::repair::{self, repair};
use moneta_storage::verify::verify;
use moneta_storage::{Error, ErrorKind, Store, StoreConfig};
use moneta_tests::{key, open, write};

const NOW: i64 = 1_764_000_000_000;

/// A directory with one young and one merged segment of the same partition.
fn stored(directory: &Path) -> (Store, TenantId) {
    let (store, _clock) = open(directory, NOW).unwrap();
    let tenant = store.tenant("t").unwrap();
    let cpu = key("cpu", &[("host", "a")]);
    let mem = key("mem", &[("host", "a")]);
    let samples: Vec<_> = (0..1000)
        .map(|i| {
            (if i % 4 == 0 { &mem } else { &cpu }, NOW - 1_000_000 + i * 1000, i as f64 / 7.0, None)
        })
        .collect();
    write(&store, tenant, &samples).unwrap();
    store.flush().unwrap();
    store.merge().unwrap();
    write(&store, tenant, &[(&cpu, NOW, 1.5, Some("{\"a\": \"b\"}"))]).unwrap();
    store.flush().unwrap();
    (store, tenant)
}

/// Opens a directory only if nothing is damaged that opening looks at.
fn strictly(directory: &Path) -> Result<Store, Error> {
    let config = StoreConfig { strict: true, ..StoreConfig::default() };
    Store::open(directory, config, ManualClock::at(Timestamp::from_millis(NOW)))
}

fn segment_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![directory.join("segments")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

fn sum(store: &Store, tenant: TenantId) -> Result<(u64, f64), Error> {
    let series = store.select(tenant, &Default::default())?;
    let mut total = (0, 0.0);
    store.view(tenant).read(&series, TimeRange::ALL, u64::MAX, |_, samples| {
        total.0 += samples.times.len() as u64;
        total.1 += samples.values.iter().sum::<f64>();
        Ok::<_, Error>(())
    })?;
    Ok(total)
}

#[test]
fn a_flipped_bit_anywhere_in_a_segment_is_found_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let (store, tenant) = stored(directory.path());
    let right = sum(&store, tenant).unwrap();
    assert_eq!(right.0, 1001);
    drop(store);
    let files = segment_files(directory.path());
    assert_eq!(files.len(), 2);
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let whole = fs::read(&file).unwrap();
        // Every 37th byte reaches every part; the steps differ in phase from the parts' lengths.
        for at in (0..whole.len()).step_by(37) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&file, &damaged).unwrap();
            let found = verify(directory.path(), &|_, _| {}).unwrap().problems;
            assert!(found.iter().any(|found| found.place.contains(&name)), "byte {at}: {found:?}");
            let outcome = strictly(directory.path()).and_then(|store| {
                // A read may not touch the damaged part, but it must not be wrong.
                match sum(&store, tenant) {
                    Ok(read) => assert_eq!(read, right, "{name} byte {at}"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
                }
                store.verify()
            });
            let error = outcome.expect_err(&format!("{name} byte {at}"));
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains(&name), "{error}");
        }
        fs::write(&file, &whole).unwrap();
        assert_eq!(verify(directory.path(), &|_, _| {}).unwrap().problems, []);
    }
}

#[test]
fn a_shortened_segment_is_found_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _tenant) = stored(directory.path());
    drop(store);
    for file in segment_files(directory.path()) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let whole = fs::read(&file).unwrap();
        for length in [0, 1, 15, 16, 95, whole.len() / 2, whole.len() - 1] {
            fs::write(&file, &whole[..length]).unwrap();
            let found = verify(directory.path(), &|_, _| {}).unwrap().problems;
            assert!(found.iter().any(|found| found.place.contains(&name)), "{found:?}");
            let error = strictly(directory.path()).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains(&name), "{error}");
        }
        fs::remove_file(&file).unwrap();
        let error = strictly(directory.path()).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(&name), "{error}");
        fs::write(&file, &whole).unwrap();
    }
}

#[test]
fn a_start_goes_on_without_a_damaged_segment() {
    let directory = tempfile::tempdir().unwrap();
    let (store, tenant) = stored(directory.path());
    drop(store);
    let files = segment_files(directory.path());
    let merged = files[0].clone();
    let whole = fs::read(&merged).unwrap();
    fs::write(&merged, &whole[..whole.len() - 1]).unwrap();
    for start in 0..2 {
        let (store, _clock) = open(directory.path(), NOW).unwrap();
        assert_eq!(store.stats().quarantined, 1, "start {start}");
        let quarantined = store.quarantined();
        assert_eq!(quarantined[0].samples, 1000);
        assert!(quarantined[0].path.starts_with(directory.path().join("quarantine")));
        let newest = if start == 0 { 1.5 } else { 2.5 };
        assert_eq!(sum(&store, tenant).unwrap(), (1, newest));
        write(&store, tenant, &[(&key("cpu", &[("host", "a")]), NOW, 2.5, None)]).unwrap();
        store.flush().unwrap();
        store.merge().unwrap();
        assert_eq!(sum(&store, tenant).unwrap(), (1, 2.5));
        assert_eq!(store.verify().unwrap_err().kind(), ErrorKind::Corrupt);
    }
    // Nothing is merged across the gap. Back at its place, the segment is part of the store again.
    assert_eq!(segment_files(directory.path()).len(), 3);
    fs::write(&merged, &whole).unwrap();
    let (store, _clock) = open(directory.path(), NOW).unwrap();
    assert_eq!((store.stats().quarantined, sum(&store, tenant).unwrap().0), (0, 1001));
}

#[test]
fn a_data_directory_is_opened_once() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path(), NOW).unwrap();
    let error = open(directory.path(), NOW).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(first);
    open(directory.path(), NOW).unwrap();
}

#[test]
fn a_file_that_was_never_committed_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _tenant) = stored(directory.path());
    drop(store);
    let orphan = segment_files(directory.path())[0].with_file_name("000000000099.seg");
    fs::write(&orphan, b"half a segment").unwrap();
    drop(open(directory.path(), NOW).unwrap());
    assert!(!orphan.exists());
    assert_eq!(segment_files(directory.path()).len(), 2);
}

/// A file without an entry may be all that is left of a segment that is missing.
#[test]
fn nothing_is_removed_while_a_segment_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _tenant) = stored(directory.path());
    drop(store);
    let files = segment_files(directory.path());
    let renamed = files[0].with_file_name("000000000099.seg");
    fs::rename(&files[0], &renamed).unwrap();
    let (store, _clock) = open(directory.path(), NOW).unwrap();
    assert_eq!(store.stats().quarantined, 1);
    drop(store);
    let below = renamed.strip_prefix(directory.path().join("segments")).unwrap();
    let aside = directory.path().join("quarantine").join(below);
    assert!(!renamed.exists() && aside.is_file());
    // The next start finds a hole and a number in use; a repair of the hole leaves the file too.
    fs::rename(&aside, &renamed).unwrap();
    repair(directory.path(), repair::Mode::Apply, &|_, _| {}).unwrap();
    drop(open(directory.path(), NOW).unwrap());
    assert!(!renamed.exists() && aside.is_file());
}

#[test]
fn a_folder_of_another_layout_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _tenant) = stored(directory.path());
    drop(store);
    let segments = directory.path().join("segments");
    fs::rename(segments.join("tier-0"), segments.join("class-0")).unwrap();
    let error = open(directory.path(), NOW).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("class-0 is no folder of format version 1"), "{error}");
    let error = verify(directory.path(), &|_, _| {}).unwrap_err().to_string();
    assert!(error.contains("class-0 is no folder of format version 1"), "{error}");
    fs::rename(segments.join("class-0"), segments.join("tier-0")).unwrap();
    let (store, _clock) = open(directory.path(), NOW).unwrap();
    assert_eq!(store.stats().quarantined, 0);
}

/// What a power cut leaves of a database that was being created is no database that lost its beginning.
#[test]
fn a_directory_whose_creation_was_cut_off_opens() {
    let directory = tempfile::tempdir().unwrap();
    let rocksdb = directory.path().join("rocksdb");
    fs::create_dir(&rocksdb).unwrap();
    for name in ["MANIFEST-000001", "000004.log", "000001.dbtmp"] {
        fs::write(rocksdb.join(name), "").unwrap();
    }
    drop(open(directory.path(), NOW).unwrap());
    fs::remove_file(rocksdb.join("CURRENT")).unwrap();
    let error = open(directory.path(), NOW).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("CURRENT has a bad or missing content"), "{error}");
}

#[test]
fn a_file_at_no_segments_place_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _tenant) = stored(directory.path());
    drop(store);
    let copy = segment_files(directory.path())[0].with_file_name("before the upgrade.seg");
    fs::write(&copy, b"somebody's").unwrap();
    drop(open(directory.path(), NOW).unwrap());
    assert!(copy.is_file());
}

#[test]
fn a_log_that_lost_acknowledged_writes_is_reported_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _clock) = open(directory.path(), NOW).unwrap();
    let tenant = store.tenant("t").unwrap();
    let cpu = key("cpu", &[]);
    for i in 0..20 {
        write(&store, tenant, &[(&cpu, NOW + i, i as f64, None)]).unwrap();
    }
    drop(store);
    let log = fs::read_dir(directory.path().join("rocksdb"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&log).unwrap();
    let at = bytes.len() * 3 / 4;
    bytes[at] ^= 1;
    fs::write(&log, &bytes).unwrap();

    let strictly = || {
        let config = StoreConfig { strict: true, ..StoreConfig::default() };
        Store::open(directory.path(), config, ManualClock::at(Timestamp::from_millis(NOW)))
    };
    // A refusal leaves everything as it is, so it is the same at the next start.
    let database = || {
        let entries = fs::read_dir(directory.path().join("rocksdb")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        // RocksDB writes what it tells, and who has it open, also when it is opened for reading.
        let told =
            |path: &PathBuf| path.ends_with("LOCK") || path.to_string_lossy().contains("LOG");
        let files = paths.filter(|path| !told(path));
        files.map(|path| (path.clone(), fs::read(path).unwrap())).collect::<BTreeMap<_, _>>()
    };
    let before = database();
    for _ in 0..2 {
        let error = strictly().map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("was acknowledged"), "{error}");
        assert!(database() == before, "nothing is changed");
    }

    let (store, _clock) = open(directory.path(), NOW).unwrap();
    let losses = store.health().losses;
    assert!(losses.len() == 1 && losses[0].contains("was acknowledged"), "{losses:?}");
    let (count, _) = sum(&store, tenant).unwrap();
    assert!((1..20).contains(&count), "{count} of 20 are left");
    write(&store, tenant, &[(&cpu, NOW + 30, 1.0, None)]).unwrap();
    drop(store);
    // It has been reported; what is there now is whole.
    assert_eq!(strictly().unwrap().health().losses, Vec::<String>::new());
}

#[test]
fn segments_without_their_database_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _tenant) = stored(directory.path());
    drop(store);
    let files = segment_files(directory.path());
    fs::rename(directory.path().join("rocksdb"), directory.path().join("elsewhere")).unwrap();
    let error = open(directory.path(), NOW).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(segment_files(directory.path()), files);
    fs::remove_file(directory.path().join("acknowledged")).unwrap();
    let error = open(directory.path(), NOW).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("rocksdb"), "{error}");
    assert_eq!(segment_files(directory.path()), files);
    fs::remove_dir_all(directory.path().join("rocksdb")).unwrap();
    fs::rename(directory.path().join("elsewhere"), directory.path().join("rocksdb")).unwrap();
    open(directory.path(), NOW).unwrap().0.verify().unwrap();
}

#[test]
fn a_merge_leaves_a_damaged_segment_and_writes_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let (store, tenant) = stored(directory.path());
    drop(store);
    let young = segment_files(directory.path()).pop().unwrap();
    let mut bytes = fs::read(&young).unwrap();
    bytes[30] ^= 1;
    fs::write(&young, &bytes).unwrap();
    let (store, _clock) = open(directory.path(), NOW).unwrap();
    assert_eq!(store.merge().unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(store.stopped(), None);
    write(&store, tenant, &[(&key("cpu", &[]), NOW, 1.0, None)]).unwrap();
    store.flush().unwrap();
    assert_eq!(segment_files(directory.path()).len(), 3);
}

#[test]
fn rows_of_many_days_are_flushed_a_few_days_at_a_time() {
    const DAY: i64 = 24 * 3600 * 1000;
    let directory = tempfile::tempdir().unwrap();
    let (store, _clock) = open(directory.path(), NOW).unwrap();
    let tenant = store.tenant("t").unwrap();
    let cpu = key("cpu", &[]);
    let samples: Vec<_> = (0..150).map(|day| (&cpu, NOW - day * DAY, day as f64, None)).collect();
    write(&store, tenant, &samples).unwrap();
    let before = sum(&store, tenant).unwrap();
    store.flush().unwrap();
    assert_eq!(segment_files(directory.path()).len(), 150);
    assert_eq!(sum(&store, tenant).unwrap(), before);
    store.verify().unwrap();
}

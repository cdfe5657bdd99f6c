//! Repair: whatever is damaged, what is whole comes back, what is not is named, and afterwards nothing
//! is wrong any more.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use moneta_storage::model::TimeRange;
use moneta_storage::repair::{Mode, Repaired, repair};
use moneta_storage::verify::{Part, verify};
use moneta_storage::{Error, Store};
use moneta_tests::{copy_folder, key, open, write};

const NOW: i64 = 1_764_000_000_000;
const HOSTS: usize = 5;

/// Every sample of a store by tenant and series.
type Samples = BTreeMap<(String, String), Vec<(i64, u64, Option<String>)>>;

/// Two tenants with a merged and a young segment of two days, and a log that was not flushed.
fn stored(directory: &Path) -> Samples {
    let (store, _clock) = open(directory, NOW).unwrap();
    for name in ["first", "second"] {
        let tenant = store.tenant(name).unwrap();
        let hosts: Vec<String> = (0..HOSTS).map(|host| format!("{name}-{host}")).collect();
        let put = |metric: &str, start: i64, count: i64| {
            for host in &hosts {
                let series = key(metric, &[("host", host), ("zone", "z")]);
                let meta = |i| (i % 50 == 0).then_some("{\"rc\": \"404\"}");
                let samples: Vec<_> = (0..count)
                    .map(|i| (&series, start + i * 10_000, (i * 7 % 11) as f64 / 10.0, meta(i)))
                    .collect();
                write(&store, tenant, &samples).unwrap();
            }
        };
        put("cpu", NOW - 86_400_000, 1500);
        put("load", NOW - 3_600_000, 20);
        store.flush().unwrap();
        store.merge().unwrap();
        put("cpu", NOW - 600_000, 60);
        put("mem", NOW - 500_000, 3);
        store.flush().unwrap();
        put("cpu", NOW, 5);
        put("disk", NOW, 5);
    }
    everything(&store)
}

fn everything(store: &Store) -> Samples {
    let mut all = Samples::new();
    for tenant in store.tenants() {
        let name = store.tenant_name(tenant).unwrap();
        let series = store.select(tenant, &Default::default()).unwrap();
        store
            .view(tenant)
            .read(&series, TimeRange::ALL, u64::MAX, |id, samples| {
                let key = store.series(tenant, id)?.unwrap();
                let mut rows: Vec<_> = samples
                    .times
                    .iter()
                    .zip(&samples.values)
                    .map(|(time, value)| (*time, value.to_bits(), None))
                    .collect();
                for (at, meta) in &samples.metas {
                    rows[*at as usize].2 = Some(meta.text().to_owned());
                }
                all.insert((name.to_string(), format!("{key:?}")), rows);
                Ok::<_, Error>(())
            })
            .unwrap();
    }
    all
}

fn count(all: &Samples) -> u64 {
    all.values().map(|rows| rows.len() as u64).sum()
}

/// Repairs, and checks that nothing is wrong afterwards and no sample is invented.
fn mend(directory: &Path, before: &Samples) -> (Repaired, Samples) {
    let damaged = files(directory);
    let planned = repair(directory, Mode::DryRun, &|_, _| {}).unwrap();
    assert_eq!(files(directory), damaged, "a dry run changes nothing");
    let repaired = repair(directory, Mode::Apply, &|_, _| {}).unwrap();
    assert_eq!(repaired.left, [], "steps: {:?}", repaired.steps);
    assert_eq!(planned.found, repaired.found);
    let verification = verify(directory, &|_, _| {}).unwrap();
    assert_eq!(verification.problems, [], "steps: {:?}", repaired.steps);
    let (store, _clock) = open(directory, NOW).unwrap();
    assert_eq!(store.stats().quarantined, 0);
    store.verify().unwrap();
    let after = everything(&store);
    for (series, rows) in &after {
        let known = &before[series];
        assert!(rows.iter().all(|row| known.contains(row)), "{series:?}");
    }
    // It goes on as any store does.
    let tenant = store.tenant("second").unwrap();
    write(&store, tenant, &[(&key("new", &[]), NOW, 1.0, None)]).unwrap();
    store.flush().unwrap();
    store.merge().unwrap();
    drop(store);
    assert_eq!(verify(directory, &|_, _| {}).unwrap().problems, []);
    (repaired, after)
}

/// Files of segments and quarantine, with their lengths.
fn files(directory: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut folders = vec![directory.join("segments"), directory.join("quarantine")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let length = fs::metadata(&path).unwrap().len();
                found.insert(path, length);
            }
        }
    }
    found
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    files(directory)
        .into_keys()
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_whole_directory_needs_no_repair() {
    let directory = tempfile::tempdir().unwrap();
    let before = stored(directory.path());
    let (repaired, after) = mend(directory.path(), &before);
    assert_eq!((repaired.steps.as_slice(), repaired.lost.as_slice()), (&[][..], &[][..]));
    assert!(after == before);
}

#[test]
fn of_a_damaged_segment_only_what_is_damaged_is_lost() {
    let original = tempfile::tempdir().unwrap();
    let before = stored(original.path());
    for segment in segments(original.path()) {
        let length = fs::read(&segment).unwrap().len();
        let below = segment.strip_prefix(original.path()).unwrap();
        // Header; blocks at the beginning and in the middle; directory, table, top; footer.
        let places = [3, 40, length / 2, length * 3 / 4, length - 500, length - 100, length - 40];
        for at in places {
            let directory = tempfile::tempdir().unwrap();
            copy_folder(original.path(), directory.path()).unwrap();
            flip(&directory.path().join(below), at.min(length - 1));
            let (repaired, after) = mend(directory.path(), &before);
            let lost = count(&before) - count(&after);
            assert_eq!(lost, repaired.lost_samples, "{} byte {at}", below.display());
            if at == 3 || at == length - 40 {
                assert_eq!(lost, 0, "all blocks are whole: {:?}", repaired.lost);
            }
            let named = repaired.lost.iter().filter_map(|lost| lost.affects.samples).sum::<u64>();
            let in_blocks = repaired.lost.iter().all(|lost| lost.part == Part::Block);
            assert!(!in_blocks || named == lost, "{:?}", repaired.lost);
            // What was replaced is kept.
            assert!(directory.path().join("quarantine").is_dir());
        }
    }
}

#[test]
fn what_a_start_has_put_aside_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let before = stored(directory.path());
    let segment = segments(directory.path()).remove(0);
    flip(&segment, 5);
    let (store, _clock) = open(directory.path(), NOW).unwrap();
    assert_eq!(store.stats().quarantined, 1);
    drop(store);
    let (repaired, after) = mend(directory.path(), &before);
    assert_eq!(repaired.lost, []);
    assert!(after == before);
}

#[test]
fn a_missing_segment_is_named_with_what_was_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let before = stored(directory.path());
    fs::remove_file(segments(directory.path()).remove(0)).unwrap();
    let (repaired, after) = mend(directory.path(), &before);
    let [lost] = repaired.lost.as_slice() else { panic!("{:?}", repaired.lost) };
    assert_eq!(lost.affects.samples, Some(count(&before) - count(&after)));
    assert!(lost.affects.times.is_some());
}

/// RocksDB's files whose names `matches`.
fn database_files(directory: &Path, matches: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("rocksdb")).unwrap();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| matches(&path.file_name().unwrap().to_string_lossy()))
        .filter(|path| fs::metadata(path).unwrap().len() > 0)
        .collect();
    paths.sort();
    paths
}

/// A way to damage a file, with its name.
type Way<'a> = (&'a str, &'a dyn Fn(&Path));

/// What was flushed is there.
fn check_flushed(before: &Samples, after: &Samples, what: &str) {
    for (series, rows) in before {
        let flushed: Vec<_> = rows.iter().filter(|row| row.0 < NOW).collect();
        let found: Vec<_> =
            after.get(series).into_iter().flatten().filter(|row| row.0 < NOW).collect();
        let (there, wanted) = (found.len(), flushed.len());
        assert!(found == flushed, "{what}: {there} of {wanted} samples of {series:?}");
    }
}

#[test]
fn any_file_of_rocksdb_may_be_damaged_or_missing() {
    let original = tempfile::tempdir().unwrap();
    let before = stored(original.path());
    let ours = |name: &str| {
        name.ends_with(".sst")
            || name.ends_with(".log")
            || name.starts_with("MANIFEST")
            || name == "CURRENT"
    };
    let mut noticed = 0;
    for (number, path) in database_files(original.path(), ours).into_iter().enumerate() {
        let below = path.strip_prefix(original.path()).unwrap();
        let length = fs::read(&path).unwrap().len();
        let ways: [Way<'_>; 4] = [
            ("flipped", &|path| flip(path, length / 2)),
            ("flipped at its end", &|path| flip(path, length.saturating_sub(20))),
            ("shortened", &|path| {
                let bytes = fs::read(path).unwrap();
                fs::write(path, &bytes[..length / 2]).unwrap();
            }),
            ("removed", &|path| fs::remove_file(path).unwrap()),
        ];
        // Two ways for each file; neighbours, of which there are several of a kind, get the others.
        for (way, damage) in ways.into_iter().skip(number % 2).step_by(2) {
            let directory = tempfile::tempdir().unwrap();
            copy_folder(original.path(), directory.path()).unwrap();
            damage(&directory.path().join(below));
            let found = verify(directory.path(), &|_, _| {}).unwrap().problems;
            assert!(!found.is_empty(), "{} {way} is not noticed", below.display());
            noticed += 1;
            let (repaired, after) = mend(directory.path(), &before);
            let what = format!("{} {way}, {:?}", below.display(), repaired.steps);
            check_flushed(&before, &after, &what);
        }
    }
    assert!(noticed > 10, "{noticed}");
}

#[test]
fn a_store_comes_back_from_its_segments_alone() {
    let directory = tempfile::tempdir().unwrap();
    let before = stored(directory.path());
    fs::remove_dir_all(directory.path().join("rocksdb")).unwrap();
    let (repaired, after) = mend(directory.path(), &before);
    check_flushed(&before, &after, "without RocksDB");
    assert!(repaired.lost.iter().any(|lost| lost.part == Part::Database));
}

#[test]
fn the_small_files_are_written_anew() {
    for name in ["acknowledged", "tenants"] {
        let directory = tempfile::tempdir().unwrap();
        let before = stored(directory.path());
        flip(&directory.path().join(name), 2);
        if name == "acknowledged" {
            // It has two places; one alone that does not verify is what a power cut may leave.
            flip(&directory.path().join(name), 14);
        }
        let found = verify(directory.path(), &|_, _| {}).unwrap().problems;
        assert!(found.iter().any(|found| found.place.contains(name)), "{found:?}");
        let (repaired, after) = mend(directory.path(), &before);
        assert_eq!(repaired.lost, []);
        assert!(after == before);
    }
}

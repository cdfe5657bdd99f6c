//! A process that writes is killed at random moments, again and again. Every acknowledged sample is
//! there exactly once, none is invented, and the index equals the data.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use moneta_storage::fail_point::Point;
use moneta_storage::model::{Selector, TimeRange};
use moneta_storage::verify::verify;
use moneta_storage::{Error, Store};
use moneta_tests::{crash, open};

use crate::random::{Random, rounds, seed};

/// Kills in the quick version; `MONETA_CRASHES` asks for more.
const CRASHES: u64 = 12;
/// After every write number in the log; later than every time that is written.
pub(crate) const NOW: i64 = 1_800_000_000_000;

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let crashes = rounds(CRASHES);
    println!("{crashes} kills");
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(seed());
    let mut next = 0;
    for round in 0..crashes {
        let acked = run_until_killed(directory.path(), next, random.below(300));
        next =
            check(directory.path(), acked.map_or(next, |last| last + 1), &format!("round {round}"));
    }
}

/// The process ends itself between steps whose order matters, at each of them in turn.
#[test]
fn nothing_acknowledged_is_lost_at_any_fail_point() {
    let mut random = Random::new(seed());
    let directory = tempfile::tempdir().unwrap();
    let mut next = 0;
    let points = Point::OF_WRITES;
    for round in 0..rounds(1).div_ceil(points.len() as u64) {
        for point in points {
            let recovers = matches!(point, Point::RecoveryLoaded | Point::RecoveryDone);
            let passes = if recovers { 0 } else { random.below(12) };
            let output = Command::new(env!("CARGO_BIN_EXE_crash-child"))
                .arg(directory.path())
                .args([next.to_string(), "batch".into()])
                .args([(point as u32).to_string(), passes.to_string()])
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let context = format!("round {round}: {point:?} after {passes} passes");
            assert_eq!(output.status.signal(), Some(6), "{context}: {text}");
            let acknowledged =
                text.lines().last().map_or(next, |line| line.parse::<u64>().unwrap() + 1);
            next = check(directory.path(), acknowledged, &context);
        }
    }
}

/// Starts the child at write `first`, kills it after `acks` more acknowledgements; the last one read.
fn run_until_killed(directory: &Path, first: u64, acks: u64) -> Option<u64> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_crash-child"))
        .arg(directory)
        .arg(first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = None;
    for _ in 0..=acks {
        let line = lines.next().expect("the child writes until it is killed").unwrap();
        last = Some(line.parse().unwrap());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // Acknowledgements that were in the pipe when it died count as well.
    lines.map_while(Result::ok).filter_map(|line| line.parse().ok()).last().or(last)
}

/// Checks everything and returns the number of the next write: one past the last that is stored,
/// which may be one more than was acknowledged.
fn check(directory: &Path, acknowledged: u64, context: &str) -> u64 {
    assert_eq!(verify(directory, &|_, _| {}).unwrap().problems, [], "{context}");
    let (store, _clock) = open(directory, NOW).unwrap();
    let next = stored_writes(&store, context);
    // The write that was on its way may have been committed without its acknowledgement being heard.
    assert!((acknowledged..=acknowledged + 1).contains(&next), "{context}: {next} stored");
    next
}

/// How many writes a store holds: each up to the last one wholly, and nothing else, in data and index.
pub(crate) fn stored_writes(store: &Store, context: &str) -> u64 {
    store.verify().unwrap_or_else(|error| panic!("{context}: {error}"));
    let stored = read_all(store);
    let newest = stored.keys().map(|(_, time)| crash::number_at(*time)).max();
    let writes = newest.map_or(0, |newest| newest + 1);
    let expected: BTreeMap<(String, i64), u64> = (0..writes)
        .flat_map(crash::samples)
        .map(|(key, time, value)| {
            ((key.dimensions.get("series").unwrap().to_owned(), time), value.to_bits())
        })
        .collect();
    assert!(stored == expected, "{context}: {} of {} samples", stored.len(), expected.len());
    let Some(tenant) = store.find_tenant("crash") else { return writes };
    let listed: BTreeSet<String> = store
        .dimension_values(tenant, "series", &Selector::default(), None, usize::MAX)
        .unwrap()
        .into_iter()
        .collect();
    let with_data: BTreeSet<String> = stored.keys().map(|(series, _)| series.clone()).collect();
    assert_eq!(listed, with_data, "{context}: the index equals the data");
    let active = Selector { active: Some(TimeRange::ALL), ..Selector::default() };
    assert_eq!(store.select(tenant, &active).unwrap().len(), with_data.len(), "{context}");
    writes
}

fn read_all(store: &Store) -> BTreeMap<(String, i64), u64> {
    let mut stored = BTreeMap::new();
    let Some(tenant) = store.find_tenant("crash") else { return stored };
    let all = store.select(tenant, &Selector::default()).unwrap();
    store
        .view(tenant)
        .read(&all, TimeRange::ALL, u64::MAX, |id, samples| {
            let key = store.series(tenant, id)?.unwrap();
            let name = key.dimensions.get("series").unwrap();
            for (time, value) in samples.times.iter().zip(&samples.values) {
                let before = stored.insert((name.to_owned(), *time), value.to_bits());
                assert_eq!(before, None, "each sample once");
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    stored
}

//! A process that writes is killed at random moments, again and again. Every acknowledged sample is
//! there exactly once, none is invented, and the index equals the data.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use moneta_storage::model::{Selector, TimeRange};
use moneta_storage::verify::verify;
use moneta_storage::{Error, Store};
use moneta_tests::{crash, open};

/// Kills in the quick version; `MONETA_CRASHES` asks for more.
const CRASHES: u64 = 12;
/// After every write number in the log; later than every time that is written.
const NOW: i64 = 1_800_000_000_000;

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let crashes =
        std::env::var("MONETA_CRASHES").ok().and_then(|n| n.parse().ok()).unwrap_or(CRASHES);
    let seed = std::env::var("MONETA_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    println!("seed {seed}, {crashes} kills");
    let directory = tempfile::tempdir().unwrap();
    let mut random: u64 = seed;
    let mut next = 0;
    for round in 0..crashes {
        // A full-period generator is enough to spread the kills.
        random = u64::wrapping_add(
            random.wrapping_mul(6_364_136_223_846_793_005),
            1_442_695_040_888_963_407,
        );
        let acks = random >> 33;
        let acked = run_until_killed(directory.path(), next, acks % 300);
        next = check(directory.path(), acked.map_or(next, |last| last + 1), round);
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
fn check(directory: &Path, acknowledged: u64, round: u64) -> u64 {
    assert_eq!(verify(directory, &|_, _| {}).unwrap().problems, [], "round {round}");
    let (store, _clock) = open(directory, NOW).unwrap();
    store.verify().unwrap();
    let stored = read_all(&store);
    let expected = |writes: u64| -> BTreeMap<(String, i64), u64> {
        (0..writes)
            .flat_map(crash::samples)
            .map(|(key, time, value)| {
                ((key.dimensions.get("series").unwrap().to_owned(), time), value.to_bits())
            })
            .collect()
    };
    let next = if stored == expected(acknowledged) {
        acknowledged
    } else {
        // The write that was on its way may have been committed, wholly, without its
        // acknowledgement being heard.
        assert_eq!(stored, expected(acknowledged + 1), "round {round}");
        acknowledged + 1
    };
    let tenant = store.find_tenant("crash").unwrap();
    let listed: BTreeSet<String> = store
        .dimension_values(tenant, "series", &Selector::default(), None, usize::MAX)
        .unwrap()
        .into_iter()
        .collect();
    let with_data: BTreeSet<String> = stored.keys().map(|(series, _)| series.clone()).collect();
    assert_eq!(listed, with_data, "the index equals the data");
    let active = Selector { active: Some(TimeRange::ALL), ..Selector::default() };
    assert_eq!(store.select(tenant, &active).unwrap().len(), with_data.len());
    next
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

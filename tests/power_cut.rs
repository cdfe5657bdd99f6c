//! The power goes out. A process writes while a library below it records what it writes and syncs;
//! then the folder is rebuilt as a disk may hold it after a cut at some instant, and opened. With
//! durability `batch` every write acknowledged before the cut is there; with `os` some prefix of them
//! is. Nothing is ever damaged, in the middle of what, or missing a file it should have.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use moneta_storage::clock::ManualClock;
use moneta_storage::model::Timestamp;
use moneta_storage::{Store, StoreConfig};

use crate::crash;
use crate::disk_image::{Cut, Disk, Step, steps};
use crate::faulty_disk::FaultyDisk;
use crate::random::{Random, rounds, seed};

/// Writes that are acknowledged at least while a trace is taken.
const ACKNOWLEDGED: usize = 150;
/// Segments that merges have removed by then, at least.
const REMOVED: usize = 3;
/// Cuts of the quick version, of each kind.
const CUTS: u64 = 6;

/// What a process does to its folder while it acknowledges writes.
fn trace(durability: &str, root: &Path, first: u64) -> Vec<Step> {
    let disk = FaultyDisk::new();
    let mut child = disk
        .traced(env!("CARGO_BIN_EXE_crash-child"), root)
        .arg(root)
        .args([&first.to_string(), durability])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    loop {
        for _ in 0..ACKNOWLEDGED {
            lines.next().expect("the child writes until it is killed").unwrap();
        }
        if steps(&disk.trace()).iter().filter(|step| removes_a_segment(step)).count() >= REMOVED {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    steps(&disk.trace())
}

fn removes_a_segment(step: &Step) -> bool {
    matches!(step, Step::Unlink { path } if path.extension().is_some_and(|end| end == "seg"))
}

/// How many writes `steps` acknowledge.
fn acknowledged(steps: &[Step]) -> u64 {
    let lines = steps.iter().map(|step| match step {
        Step::Out { text } => text.lines().count() as u64,
        Step::Open { .. }
        | Step::Write { .. }
        | Step::Truncate { .. }
        | Step::Sync { .. }
        | Step::Close { .. }
        | Step::Rename { .. }
        | Step::Unlink { .. }
        | Step::MakeFolder { .. }
        | Step::RemoveFolder { .. } => 0,
    });
    lines.sum()
}

/// A store as a cut leaves it, opened; how many writes it holds.
fn open(left: &Path, context: &str) -> u64 {
    let config = StoreConfig { strict: true, ..StoreConfig::default() };
    let clock = ManualClock::at(Timestamp::from_millis(crash::NOW));
    let store =
        Store::open(left, config, clock).unwrap_or_else(|error| panic!("{context}: {error}"));
    crash::stored_writes(&store, context)
}

fn check(durability: &str, at_least: impl Fn(u64) -> u64) {
    let mut random = Random::new(seed());
    // Twice: the second process begins with what a cut has left to it.
    let mut root = tempfile::tempdir().unwrap();
    let mut first = 0;
    for life in 1..=2 {
        let whole = Disk::new(root.path());
        let steps = trace(durability, root.path(), first);
        let edges: Vec<usize> = (0..steps.len())
            .filter(|&at| matches!(steps[at], Step::Sync { .. } | Step::Unlink { .. }))
            .collect();
        println!("{durability}, life {life}: {} steps, {} edges", steps.len(), edges.len());
        let mut next = None;
        for round in 0..rounds(CUTS * 5) / 5 {
            // Half of them right behind a sync or a removal, where order matters most.
            let end = if round % 2 == 0 {
                random.place(steps.len() + 1)
            } else {
                edges[random.place(edges.len())] + 1
            };
            let mut disk = whole.clone();
            steps[..end].iter().for_each(|step| disk.play(step));
            let acknowledged = first + acknowledged(&steps[..end]);
            for cut in [Cut::Nothing, Cut::NamesOnly, Cut::Everything, Cut::Parts] {
                let left = tempfile::tempdir().unwrap();
                let chance = random.clone();
                disk.write(cut, &mut random, left.path());
                let context =
                    format!("{durability}, life {life}, step {end}: {cut:?}, {acknowledged} said");
                let stored = open(left.path(), &context);
                let least =
                    if cut == Cut::Everything { acknowledged } else { at_least(acknowledged) };
                let right = least..=acknowledged + 1;
                assert!(right.contains(&stored), "{context}: {stored} stored");
                next = Some((disk.clone(), cut, chance, stored));
            }
        }
        let (disk, cut, mut chance, stored) = next.expect("there were cuts");
        root = tempfile::tempdir().unwrap();
        disk.write(cut, &mut chance, root.path());
        first = stored;
    }
}

#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    check("batch", |acknowledged| acknowledged);
}

#[test]
fn a_power_cut_at_durability_os_leaves_a_prefix_and_no_damage() {
    check("os", |_| 0);
}

/// Samples are not synced at `os`; what replaces files is, before any file goes.
#[test]
fn the_manifest_is_synced_at_durability_os() {
    let root = tempfile::tempdir().unwrap();
    let steps = trace("os", root.path(), 0);
    let mut files = std::collections::HashMap::new();
    let (mut log_syncs, mut removed) = (0, 0);
    // Segments that are synced, and those of them after which the log was synced: a flush may end its
    // segment between the commit of a merge and the removal of what it replaces.
    let (mut finished, mut certain) = (Vec::<PathBuf>::new(), Vec::<PathBuf>::new());
    for step in &steps {
        if let Step::Open { fd, path, .. } = step {
            files.insert(*fd, path.clone());
        } else if let Step::Sync { fd } = step {
            match files[fd].extension().and_then(|ending| ending.to_str()) {
                Some("seg") => finished.push(files[fd].clone()),
                Some("log") => {
                    log_syncs += 1;
                    certain.append(&mut finished);
                }
                Some(_) | None => {}
            }
        } else if removes_a_segment(step) {
            removed += 1;
            let Step::Unlink { path } = step else { unreachable!("only that removes one") };
            let replaces = |new: &PathBuf| new.parent() == path.parent() && new > path;
            assert!(certain.iter().any(replaces), "{step:?} before its replacement is certain");
        }
    }
    assert!(removed >= REMOVED);
    assert!(log_syncs < acknowledged(&steps), "samples were not synced");
    let batch = trace("batch", tempfile::tempdir().unwrap().path(), 0);
    let syncs = batch.iter().filter(|step| matches!(step, Step::Sync { .. })).count();
    assert!(syncs as u64 >= acknowledged(&batch), "one for each write at batch");
}

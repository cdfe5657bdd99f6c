//! A process that writes and forgets is killed at random moments and between any two steps whose order
//! matters. What was acknowledged as deleted, expired or removed never comes back, nothing else is
//! missing, and snapshots and backups hold what was there when they were taken.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use moneta_storage::backup::Repository;
use moneta_storage::clock::ManualClock;
use moneta_storage::deletion::DeletionState;
use moneta_storage::fail_point::Point;
use moneta_storage::model::Timestamp;
use moneta_storage::verify::verify;
use moneta_tests::forget::{Model, Place, now, repository_path, seen, snapshot_path};
use moneta_tests::open;

use crate::random::{Random, rounds, seed};

/// Kills in the quick version; `MONETA_CRASHES` asks for more.
const CRASHES: u64 = 6;

#[test]
fn nothing_forgotten_comes_back_after_kill_9() {
    let crashes = rounds(CRASHES);
    println!("{crashes} kills");
    let mut random = Random::new(seed());
    let mut case = Case::new();
    for round in 0..crashes {
        let acks = random.below(120);
        case.run(&[], &format!("round {round}"), |lines| {
            let mut last = None;
            for _ in 0..=acks {
                last = lines.next();
            }
            last.is_some()
        });
    }
    case.check_backup();
}

#[test]
fn nothing_forgotten_comes_back_at_any_fail_point() {
    let points: Vec<Point> = Point::all().collect();
    let mut random = Random::new(seed());
    let mut case = Case::new();
    for round in 0..rounds(1).div_ceil(points.len() as u64) {
        for &point in &points {
            let recovers = matches!(point, Point::RecoveryLoaded | Point::RecoveryDone);
            let passes = if recovers { 0 } else { random.below(4) };
            let context = format!("round {round}: {point:?} after {passes} passes");
            let armed = [(point as u32).to_string(), passes.to_string()];
            case.run(&armed, &context, |_| false);
        }
    }
    case.check_backup();
}

/// A data directory in which a child works, and how far it has come.
struct Case {
    _folder: tempfile::TempDir,
    directory: std::path::PathBuf,
    next: u64,
    /// After all operations before `next`.
    model: Model,
    rounds: u64,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("data");
        // One that was killed while it was made is no store yet, and verification says so.
        drop(open(&directory, now(0)).unwrap());
        Case { _folder: folder, directory, next: 0, model: Model::default(), rounds: 0 }
    }

    /// Runs the child until it ends itself, or `until` says that it is to be killed; then checks
    /// everything.
    fn run(
        &mut self,
        armed: &[String],
        context: &str,
        until: impl FnOnce(&mut dyn Iterator<Item = u64>) -> bool,
    ) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_forget-child"))
            .arg(&self.directory)
            .arg(self.next.to_string())
            .args(armed)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut newest = None;
        let mut numbers = lines.map_while(Result::ok).filter_map(|line| line.parse::<u64>().ok());
        let mut noted = numbers.by_ref().inspect(|number| newest = Some(*number));
        let kills = until(&mut noted);
        if kills {
            child.kill().unwrap();
        }
        // Acknowledgements that were in the pipe when it died count as well.
        noted.for_each(drop);
        let signal = child.wait().unwrap().signal();
        assert_eq!(signal, Some(if kills { 9 } else { 6 }), "{context}: it ended otherwise");
        let acknowledged = newest.map_or(self.next, |newest| newest + 1);
        self.check(acknowledged, context);
    }

    fn check(&mut self, acknowledged: u64, context: &str) {
        assert_eq!(verify(&self.directory, &|_, _| {}).unwrap().problems, [], "{context}");
        let mut models = Vec::new();
        for number in self.next..acknowledged {
            self.check_snapshot(number, context);
            self.model.apply(number);
        }
        models.push((acknowledged, self.model.clone()));
        // The operation that was on its way may have been carried out without being heard of.
        self.model.apply(acknowledged);
        models.push((acknowledged + 1, self.model.clone()));
        let now = now(acknowledged);
        models.iter_mut().for_each(|(_, model)| model.expire(now));
        let (store, _clock) = open(&self.directory, now).unwrap();
        let there = seen(&store).unwrap();
        let found = models.into_iter().find(|(_, model)| model.samples == there);
        let Some((next, model)) = found else {
            panic!("{context}: {}", difference(&self.model.samples, &there));
        };
        (self.next, self.model) = (next, model);
        self.rounds += 1;
        // In every other round the next child finds what this one has left undone.
        if self.rounds.is_multiple_of(2) {
            store.sweep().unwrap();
            let hidden = store.deletions().unwrap();
            let hidden = hidden.iter().filter(|d| d.state == DeletionState::Hidden).count();
            assert_eq!(hidden, 0, "{context}: a sweep finishes every deletion");
        }
        store.verify().unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!(seen(&store).unwrap() == self.model.samples, "{context}: also after a sweep");
        drop(store);
        if self.rounds.is_multiple_of(2) {
            assert_eq!(verify(&self.directory, &|_, _| {}).unwrap().problems, [], "{context}");
        }
    }

    /// A snapshot that was acknowledged holds what was there.
    fn check_snapshot(&self, number: u64, context: &str) {
        let path = snapshot_path(&self.directory, number);
        if !path.exists() {
            return;
        }
        let mut model = self.model.clone();
        model.expire(now(number));
        check_copy(&path, &model, number, context);
        fs::remove_dir_all(&path).unwrap();
    }

    /// The newest backup holds what was there at some operation.
    fn check_backup(&mut self) {
        let path = repository_path(&self.directory);
        if !path.exists() {
            return;
        }
        // One more, over whatever those that were cut short have left.
        let at = now(self.next);
        let (store, _clock) = open(&self.directory, at).unwrap();
        store.backup(&path, &mut |_| ControlFlow::Continue(())).unwrap();
        drop(store);
        let target = self.directory.with_extension("restored");
        let clock = ManualClock::at(Timestamp::from_millis(at));
        let repository = Repository::open(&path).unwrap();
        repository.restore(None, &target, clock, &mut |_| ControlFlow::Continue(())).unwrap();
        self.model.expire(at);
        check_copy(&target, &self.model, self.next, "restored");
    }
}

fn check_copy(path: &Path, model: &Model, number: u64, context: &str) {
    let context = format!("{context}: copy of operation {number}");
    assert_eq!(verify(path, &|_, _| {}).unwrap().problems, [], "{context}");
    let (store, _clock) = open(path, now(number)).unwrap();
    let there = seen(&store).unwrap();
    assert!(there == model.samples, "{context}: {}", difference(&model.samples, &there));
}

/// The first samples that one has and the other has not.
fn difference(want: &BTreeMap<Place, f64>, got: &BTreeMap<Place, f64>) -> String {
    let only = |a: &BTreeMap<Place, f64>, b: &BTreeMap<Place, f64>| {
        let only: Vec<_> = a.iter().filter(|(place, v)| b.get(place) != Some(v)).collect();
        format!("{}: {:?}", only.len(), only.iter().take(3).collect::<Vec<_>>())
    };
    format!("missing {}; too much {}", only(want, got), only(got, want))
}

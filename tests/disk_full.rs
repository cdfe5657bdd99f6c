//! A full disk, and one that fails. Nothing acknowledged is lost, reads go on, and the store says what
//! is wrong: a flush that cannot be written is tried again until it can; an error of RocksDB ends writes
//! until a restart; below the watermark samples are refused before anything fails.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use moneta_storage::clock::ManualClock;
use moneta_storage::model::Timestamp;
use moneta_storage::space::{Disk, FreeSpace, ManualDisk, SystemDisk};
use moneta_storage::{ErrorKind, Store, StoreConfig};
use moneta_tests::{key, write};

use crate::crash;
use crate::faulty_disk::{Fault, FaultyDisk, Files};

/// A `disk-child` that does as it is told.
struct Told {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// The next write.
    next: u64,
}

impl Told {
    fn start(mut command: Command, directory: &Path, next: u64) -> Self {
        let mut child =
            command.arg(directory).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Told { child, orders, answers, next }
    }

    fn ask(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").unwrap();
        self.answers.next().expect("an answer").unwrap()
    }

    /// Writes, and counts it if it is acknowledged.
    fn write(&mut self) -> String {
        let answer = self.ask(&format!("write {}", self.next));
        self.next += u64::from(answer == "ok");
        answer
    }

    fn writes(&mut self, count: u64) {
        for _ in 0..count {
            assert_eq!(self.write(), "ok");
        }
    }

    /// Everything acknowledged can be read, as if nothing had happened.
    fn reads_all(&mut self) {
        let samples: u64 =
            (0..self.next).map(|n| moneta_tests::crash::samples(n).count() as u64).sum();
        assert_eq!(self.ask("count"), samples.to_string());
    }

    fn is_well(&mut self) {
        assert_eq!(self.ask("health"), "stopped - | read-only -");
    }

    /// The keeper tries again by itself, sooner here than its second.
    fn recovers(&mut self) {
        for _ in 0..100 {
            assert_eq!(self.ask("look"), "ok");
            if self.ask("health") == "stopped - | read-only -" {
                return;
            }
        }
        panic!("no recovery: {}", self.ask("health"));
    }

    fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.next
    }
}

/// After a clean start all that was acknowledged is there, and at most the one write that was not.
fn check_restart(directory: &Path, acknowledged: u64) {
    // Without a watermark: the disk may be a small one.
    let free_space_min = FreeSpace::Bytes(0);
    let config = StoreConfig { strict: true, free_space_min, ..StoreConfig::default() };
    let clock = ManualClock::at(Timestamp::from_millis(crash::NOW));
    let store = Store::open(directory, config, clock).unwrap();
    let stored = crash::stored_writes(&store, "after a restart");
    assert!((acknowledged..=acknowledged + 1).contains(&stored), "{stored} of {acknowledged}");
    assert!(store.health().losses.is_empty());
    let tenant = store.find_tenant("crash").unwrap();
    write(&store, tenant, &[(&key("after", &[]), crash::NOW, 1.0, None)]).unwrap();
    store.flush().unwrap();
}

/// A flush or merge that finds segments unwritable waits for better days.
fn segments_fail(fault: Fault, after: u32, says: &str) {
    let disk = FaultyDisk::new();
    let directory = tempfile::tempdir().unwrap();
    let command = disk.command(env!("CARGO_BIN_EXE_disk-child"), directory.path());
    let mut told = Told::start(command, directory.path(), 0);
    told.writes(30);
    disk.fail(fault, Files::Segments, after);
    let refused = told.ask("flush");
    assert!(refused.starts_with("stopped: ") && refused.contains(says), "{refused}");
    let health = told.ask("health");
    assert!(health.starts_with("stopped - | read-only ") && health.contains(says), "{health}");
    let refused = told.write();
    assert!(refused.starts_with("busy: no writes are taken for now"), "{refused}");
    told.reads_all();
    assert!(disk.mend() > 0);
    told.recovers();
    told.writes(30);
    assert_eq!(told.ask("flush"), "ok");

    disk.fail(fault, Files::Segments, after);
    let refused = told.ask("merge");
    assert!(refused.contains(says), "{refused}");
    // A merge that cannot be written hinders nobody.
    told.is_well();
    told.writes(5);
    told.reads_all();
    disk.mend();
    assert_eq!(told.ask("merge"), "ok");
    told.reads_all();
    let acknowledged = told.kill();
    check_restart(directory.path(), acknowledged);
}

#[test]
fn a_flush_without_space_is_tried_again() {
    segments_fail(Fault::NoSpace, 0, "No space left");
}

#[test]
fn a_flush_that_cannot_be_written_is_tried_again() {
    segments_fail(Fault::WriteError, 0, "Input/output error");
}

#[test]
fn a_flush_that_cannot_be_synced_is_tried_again() {
    // The first sync is the file's, the second a folder's.
    segments_fail(Fault::SyncError, 0, "Input/output error");
    segments_fail(Fault::SyncError, 1, "Input/output error");
}

#[test]
fn a_segment_that_cannot_be_read_is_an_error_and_nothing_else() {
    let disk = FaultyDisk::new();
    let directory = tempfile::tempdir().unwrap();
    let command = disk.command(env!("CARGO_BIN_EXE_disk-child"), directory.path());
    let mut told = Told::start(command, directory.path(), 0);
    told.writes(10);
    assert_eq!(told.ask("flush"), "ok");
    disk.fail(Fault::ReadError, Files::Segments, 0);
    let error = told.ask("count");
    assert!(error.contains(".seg: Input/output error"), "{error}");
    told.writes(10);
    disk.mend();
    told.reads_all();
    told.is_well();
    check_restart_after(told, directory.path());
}

fn check_restart_after(told: Told, directory: &Path) {
    let acknowledged = told.kill();
    check_restart(directory, acknowledged);
}

/// RocksDB cannot write or sync its log: no write until a restart, all reads.
fn the_log_fails(fault: Fault) {
    let disk = FaultyDisk::new();
    let directory = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_disk-child");
    let mut told = Told::start(disk.command(program, directory.path()), directory.path(), 0);
    told.writes(20);
    assert_eq!(told.ask("flush"), "ok");
    told.writes(20);
    disk.fail(fault, Files::Log, 0);
    let refused = told.write();
    assert!(refused.starts_with("stopped: "), "{refused}");
    assert!(disk.mend() > 0);
    // The disk is well again; what RocksDB has in memory is not to be trusted.
    let refused = told.write();
    assert!(refused.starts_with("stopped: writes have stopped: rocksdb: "), "{refused}");
    assert!(told.ask("record 1").starts_with("stopped: "));
    let health = told.ask("health");
    assert!(health.starts_with("stopped rocksdb: IO error"), "{health}");
    told.reads_all();
    check_restart_after(told, directory.path());
}

#[test]
fn an_error_of_the_log_ends_writes_until_a_restart() {
    the_log_fails(Fault::NoSpace);
    the_log_fails(Fault::WriteError);
    the_log_fails(Fault::SyncError);
}

/// RocksDB cannot write a table in the background, or on a flush.
#[test]
fn an_error_of_a_table_ends_writes_until_a_restart() {
    for fault in [Fault::NoSpace, Fault::WriteError, Fault::SyncError] {
        let disk = FaultyDisk::new();
        let directory = tempfile::tempdir().unwrap();
        let program = env!("CARGO_BIN_EXE_disk-child");
        let mut told = Told::start(disk.command(program, directory.path()), directory.path(), 0);
        told.writes(20);
        disk.fail(fault, Files::Tables, 0);
        let refused = told.ask("flush");
        assert!(refused.starts_with("stopped: rocksdb: "), "{refused}");
        assert!(disk.mend() > 0);
        assert!(told.write().starts_with("stopped: "));
        assert!(told.ask("health").starts_with("stopped rocksdb: "));
        told.reads_all();
        check_restart_after(told, directory.path());
    }
}

/// What RocksDB does of its own accord is looked at even when nobody writes.
#[test]
fn an_error_in_the_background_is_noticed_without_a_write() {
    let disk = FaultyDisk::new();
    let directory = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_disk-child");
    let mut told = Told::start(disk.command(program, directory.path()), directory.path(), 0);
    told.writes(5);
    disk.fail(Fault::WriteError, Files::Tables, 0);
    // Sixteen megabytes of records are written to a table in the background.
    for _ in 0..40 {
        let answer = told.ask("record 1000000");
        assert!(answer == "ok" || answer.contains("background errors"), "{answer}");
        for _ in 0..100 {
            assert_eq!(told.ask("look"), "ok");
            told.ask("merge");
        }
        let health = told.ask("health");
        if health.contains("background errors") {
            told.reads_all();
            disk.mend();
            check_restart_after(told, directory.path());
            return;
        }
    }
    panic!("nothing was noticed: {}", told.ask("health"));
}

#[test]
fn below_the_watermark_samples_are_refused_and_all_else_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let disk = ManualDisk::of(100 << 20);
    let config = StoreConfig {
        live_log_bytes: 1 << 20,
        free_space_min: FreeSpace::Bytes(10 << 20),
        disk: disk.clone(),
        ..StoreConfig::default()
    };
    let clock = ManualClock::at(Timestamp::from_millis(crash::NOW));
    let store = Store::open(directory.path(), config, clock).unwrap();
    let tenant = store.tenant("t").unwrap();
    let cpu = key("cpu", &[]);
    let one = |at: i64| write(&store, tenant, &[(&cpu, crash::NOW + at, 1.0, None)]);
    for at in 0..3 {
        one(at).unwrap();
        store.flush().unwrap();
    }
    one(3).unwrap();
    disk.set_free((10 << 20) - 1);
    store.look_at_disk();
    let error = one(4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("storage.free_space_min"), "{error}");
    let health = store.health();
    assert!(health.low_space && health.read_only.is_some() && health.stopped.is_none());
    // The head is flushed, which gives log back; a merge would take space first.
    store.flush().unwrap();
    assert_eq!(store.stats().head_rows, 0);
    assert_eq!(store.merge().unwrap_err().kind(), ErrorKind::Busy);
    let mut batch = moneta_storage::record::RecordBatch::default();
    batch.put(tenant, moneta_storage::record::RecordKind::Setting, b"x", vec![1]);
    store.records().commit(batch).unwrap();
    assert_eq!(store.select(tenant, &Default::default()).unwrap().len(), 1);
    // A little more is not enough: no going to and fro.
    disk.set_free(11 << 20);
    store.look_at_disk();
    one(4).unwrap_err();
    disk.set_free(12 << 20);
    store.look_at_disk();
    one(4).unwrap();
    store.merge().unwrap();
    assert_eq!(store.health().read_only, None);
}

/// A file system of 24 MB, or `None` where this process may not mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m", "none"]).arg(folder.path());
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        mounted.then(|| SmallDisk(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A folder that stays mounted cannot be removed, which the test harness would show.
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// Fills a real file system. Where none can be mounted, the tests above stand in for it.
#[test]
fn a_full_file_system_is_never_met() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: no right to mount a small file system");
        return;
    };
    let directory = disk.0.path().join("data");
    let mut told = Told::start(Command::new(env!("CARGO_BIN_EXE_disk-child")), &directory, 0);
    told.writes(100);
    told.is_well();
    // Something else fills the disk, up to the last byte but what is kept.
    let ballast = disk.0.path().join("ballast");
    let room = SystemDisk.room(disk.0.path()).unwrap().free;
    std::fs::write(&ballast, vec![1; usize::try_from(room - (1 << 20)).unwrap()]).unwrap();
    assert_eq!(told.ask("look"), "ok");
    let refused = told.write();
    assert!(refused.starts_with("busy: ") && refused.contains("nearly full"), "{refused}");
    told.reads_all();
    assert_eq!(told.ask("flush"), "ok");
    assert_eq!(told.ask("record 7"), "ok");
    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(told.ask("look"), "ok");
    told.writes(100);
    told.is_well();
    told.reads_all();
    assert_eq!(told.ask("close"), "ok");
    let acknowledged = told.next;
    told.kill();
    check_restart(&directory, acknowledged);
}

//! Processes whose file operations are recorded, or made to fail: they run with the library of
//! `support/faulty_disk.c` between them and the C library.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Which calls fail.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// Writes find the disk full: the first is cut short.
    NoSpace = 1,
    /// Writes fail.
    WriteError = 2,
    /// Syncs fail.
    SyncError = 4,
    /// Reads fail.
    ReadError = 8,
}

/// For which files.
#[derive(Clone, Copy)]
pub(crate) enum Files {
    /// Those below `segments/`.
    Segments = 1,
    /// RocksDB's logs.
    Log = 2,
    /// RocksDB's tables.
    Tables = 4,
}

/// The compiled library, a trace and a switch for faults.
pub(crate) struct FaultyDisk {
    folder: TempDir,
    faults: File,
}

impl FaultyDisk {
    /// Compiles the library; whoever linked this test has a compiler.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("faulty_disk.so");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/support/faulty_disk.c"))
            .arg("-ldl")
            .status();
        assert!(built.unwrap().success(), "the library compiles");
        let path = folder.path().join("faults");
        fs::write(&path, [0; 16]).unwrap();
        let faults = File::options().read(true).write(true).open(path).unwrap();
        FaultyDisk { folder, faults }
    }

    /// `program` with the library under it, for files below `root`.
    pub(crate) fn command(&self, program: &str, root: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("LD_PRELOAD", self.folder.path().join("faulty_disk.so"))
            .env("MONETA_DISK_ROOT", root)
            .env("MONETA_DISK_FAULTS", self.folder.path().join("faults"));
        command
    }

    /// The same, with a trace.
    pub(crate) fn traced(&self, program: &str, root: &Path) -> Command {
        let mut command = self.command(program, root);
        command.env("MONETA_DISK_TRACE", self.trace());
        command
    }

    /// Where the trace is.
    pub(crate) fn trace(&self) -> PathBuf {
        self.folder.path().join("trace")
    }

    /// From now on calls fail, after `after` that do not.
    pub(crate) fn fail(&self, fault: Fault, files: Files, after: u32) {
        self.set([0, files as u32, after, 0]);
        self.set([fault as u32, files as u32, after, 0]);
    }

    /// From now on nothing fails. How many calls have.
    pub(crate) fn mend(&self) -> u32 {
        let mut failed = [0; 4];
        self.faults.read_exact_at(&mut failed, 12).unwrap();
        self.set([0; 4]);
        u32::from_ne_bytes(failed)
    }

    fn set(&self, values: [u32; 4]) {
        let bytes: Vec<u8> = values.into_iter().flat_map(u32::to_ne_bytes).collect();
        self.faults.write_all_at(&bytes, 0).unwrap();
    }
}

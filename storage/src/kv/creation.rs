//! What is there before a database is: nothing, or what was left of one that was being created.

use std::fs;
use std::path::Path;

/// A database is not created where a log is, even an empty one.
pub(super) fn remove_empty_logs(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_log = path.extension().is_some_and(|ending| ending == "log");
        if is_log && path.metadata().is_ok_and(|facts| facts.len() == 0) {
            // If it stays, RocksDB says so.
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether a folder holds files of a database with something in them. A power cut while a database is
/// created leaves others.
pub(super) fn holds_tables(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_empty = entry.metadata().is_ok_and(|facts| facts.len() == 0);
            (name.ends_with(".sst") || name.ends_with(".log")) && !is_empty
        })
    })
}

//! Open files of segments: a bounded number for the whole process, because that is whose limit they
//! count against. A segment's file is opened when it is read and closed when others are read more.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// Files open at most. A quarter of what a process may usually open.
const FILES_MAX: usize = 256;

/// One segment's claim to a file. The file is closed with it.
pub(super) struct OpenFile(u64);

#[derive(Default)]
struct Files {
    open: HashMap<u64, Opened>,
    /// Counts uses.
    now: u64,
}

struct Opened {
    file: Arc<File>,
    last_used: u64,
}

fn files() -> MutexGuard<'static, Files> {
    static FILES: OnceLock<Mutex<Files>> = OnceLock::new();
    let files = FILES.get_or_init(Mutex::default);
    files.lock().expect("no code panics while it holds the open files")
}

impl OpenFile {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        OpenFile(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The file, opened if it is not. `path` is always the same.
    pub(super) fn get(&self, path: &Path) -> io::Result<Arc<File>> {
        if let Some(file) = files().used(self.0) {
            return Ok(file);
        }
        // Not under the lock: a slow disk would hold all readers up.
        let file = Arc::new(File::open(path)?);
        files().keep(self.0, &file);
        Ok(file)
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // Closed after the lock has gone.
        let closed = files().open.remove(&self.0);
        drop(closed);
    }
}

impl Files {
    fn used(&mut self, number: u64) -> Option<Arc<File>> {
        self.now += 1;
        let opened = self.open.get_mut(&number)?;
        opened.last_used = self.now;
        Some(opened.file.clone())
    }

    fn keep(&mut self, number: u64, file: &Arc<File>) {
        if self.open.len() >= FILES_MAX {
            let oldest = self.open.iter().min_by_key(|(_, opened)| opened.last_used);
            if let Some(&oldest) = oldest.map(|(number, _)| number) {
                self.open.remove(&oldest);
            }
        }
        self.open.insert(number, Opened { file: file.clone(), last_used: self.now });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn more_files_than_are_kept_open_can_be_read() {
        let scratch = Scratch::new();
        let some: Vec<_> = (0..FILES_MAX + 9)
            .map(|number| {
                let path = scratch.path().join(number.to_string());
                std::fs::write(&path, number.to_string()).unwrap();
                (OpenFile::new(), path)
            })
            .collect();
        for _ in 0..2 {
            for (number, (file, path)) in some.iter().enumerate() {
                let mut text = String::new();
                let mut file: &File = &file.get(path).unwrap();
                std::io::Seek::rewind(&mut file).unwrap();
                file.read_to_string(&mut text).unwrap();
                assert_eq!(text, number.to_string());
                assert!(files().open.len() <= FILES_MAX);
            }
        }
    }
}

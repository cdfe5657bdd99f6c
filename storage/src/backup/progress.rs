//! How far a long operation has come, and whether it shall go on.

use std::ops::ControlFlow;

use crate::error::Error;

/// What an operation does at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Writes the head into segments.
    Flush,
    /// Links the files of the store.
    Link,
    /// Copies files.
    Copy,
    /// Reads files and compares their checksums.
    Check,
    /// Opens what was restored and reads every block of it.
    Verify,
}

impl Step {
    /// One word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Step::Flush => "flush",
            Step::Link => "link",
            Step::Copy => "copy",
            Step::Check => "check",
            Step::Verify => "verify",
        }
    }
}

/// How far an operation has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// What it does.
    pub step: Step,
    /// Files that are done.
    pub files: u64,
    /// All files; 0 as long as that is not known.
    pub files_total: u64,
    /// Bytes that are done.
    pub bytes: u64,
    /// All bytes; 0 as long as that is not known.
    pub bytes_total: u64,
}

/// Is told of every step and every megabyte; `Break` ends the operation with an error, as if it had
/// never begun.
pub type Watch<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// Counts, and tells the watcher.
pub(crate) struct Meter<'a, 'b> {
    watch: &'a mut Watch<'b>,
    now: Progress,
}

impl<'a, 'b> Meter<'a, 'b> {
    pub(crate) fn new(watch: &'a mut Watch<'b>) -> Self {
        let now =
            Progress { step: Step::Flush, files: 0, files_total: 0, bytes: 0, bytes_total: 0 };
        Meter { watch, now }
    }

    /// A step of so many files and bytes begins.
    pub(crate) fn begin(&mut self, step: Step, files: u64, bytes: u64) -> Result<(), Error> {
        self.now = Progress { step, files: 0, files_total: files, bytes: 0, bytes_total: bytes };
        self.tell()
    }

    /// So many more bytes are done.
    pub(crate) fn add_bytes(&mut self, bytes: u64) -> Result<(), Error> {
        self.now.bytes = self.now.bytes.saturating_add(bytes);
        self.tell()
    }

    /// Bytes done so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.now.bytes
    }

    /// So many bytes count as done.
    pub(crate) fn set_bytes(&mut self, bytes: u64) {
        self.now.bytes = bytes;
    }

    /// One more file is done.
    pub(crate) fn add_file(&mut self) -> Result<(), Error> {
        self.now.files = self.now.files.saturating_add(1);
        self.tell()
    }

    fn tell(&mut self) -> Result<(), Error> {
        match (self.watch)(self.now) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Invalid("cancelled".into())),
        }
    }
}

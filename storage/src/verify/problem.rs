//! What a verification finds.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::error::Error;
use crate::model::{TenantId, TimeRange};

/// Which part of a data directory is not as it must be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    /// RocksDB itself: its tables, its log, the files that name them.
    Database,
    /// The record of the newest synced change.
    Acknowledged,
    /// The names of the tenants beside RocksDB.
    Tenants,
    /// Facts about the store.
    Facts,
    /// The list of segments, against the files.
    Manifest,
    /// A segment as a whole: header, footer, top.
    Segment,
    /// A group of a segment's directory.
    Directory,
    /// A block of samples.
    Block,
    /// The series table of a segment.
    SeriesTable,
    /// Policies of retention, and what had expired when they changed.
    Retention,
    /// Deletions, and what they hide.
    Deletion,
    /// Tenants, metrics and definitions of series.
    Definition,
    /// Series by hash and posting lists.
    Posting,
    /// Which series have samples on a day.
    Activity,
    /// The log.
    Log,
    /// Events and the history of alarms.
    Journal,
}

impl Part {
    /// A word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Part::Database => "database",
            Part::Acknowledged => "acknowledged",
            Part::Tenants => "tenants",
            Part::Facts => "facts",
            Part::Manifest => "manifest",
            Part::Segment => "segment",
            Part::Directory => "directory",
            Part::Block => "block",
            Part::SeriesTable => "series table",
            Part::Retention => "retention",
            Part::Deletion => "deletion",
            Part::Definition => "definition",
            Part::Posting => "posting",
            Part::Activity => "activity",
            Part::Log => "log",
            Part::Journal => "journal",
        }
    }
}

/// Which data something concerns, as far as it is known.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Affected {
    /// The tenant.
    pub tenant: Option<TenantId>,
    /// The tenant's name.
    pub tenant_name: Option<String>,
    /// First and last series id, both inside.
    pub series: Option<(u32, u32)>,
    /// How many series.
    pub series_count: Option<u64>,
    /// How many samples.
    pub samples: Option<u64>,
    /// When.
    pub times: Option<TimeRange>,
}

/// Something that is not as it must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Which part.
    pub part: Part,
    /// File and offset, or key.
    pub place: String,
    /// What is bad there.
    pub what: String,
    /// What it affects.
    pub affects: Affected,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Most problems that are kept; more are counted.
const PROBLEMS_MAX: usize = 1000;

/// Collects problems from several threads.
#[derive(Default)]
pub(crate) struct Findings {
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    problems: Vec<Problem>,
    more: u64,
    /// What kept the first part that could not be read from being read.
    first: Option<Error>,
}

impl Findings {
    pub(crate) fn add(
        &self,
        part: Part,
        place: impl Into<String>,
        what: impl Into<String>,
        affects: Affected,
    ) {
        let mut found = self.found.lock().expect("no code panics while it holds the findings");
        if found.problems.len() < PROBLEMS_MAX {
            let (place, what) = (place.into(), what.into());
            found.problems.push(Problem { part, place, what, affects });
        } else {
            found.more = found.more.saturating_add(1);
        }
    }

    /// Adds what kept something from being read.
    pub(crate) fn error(&self, part: Part, error: &Error, affects: Affected) {
        {
            let mut found = self.found.lock().expect("no code panics while it holds the findings");
            found.first.get_or_insert_with(|| error.clone());
        }
        match error {
            Error::Corrupt { what, place } => self.add(part, place, format!("bad {what}"), affects),
            Error::Io { path, message } => {
                self.add(part, path.display().to_string(), message, affects);
            }
            Error::Kv(message) => self.add(Part::Database, "rocksdb", message, affects),
            Error::Invalid(_)
            | Error::Busy { .. }
            | Error::Limit { .. }
            | Error::Rate { .. }
            | Error::ReadOnly { .. }
            | Error::Removed
            | Error::Interrupted
            | Error::Stopped { .. } => self.add(part, "", error.to_string(), affects),
        }
    }

    /// Everything found, by part and place, with tenants named, and how many more there are.
    pub(crate) fn into_problems(self, names: &BTreeMap<TenantId, String>) -> (Vec<Problem>, u64) {
        let found = self.found.into_inner().expect("no code panics while it holds the findings");
        let mut problems = found.problems;
        for problem in &mut problems {
            let name = problem.affects.tenant.and_then(|tenant| names.get(&tenant));
            problem.affects.tenant_name = name.cloned();
        }
        problems.sort_by(|a, b| (a.part, &a.place, &a.what).cmp(&(b.part, &b.place, &b.what)));
        (problems, found.more)
    }

    /// The first error among what was found.
    pub(crate) fn first_error(&self) -> Option<Error> {
        let found = self.found.lock().expect("no code panics while it holds the findings");
        found.first.clone()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    pub(crate) fn count(&self) -> u64 {
        let found = self.found.lock().expect("no code panics while it holds the findings");
        u64::try_from(found.problems.len()).unwrap_or(u64::MAX).saturating_add(found.more)
    }

    /// Adds everything another has collected.
    pub(crate) fn take(&self, other: Findings) {
        let other = other.found.into_inner().expect("no code panics while it holds the findings");
        for Problem { part, place, what, affects } in other.problems {
            self.add(part, place, what, affects);
        }
        let mut found = self.found.lock().expect("no code panics while it holds the findings");
        found.more = found.more.saturating_add(other.more);
    }
}

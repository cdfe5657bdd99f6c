//! Repair: makes a damaged directory whole again with what is left of it, and says what is lost.
//! Nothing is deleted: what is replaced goes to `quarantine/`.
//!
//! It goes in rounds: examine, mend what was found, until nothing is found. What can be derived is
//! derived: lists of the index from definitions, definitions from series tables, activity from rows,
//! the manifest from files, terms, ids and words of journals from their entries.

mod choice;
mod database;
mod forgotten;
mod index;
mod journal;
mod log;
mod salvage;
mod segments;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::acknowledged::Acknowledged;
use crate::error::Error;
use crate::key::{Fact, Key};
use crate::kv::{Batch, Kv, Sync};
use crate::offline::{self, Offline};
use crate::roster;
use crate::verify::{self, Affected, Examination, Findings, Part, Problem, Removed};

/// Rounds after which what is still found is left.
const ROUNDS_MAX: usize = 4;

/// Whether anything is changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Only say what would be done. What a later step finds is not known before the earlier ones.
    DryRun,
    /// Do it.
    Apply,
}

/// What a repair has done, or would do.
#[derive(Clone, Debug, Default)]
pub struct Repaired {
    /// What was found.
    pub found: Vec<Problem>,
    /// The steps taken.
    pub steps: Vec<String>,
    /// What is lost, by part and place.
    pub lost: Vec<Problem>,
    /// Samples that were in segments and are not any more.
    pub lost_samples: u64,
    /// What is still wrong afterwards. Of a dry run: nothing is known.
    pub left: Vec<Problem>,
}

/// Repairs a directory that no server has open. `report` is told of bytes read, and of all, in each
/// round.
///
/// # Errors
/// `Invalid` if the directory is in use or holds no data; `Io` or `Kv` if it cannot be written to.
/// What was done until then is done; a second repair goes on from there.
pub fn repair(
    directory: &Path,
    mode: Mode,
    report: &(dyn Fn(u64, u64) + std::marker::Sync),
) -> Result<Repaired, Error> {
    let mut offline = Offline::open(directory)?;
    let mut repaired = Repaired::default();
    let lost = Findings::default();
    let mut names = std::collections::BTreeMap::new();
    let mut round = 0;
    loop {
        let mut examination = verify::examine(&offline, report)?;
        if let Some(indexed) = &examination.indexed {
            names = indexed.tenants.clone();
        }
        let (problems, _) = std::mem::take(&mut examination.findings).into_problems(&names);
        if round == 0 {
            repaired.found.clone_from(&problems);
        }
        if problems.is_empty() && examination.unlisted.is_empty() || round == ROUNDS_MAX {
            repaired.left = problems;
            break;
        }
        let orphans_only = problems.is_empty();
        let mut mending = Mending {
            directory,
            kv: None,
            mode,
            lost: &lost,
            repaired: &mut repaired,
            removed: examination.removed.clone(),
        };
        if mode == Mode::DryRun {
            let readable = offline.kv.as_ref().ok().filter(|_| !examination.database_damaged);
            mending.kv = readable.cloned();
            if !orphans_only {
                mending.round(&examination, &offline)?;
            }
            break;
        }
        if orphans_only {
            // Not damage: a flush or merge that did not come to its commit.
            break;
        }
        let known = offline.acknowledged;
        let kv = match std::mem::replace(&mut offline.kv, Err(Error::corrupt("state", "rocksdb"))) {
            Ok(kv) if !examination.database_damaged => {
                if round == 0 {
                    // It was open for reading only.
                    drop(kv);
                    Kv::open(&offline::database(directory), &offline::sizes())?
                } else {
                    kv
                }
            }
            damaged => {
                drop(damaged);
                mending.database()?
            }
        };
        mending.kv = Some(kv.clone());
        mending.round(&examination, &offline)?;
        mending.acknowledge(&kv, known)?;
        if roster::is_damaged(directory) {
            mending.step("write the names of the tenants anew");
            let names = verify::tenants(&kv)?;
            let removed_upto = Offline::fact(&kv, Fact::RemovedTenant)?;
            let removed_upto = u32::try_from(removed_upto).unwrap_or(0);
            roster::write(directory, &roster::names(names, removed_upto))?;
        }
        offline.acknowledged = Some(kv.newest_change());
        offline.kv = Ok(kv);
        round += 1;
    }
    (repaired.lost, _) = lost.into_problems(&names);
    Ok(repaired)
}

/// A round of a repair.
struct Mending<'a> {
    directory: &'a Path,
    kv: Option<Kv>,
    mode: Mode,
    lost: &'a Findings,
    repaired: &'a mut Repaired,
    /// Tenants of which nothing is to come back.
    removed: Removed,
}

impl Mending<'_> {
    fn step(&mut self, step: impl Into<String>) {
        self.repaired.steps.push(step.into());
    }

    fn applies(&self) -> bool {
        self.mode == Mode::Apply
    }

    /// Commits changes, unless nothing is to be changed.
    fn commit(&self, batch: Batch) -> Result<(), Error> {
        match (&self.kv, self.mode) {
            (Some(kv), Mode::Apply) if !batch.is_empty() => kv.commit(batch, Sync::Disk),
            (_, Mode::Apply | Mode::DryRun) => Ok(()),
        }
    }

    /// Mends what one examination has found. The order matters: what comes later is derived from
    /// what comes earlier.
    fn round(&mut self, examination: &Examination, offline: &Offline) -> Result<(), Error> {
        if examination.database_damaged {
            if !self.applies() {
                self.step(
                    "RocksDB is damaged: a copy goes to quarantine, then it is put together from \
                     what is whole in it; what is missing then is taken from the segments",
                );
            }
            let what = "entries of RocksDB may be lost: writes that were in the log alone, alarms, \
                        their states and history, settings, retention, deletions";
            let place = offline::database(self.directory).display().to_string();
            self.lost.add(Part::Database, place, what, Affected::default());
        } else if let (Ok(kv), Some(acknowledged)) = (&offline.kv, offline.acknowledged)
            && kv.newest_change() < acknowledged
        {
            let what = format!("changes {} to {acknowledged}", kv.newest_change() + 1);
            let place = offline::database(self.directory).display().to_string();
            self.lost.add(Part::Log, place, what, Affected::default());
        }
        if let Some(kv) = self.kv.clone().filter(|_| self.applies()) {
            database::facts(&kv)?;
        }
        self.memories(examination)?;
        self.manifest(examination)?;
        self.removed_tenants(examination)?;
        self.definitions(examination)?;
        self.segments(examination)?;
        self.log(examination)?;
        self.lists(examination)?;
        self.journals(examination)
    }

    fn database(&mut self) -> Result<Kv, Error> {
        let restored = database::restore(self.directory)?;
        let aside: PathBuf = restored.aside;
        self.step(format!("RocksDB was damaged; a copy of it is in {}", aside.display()));
        if restored.forgetful {
            self.all_forgotten();
        }
        self.step(if restored.emptied {
            "began a new RocksDB"
        } else {
            "put RocksDB together from what was whole in it"
        });
        Ok(restored.kv)
    }

    /// From here on, this is what must not be lost.
    fn acknowledge(&mut self, kv: &Kv, known: Option<u64>) -> Result<(), Error> {
        let newest = kv.newest_change();
        if known.is_none_or(|known| known > newest) {
            self.step(format!("recorded change {newest} as the newest acknowledged"));
        }
        Acknowledged::open(self.directory)?.reset(newest)
    }

    fn put_fact(&self, fact: Fact, number: u64) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.put(&Key::Fact(fact), number.to_le_bytes().to_vec());
        self.commit(batch)
    }
}

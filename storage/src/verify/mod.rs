//! Verification: reads everything that is stored and compares each part with what else is known of it.
//! Nothing is changed. What is in memory does not grow with the samples: directories are read group
//! by group, and the index is compared by sums.

mod database;
mod flaw;
mod forgotten;
mod index;
mod journal;
mod log;
mod problem;
mod reading;
mod record_log;
mod segments;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use roaring::RoaringBitmap;

pub(crate) use flaw::{Tally, Wrong, rows};
pub(crate) use forgotten::{BadEntry, Removed, tombstones};
pub(crate) use index::{Inactive, Indexed};
pub(crate) use journal::flaws;
pub(crate) use log::Logged;
pub(crate) use problem::Findings;
pub use problem::{Affected, Part, Problem};
use reading::Reading;
pub(crate) use segments::{Known, Present, of_group, of_rows, of_series, read_rows, read_series};

use crate::error::Error;
use crate::index as stored;
use crate::key::{Fact, Family, Key};
use crate::kv::Kv;
use crate::model::{Sequence, TenantId};
use crate::offline::{self, Offline};
use crate::recovery;
use crate::segment::{Segment, SegmentAddress, SegmentFacts, SeriesPlace};
use crate::threads::Shared;

/// What a verification has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segment files.
    pub segments: u64,
    /// Bytes of segment files.
    pub bytes: u64,
    /// Row blocks and series blocks.
    pub blocks: u64,
    /// Samples in them.
    pub samples: u64,
    /// Series whose keys stand in series tables.
    pub table_entries: u64,
    /// Definitions of series in the index.
    pub definitions: u64,
    /// Posting lists.
    pub postings: u64,
    /// Records of the log.
    pub log_records: u64,
    /// Rows in them.
    pub log_rows: u64,
    /// Entries of journals.
    pub journal_entries: u64,
    /// Terms, ids and words of journals.
    pub journal_rows: u64,
    /// Bytes of RocksDB's tables.
    pub database_bytes: u64,
}

impl Verified {
    fn add(&mut self, other: &Verified) {
        for (sum, more) in [
            (&mut self.segments, other.segments),
            (&mut self.bytes, other.bytes),
            (&mut self.blocks, other.blocks),
            (&mut self.samples, other.samples),
            (&mut self.table_entries, other.table_entries),
        ] {
            *sum += more;
        }
    }
}

/// The outcome of a verification.
#[derive(Clone, Debug)]
pub struct Verification {
    /// What was read.
    pub verified: Verified,
    /// What is not as it must be, by part and place.
    pub problems: Vec<Problem>,
    /// Problems beyond those listed.
    pub more: u64,
    /// Files that belong to nothing: the next start removes them.
    pub unlisted: Vec<PathBuf>,
}

impl Verification {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Everything a verification has found out, also for a repair.
pub(crate) struct Examination {
    pub(crate) verified: Verified,
    pub(crate) findings: Findings,
    pub(crate) segments: Vec<(SegmentAddress, SegmentFacts)>,
    /// Entries of the manifest that do not decode.
    pub(crate) bad_entries: Vec<Vec<u8>>,
    /// Segments of the manifest with something wrong in them.
    pub(crate) damaged: HashSet<u64>,
    pub(crate) unlisted: Vec<PathBuf>,
    /// `None` where RocksDB could not be read.
    pub(crate) indexed: Option<Indexed>,
    pub(crate) inactive: Vec<Inactive>,
    pub(crate) logged: Option<Logged>,
    /// What of the journals is not as it must be, if anything is.
    pub(crate) journals: Option<journal::Doubt>,
    /// Series with rows and without a definition.
    pub(crate) undefined: BTreeMap<TenantId, RoaringBitmap>,
    /// Entries about retention and deletion that do not decode.
    pub(crate) bad_memories: Vec<BadEntry>,
    pub(crate) removed: Removed,
    /// RocksDB has entries that cannot be read.
    pub(crate) database_damaged: bool,
    /// RocksDB has lost changes that were acknowledged, or may have.
    pub(crate) database_short: bool,
}

/// Reads everything in a directory that no server has open. `report` is told of bytes done and in
/// all, from several threads.
///
/// # Errors
/// `Invalid` if the directory is in use or holds no data. What is damaged is no error but part of
/// the outcome.
pub fn verify(directory: &Path, report: &(dyn Fn(u64, u64) + Sync)) -> Result<Verification, Error> {
    let offline = Offline::open(directory)?;
    let examination = examine(&offline, report)?;
    let names = examination.indexed.map(|indexed| indexed.tenants).unwrap_or_default();
    let (problems, more) = examination.findings.into_problems(&names);
    Ok(Verification {
        verified: examination.verified,
        problems,
        more,
        unlisted: examination.unlisted,
    })
}

/// Reads everything.
pub(crate) fn examine(
    offline: &Offline,
    report: &(dyn Fn(u64, u64) + Sync),
) -> Result<Examination, Error> {
    let mut examination = Examination {
        verified: Verified::default(),
        findings: Findings::default(),
        segments: Vec::new(),
        bad_entries: Vec::new(),
        damaged: HashSet::new(),
        unlisted: Vec::new(),
        indexed: None,
        inactive: Vec::new(),
        logged: None,
        journals: None,
        undefined: BTreeMap::new(),
        bad_memories: Vec::new(),
        removed: Removed::read(None, &offline.directory)?,
        database_damaged: offline.kv.is_err(),
        database_short: database::is_short(offline),
    };
    database::check_end(offline, &examination.findings);
    let files = recovery::segment_files(&offline.directory.join("segments"))?;
    let kv = offline.kv.as_ref().ok();
    let listed = kv.and_then(|kv| examination.manifest(kv, &files, &offline.directory));
    if listed.is_none() {
        // Without a manifest every file is taken for a segment.
        let root = offline.directory.join("segments");
        let address = |path: &PathBuf| offline::address_of(&root, path);
        let whole =
            |address: SegmentAddress| match Segment::open(&offline.directory, address.clone()) {
                Ok(segment) => Some((address, segment.facts)),
                Err(error) => {
                    examination.findings.error(Part::Segment, &error, Affected::default());
                    None
                }
            };
        examination.segments = files.iter().filter_map(address).filter_map(whole).collect();
    }
    let database_bytes =
        kv.map_or(0, |kv| kv.files().map_or(0, |files| files.iter().map(|file| file.bytes).sum()));
    let total = examination.segments.iter().map(|(_, facts)| facts.bytes).sum::<u64>();
    let reading = Reading::new(total.saturating_add(database_bytes), report);
    if let Some(kv) = kv {
        let before = examination.findings.count();
        let folder = offline::database(&offline.directory);
        match database::check(kv, &folder, &examination.findings, &reading) {
            Ok(bytes) => examination.verified.database_bytes = bytes,
            Err(error) => {
                examination.findings.error(Part::Database, &error, Affected::default());
            }
        }
        examination.database_damaged |= examination.findings.count() > before;
    }
    let mut readable = kv.filter(|_| !examination.database_damaged);
    if let Some(kv) = readable
        && let Err(error) = examination.remembered(kv, &offline.directory)
    {
        examination.findings.error(Part::Database, &error, Affected::default());
        examination.database_damaged = true;
        readable = None;
    }
    let present = examination.read_segments(&offline.directory, readable, &reading);
    if readable.is_none() {
        let what = "not compared with anything, because RocksDB cannot be read";
        examination.findings.add(Part::Definition, "index and log", what, Affected::default());
    }
    if let Some(kv) = readable
        && let Err(error) = examination.read_index(kv, &present)
    {
        examination.findings.error(Part::Database, &error, Affected::default());
        examination.database_damaged = true;
    }
    Ok(examination)
}

impl Examination {
    /// The manifest against the files. `None` if it cannot be read.
    fn manifest(&mut self, kv: &Kv, files: &[PathBuf], directory: &Path) -> Option<()> {
        let bad_entries = &mut self.bad_entries;
        let read = offline::manifest_entries(kv, |key| bad_entries.push(key));
        for key in &self.bad_entries {
            let place = format!("manifest {key:02x?}");
            self.findings.add(Part::Manifest, place, "does not decode", Affected::default());
        }
        self.segments = match read {
            Ok(entries) => entries,
            Err(error) => {
                self.findings.error(Part::Manifest, &error, Affected::default());
                return None;
            }
        };
        let listed: HashSet<PathBuf> =
            self.segments.iter().map(|(address, _)| directory.join(address.path())).collect();
        self.unlisted = files.iter().filter(|path| !listed.contains(*path)).cloned().collect();
        self.order(directory);
        self.facts(kv);
        Some(())
    }

    /// Retention, deletion, tenants that were removed.
    fn remembered(&mut self, kv: &Kv, directory: &Path) -> Result<(), Error> {
        self.bad_memories = forgotten::check(kv, &self.findings)?;
        self.removed = Removed::read(Some(kv), directory)?;
        Ok(())
    }

    /// Sequence ranges of a partition do not overlap, unless they are the same and of disjoint series.
    fn order(&self, directory: &Path) {
        type Listed = (SegmentAddress, SegmentFacts);
        let mut order: Vec<&Listed> = self.segments.iter().collect();
        order.sort_by_key(|(address, facts)| {
            (offline::home(address), facts.sequences, address.number)
        });
        let same_home = |a: &Listed, b: &Listed| offline::home(&a.0) == offline::home(&b.0);
        let siblings = |a: &Listed, b: &Listed| same_home(a, b) && a.1.sequences == b.1.sequences;
        let overlap = |a: &SegmentAddress, b: &SegmentAddress, what: &str| {
            let what = format!("{what} overlap those of {}", b.path().display());
            let place = a.path().display().to_string();
            self.findings.add(Part::Manifest, place, what, Affected::default());
        };
        for pair in order.windows(2) {
            let [a, b] = pair else { continue };
            if !siblings(a, b) && same_home(a, b) && b.1.sequences.0 <= a.1.sequences.1 {
                overlap(&a.0, &b.0, "sequences");
            }
        }
        for all in order.chunk_by(|a, b| siblings(a, b)).filter(|all| all.len() > 1) {
            // One that does not open at all is reported for itself.
            let span = |(address, facts): &Listed| {
                offline::open_segment(directory, address, facts)?.span()
            };
            let mut spans: Vec<_> =
                all.iter().filter_map(|listed| Some((span(listed)?, &listed.0))).collect();
            spans.sort_by_key(|(span, address)| (*span, address.number));
            for pair in spans.windows(2) {
                let [(a, of_a), (b, of_b)] = pair else { continue };
                if b.0 <= a.1 {
                    overlap(of_a, of_b, "sequences and series");
                }
            }
        }
    }

    fn facts(&mut self, kv: &Kv) {
        let fact = |fact| Offline::fact(kv, fact);
        // One that is no number is found with the other entries that do not decode.
        if let Ok(trimmed) = fact(Fact::TrimmedTo) {
            let newest = self.segments.iter().map(|(_, facts)| facts.sequences.1.number());
            if newest.max().is_some_and(|newest| newest > trimmed) {
                let what = "less than the last sequence of a segment";
                self.findings.add(Part::Facts, "trimmed to", what, Affected::default());
            }
        }
        if let Ok(next) = fact(Fact::NextSegment) {
            let greatest = self.segments.iter().map(|(address, _)| address.number).max();
            if greatest.is_some_and(|greatest| greatest >= next) {
                let what = "not greater than the number of every segment";
                self.findings.add(Part::Facts, "next segment", what, Affected::default());
            }
        }
    }

    /// Reads all segments, on all cores.
    fn read_segments(
        &mut self,
        directory: &Path,
        kv: Option<&Kv>,
        reading: &Reading<'_>,
    ) -> Present {
        let definitions = kv.map(|kv| move |places: &[SeriesPlace]| canonicals(kv, places));
        let definitions = definitions.as_ref().map(|found| found as &segments::Definitions<'_>);
        let next = AtomicUsize::new(0);
        let all = Mutex::new((Present::new(), Verified::default(), HashSet::new()));
        let (listed, findings) = (&self.segments, &self.findings);
        let removed = |tenant| self.removed.contains(tenant);
        let known = Known { definitions, removed: &removed };
        let work = || {
            while let Some((address, facts)) = listed.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (checked, whole) =
                    one_segment(directory, address, facts, &known, findings, reading);
                let mut all = all.lock().expect("no code panics while it holds the sums");
                if !whole {
                    all.2.insert(address.number);
                }
                let Some(checked) = checked else { continue };
                all.1.add(&checked.verified);
                for (key, ids) in checked.present {
                    *all.0.entry(key).or_default() |= ids;
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        std::thread::scope(|scope| {
            for _ in 1..threads.min(listed.len()) {
                scope.spawn(work);
            }
            work();
        });
        let (present, verified, damaged) =
            all.into_inner().expect("no code panics while it holds the sums");
        self.verified.add(&verified);
        self.damaged = damaged;
        present
    }

    fn read_index(&mut self, kv: &Kv, present: &Present) -> Result<(), Error> {
        let (findings, leaving) = (&self.findings, self.removed.leaving());
        let trimmed = Sequence::new(Offline::fact(kv, Fact::TrimmedTo).unwrap_or(0));
        let indexed = index::check(kv, findings, &mut self.verified)?;
        let logged = log::check(kv, trimmed, findings, &mut self.verified)?;
        self.inactive = index::check_activity(kv, present, &indexed.defined, leaving, findings)?;
        let removed = &self.removed;
        let rows = present.iter().map(|((tenant, _), ids)| (tenant, ids)).chain(&logged.present);
        for (tenant, ids) in rows.filter(|(tenant, _)| !removed.contains(**tenant)) {
            let unknown = indexed.defined.get(tenant).map_or(ids.clone(), |known| ids - known);
            if !unknown.is_empty() {
                *self.undefined.entry(*tenant).or_default() |= unknown;
            }
        }
        for (tenant, ids) in &self.undefined {
            let affects = Affected {
                tenant: Some(*tenant),
                series: ids.min().zip(ids.max()),
                series_count: Some(ids.len()),
                ..Affected::default()
            };
            let place = format!("definitions of tenant {tenant}");
            findings.add(Part::Definition, place, "missing for series with samples", affects);
        }
        self.indexed = Some(indexed);
        self.logged = Some(logged);
        self.journals = journal::check(kv, findings, &mut self.verified)?;
        Ok(())
    }
}

/// Reads one segment. Whether it is whole.
fn one_segment(
    directory: &Path,
    address: &SegmentAddress,
    facts: &SegmentFacts,
    known: &Known<'_>,
    findings: &Findings,
    reading: &Reading<'_>,
) -> (Option<segments::Checked>, bool) {
    let all =
        Affected { samples: Some(facts.samples), times: Some(facts.times), ..Affected::default() };
    let of_this = Findings::default();
    let opened = Segment::open(directory, address.clone());
    let checked = match opened {
        Ok(segment) if segment.facts != *facts => {
            let error = segment.mismatch("footer (not the one in the manifest)");
            of_this.error(Part::Segment, &error, all);
            None
        }
        Ok(segment) => Some(segments::check(&segment, known, &of_this, reading)),
        Err(error) => {
            let moved = directory.join(offline::QUARANTINE).join(address.below());
            if moved.is_file() {
                let what = "in quarantine; repair brings back what is whole in it";
                of_this.add(Part::Segment, moved.display().to_string(), what, all);
            } else {
                of_this.error(Part::Segment, &error, all);
            }
            None
        }
    };
    let whole = of_this.is_empty();
    findings.take(of_this);
    (checked, whole)
}

/// The names of the tenants.
pub(crate) fn tenants(kv: &Kv) -> Result<BTreeMap<TenantId, String>, Error> {
    Ok(index::names(kv, &Findings::default())?.tenants)
}

/// The stored canonical keys of series of one tenant.
fn canonicals(kv: &Kv, places: &[SeriesPlace]) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let keys: Vec<Vec<u8>> =
        places.iter().map(|place| Key::Series(place.tenant, place.series).encode()).collect();
    let values = kv.get_many(Family::Series, &keys)?;
    let canonical = |value: Vec<u8>| {
        stored::split_definition(&value).ok().map(|(_, canonical)| canonical.to_vec())
    };
    Ok(values.into_iter().map(|value| value.and_then(canonical)).collect())
}

/// Reads the segments of an open store. Stops at the first damage.
pub(crate) fn verify_open(shared: &Shared) -> Result<Verified, Error> {
    if let Some(missing) = shared.live.quarantined().first() {
        return Err(Error::corrupt("segment", format!("{}: {missing}", missing.path.display())));
    }
    verify_live(shared)
}

/// Reads the segments of an open store but those that are in quarantine.
pub(crate) fn verify_live(shared: &Shared) -> Result<Verified, Error> {
    let moment = shared.live.moment();
    let mut verified = Verified::default();
    let reading = Reading::new(0, &|_, _| {});
    let definitions = |places: &[SeriesPlace]| canonicals(&shared.kv, places);
    let removed = |tenant: TenantId| {
        tenant.number() <= shared.index.removed_upto()
            && shared.index.tenant_by_id(tenant).is_none()
    };
    let known = Known { definitions: Some(&definitions), removed: &removed };
    for segment in moment.segments.iter().chain(moment.rollups.iter()) {
        let findings = Findings::default();
        let checked = segments::check(segment, &known, &findings, &reading);
        for ((tenant, _), ids) in &checked.present {
            undefined(shared, segment, *tenant, ids)?;
        }
        if let Some(error) = findings.first_error() {
            return Err(error);
        }
        verified.add(&checked.verified);
    }
    Ok(verified)
}

fn undefined(
    shared: &Shared,
    segment: &Arc<Segment>,
    tenant: TenantId,
    ids: &RoaringBitmap,
) -> Result<(), Error> {
    let known = match shared.index.tenant_by_id(tenant) {
        Some(tenant) => {
            tenant.metrics.read().expect("no code panics while it holds metrics").series_count()
        }
        // Its rows are left until their segments have been written again.
        None if tenant.number() <= shared.index.removed_upto() => return Ok(()),
        None => 0,
    };
    match ids.max() {
        Some(last) if last >= known => Err(segment.mismatch("series (without definition)")),
        _ => Ok(()),
    }
}

//! Opening a data directory: check the format, load what the manifest lists, remove what it does not,
//! replay the log.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::acknowledged::{self, Acknowledged};
use crate::batch::{self, Batch as Joint};
use crate::config::{Durability, StoreConfig};
use crate::deletion;
use crate::error::Error;
use crate::fail_point::{self, Point};
use crate::files;
use crate::head::{Generation, Run, SORT_ROWS};
use crate::index::Index;
use crate::key::{self, Fact, Family, Key};
use crate::kv::{Batch, Kv, KvSizes, Sync};
use crate::live::Live;
use crate::manifest;
use crate::model::{Sequence, TenantId, Timestamp};
use crate::offline;
use crate::output::metric_lookup;
use crate::quarantine::{self, Quarantined};
use crate::retention::Retention;
use crate::rollup;
use crate::segment::{Segment, SegmentAddress, partition_of};

/// Version of everything this store writes. A directory of another version is not opened.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// An opened directory, before its threads start.
pub(crate) struct Opened {
    pub(crate) kv: Kv,
    pub(crate) index: Index,
    pub(crate) live: Live,
    pub(crate) newest: Sequence,
    pub(crate) trimmed: Sequence,
    pub(crate) last_arrival: Timestamp,
    pub(crate) next_segment: u64,
    pub(crate) retention: Retention,
    /// What was acknowledged once and is missing.
    pub(crate) losses: Vec<String>,
}

/// Opens everything. Nothing is removed before it is known that nothing is missing.
pub(crate) fn open(
    directory: &Path,
    config: &StoreConfig,
    now: Timestamp,
) -> Result<Opened, Error> {
    let sizes = KvSizes { live_log_bytes: config.live_log_bytes, cache_bytes: config.cache_bytes };
    if acknowledged::recorded(directory)?.is_none() {
        let place = format!("{}:0", directory.join("acknowledged").display());
        let error = Error::corrupt("checksum", place);
        if config.strict {
            return Err(error);
        }
        tracing::error!(%error, "whether the log is complete is not known");
    }
    if config.strict {
        refuse_short(directory, &sizes)?;
    }
    let acknowledged = Arc::new(Acknowledged::open(directory)?);
    let mut kv = Kv::open(&directory.join("rocksdb"), &sizes)?;
    let lost = match acknowledged.shortfall(kv.newest_change()) {
        Some(error) if config.strict => return Err(error),
        lost => lost.map(|error| error.to_string()),
    };
    if config.durability == Durability::Batch {
        // At the other level a change may be known to RocksDB and not be synced.
        kv.record_in(acknowledged.clone());
    }
    check_format(directory, &kv)?;
    let index = Index::open(kv.clone())?;
    let mut live = Live::default();
    let Found { segments, quarantined, orphans, greatest } =
        open_segments(directory, &kv, config.strict)?;
    let incomplete = lost.is_some() || !quarantined.is_empty();
    live.set_quarantined(quarantined);
    {
        let mut state = live.lock();
        state.swap_segments(&[], segments);
        state.rolled = Arc::new(rollup::load(&kv, &state.rollups)?);
    }
    let trimmed = Sequence::new(fact(&kv, Fact::TrimmedTo)?.unwrap_or(0));
    let (newest, mut last_arrival) = replay(&kv, &index, &live, trimmed)?;
    if let Some(floor) = fact(&kv, Fact::LastArrival)? {
        last_arrival = last_arrival.max(Timestamp::from_millis(floor.cast_signed()));
    }
    fail_point::pass(Point::RecoveryLoaded);
    put_away(directory, &orphans, incomplete)?;
    files::sync_folder(directory)?;
    if let Some(lost) = &lost {
        tracing::error!(lost, "acknowledged writes are missing; starting with what is there");
        acknowledged.reset(kv.newest_change())?;
    }
    fail_point::pass(Point::RecoveryDone);
    let next_segment = fact(&kv, Fact::NextSegment)?.unwrap_or(1).max(greatest.saturating_add(1));
    live.lock().tombstones = Arc::new(deletion::load_tombstones(&kv, next_segment)?);
    // A store that never removed anything has no other clock.
    let passed = fact(&kv, Fact::Passed)?;
    let passed = passed.map_or(now, |passed| Timestamp::from_millis(passed.cast_signed()));
    let retention = Retention::open(&kv, passed)?;
    let losses = lost.into_iter().collect();
    Ok(Opened { kv, index, live, newest, trimmed, last_arrival, next_segment, retention, losses })
}

/// Refuses a log that ends before what was acknowledged, without changing anything: opened for writing,
/// RocksDB would end its log there.
fn refuse_short(directory: &Path, sizes: &KvSizes) -> Result<(), Error> {
    let rocksdb = directory.join("rocksdb");
    let Some(recorded) = acknowledged::recorded(directory)?.filter(|&recorded| recorded > 0) else {
        return Ok(());
    };
    if !rocksdb.join("CURRENT").is_file() {
        return Ok(());
    }
    let newest = Kv::open_read_only(&rocksdb, sizes)?.newest_change();
    acknowledged::shortfall(&rocksdb, recorded, newest).map_or(Ok(()), Err)
}

/// Removes segment files that no manifest lists: flushes and merges that did not come to their commit.
/// Where something is missing they may hold it, and go to quarantine.
fn put_away(directory: &Path, orphans: &[SegmentAddress], incomplete: bool) -> Result<(), Error> {
    for address in orphans {
        let path = directory.join(address.path());
        if incomplete {
            let moved = offline::quarantine(directory, address)?;
            tracing::warn!(path = %moved.display(), "put aside a segment file without a manifest entry");
        } else {
            tracing::info!(path = %path.display(), "removing a segment file that was never committed");
            fs::remove_file(&path).map_err(|source| Error::io(&path, &source))?;
        }
    }
    Ok(())
}

/// A number among the facts, if it is there.
pub(crate) fn fact(kv: &Kv, fact: Fact) -> Result<Option<u64>, Error> {
    match kv.get(&Key::Fact(fact))? {
        None => Ok(None),
        Some(bytes) => bytes
            .try_into()
            .map(|bytes| Some(u64::from_le_bytes(bytes)))
            .map_err(|_| Error::corrupt("number", format!("fact {}", fact as u8))),
    }
}

fn check_format(directory: &Path, kv: &Kv) -> Result<(), Error> {
    check_layout(directory)?;
    if is_of_this_version(kv)? {
        return Ok(());
    }
    if !segment_files(&directory.join("segments"))?.is_empty() {
        let rocksdb = directory.join("rocksdb").display().to_string();
        return Err(Error::corrupt("or missing content (there are segments)", rocksdb));
    }
    let mut batch = Batch::default();
    batch.put(&Key::Fact(Fact::FormatVersion), FORMAT_VERSION.to_le_bytes().to_vec());
    kv.commit(batch, Sync::Disk)
}

/// Whether RocksDB says that it is of this version; not if it says nothing.
///
/// # Errors
/// `Invalid` if it is of another one.
pub(crate) fn is_of_this_version(kv: &Kv) -> Result<bool, Error> {
    let Some(version) = kv.get(&Key::Fact(Fact::FormatVersion))? else { return Ok(false) };
    if version == FORMAT_VERSION.to_le_bytes() {
        return Ok(true);
    }
    let found = version.as_chunks::<4>().0.first().map(|bytes| u32::from_le_bytes(*bytes));
    Err(Error::Invalid(format!(
        "the data directory has format version {}, this program reads version {FORMAT_VERSION}",
        found.map_or("?".to_owned(), |found| found.to_string())
    )))
}

/// Refuses folders below `segments/` that this program did not make: it would take what they hold for
/// missing.
pub(crate) fn check_layout(directory: &Path) -> Result<(), Error> {
    let segments = directory.join("segments");
    let failed = |source| Error::io(&segments, &source);
    let entries = match fs::read_dir(&segments) {
        Ok(entries) => entries,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed(source)),
    };
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let is_tier =
            |name: &str| name.strip_prefix("tier-").is_some_and(|n| n.parse::<u8>().is_ok());
        let known = path.file_name().and_then(|name| name.to_str()).is_some_and(is_tier);
        if path.is_dir() && !known {
            return Err(Error::Invalid(format!(
                "{} is no folder of format version {FORMAT_VERSION}: another program or version wrote it",
                path.display()
            )));
        }
    }
    Ok(())
}

/// What lies under `segments/`.
struct Found {
    /// Those of the manifest.
    segments: Vec<Arc<Segment>>,
    /// Those of the manifest that did not open.
    quarantined: Vec<Quarantined>,
    /// Files that the manifest does not list.
    orphans: Vec<SegmentAddress>,
    /// The greatest number of any file, those in quarantine included.
    greatest: u64,
}

/// Opens the segments of the manifest and finds the files that it does not list. A damaged segment
/// is put aside, unless `strict`; where the system refuses to read, nothing is known of the segment.
fn open_segments(directory: &Path, kv: &Kv, strict: bool) -> Result<Found, Error> {
    let mut segments = Vec::new();
    let mut quarantined = Vec::new();
    kv.scan(Family::Manifest, &[], &[], |key, value| {
        let corrupt = || Error::corrupt("manifest entry", format!("{key:02x?}"));
        let (tier, partition, number) = key::decode_segment(key).ok_or_else(corrupt)?;
        let facts = manifest::decode(value).ok_or_else(corrupt)?;
        let address = SegmentAddress { tier, partition, number };
        let opened = Segment::open(directory, address.clone()).and_then(|segment| {
            let agrees = segment.facts == facts;
            let footer = "footer (not the one in the manifest)";
            if agrees { Ok(segment) } else { Err(segment.mismatch(footer)) }
        });
        match opened {
            Ok(segment) => segments.push(Arc::new(segment)),
            Err(error) if strict => return Err(error),
            Err(error @ Error::Corrupt { .. }) => {
                quarantined.push(quarantine::put_in(directory, address, &facts, &error)?);
            }
            Err(error) if !directory.join(address.path()).exists() => {
                quarantined.push(quarantine::put_in(directory, address, &facts, &error)?);
            }
            Err(error) => return Err(error),
        }
        Ok::<_, Error>(true)
    })?;
    let known: HashSet<&SegmentAddress> =
        segments.iter().map(|segment: &Arc<Segment>| &segment.address).collect();
    let mut greatest = 0;
    let mut orphans = Vec::new();
    let root = directory.join("segments");
    for path in segment_files(&root)? {
        match offline::address_of(&root, &path) {
            Some(address) if directory.join(address.path()) == path => {
                greatest = greatest.max(address.number);
                if !known.contains(&address) {
                    orphans.push(address);
                }
            }
            _ => tracing::warn!(path = %path.display(), "not a file of this store: left alone"),
        }
    }
    for path in segment_files(&directory.join(offline::QUARANTINE))? {
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        greatest = greatest.max(number.unwrap_or(0));
    }
    Ok(Found { segments, quarantined, orphans, greatest })
}

pub(crate) fn segment_files(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(Error::io(&folder, &source)),
        };
        for entry in entries {
            let path = entry.map_err(|source| Error::io(&folder, &source))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "seg") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

/// Puts what is in the log but not in segments into the head. Rows are sorted into runs by a second
/// thread while the log is read, so that a full head takes neither the time nor the memory of its
/// unsorted rows.
fn replay(
    kv: &Kv,
    index: &Index,
    live: &Live,
    trimmed: Sequence,
) -> Result<(Sequence, Timestamp), Error> {
    let mut state = live.lock();
    let generation = &mut state.open;
    std::thread::scope(|scope| {
        // Two parts wait at most: as many rows as are being sorted.
        let (parts, inbox) = crossbeam_channel::bounded::<Vec<Arc<Joint>>>(2);
        let sorter = scope.spawn(move || {
            let metric_of = metric_lookup(index);
            let runs = inbox.iter().map(|part| Arc::new(Run::sort(&part, &metric_of)));
            runs.collect::<Vec<_>>()
        });
        let read = read_log(kv, generation, trimmed, |part| {
            // A sorter that has ended has panicked, which is seen below.
            let _ = parts.send(part);
        });
        drop(parts);
        match sorter.join() {
            Ok(runs) => generation.runs = runs,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        read
    })
}

/// Reads the log into `generation`, handing full parts of its rows to `sort`.
fn read_log(
    kv: &Kv,
    generation: &mut Generation,
    trimmed: Sequence,
    sort: impl Fn(Vec<Arc<Joint>>),
) -> Result<(Sequence, Timestamp), Error> {
    let mut newest = trimmed;
    let mut last_arrival = Timestamp::MIN;
    let mut noted = Noted::default();
    kv.scan(Family::Wal, &[], &Key::Wal(trimmed.next()).encode(), |key, value| {
        let first = key::decode_wal(key).ok_or_else(|| Error::corrupt("key", "log"))?;
        if first != newest.next() {
            return Err(Error::corrupt("gap before it", format!("log record {first}")));
        }
        let batch = Joint::decode(first, value)?;
        newest = batch.last_sequence();
        last_arrival = batch.arrival;
        noted.note(&batch, generation);
        let partitions = batch::partitions(&batch.rows);
        let bytes = u64::try_from(value.len()).unwrap_or(u64::MAX);
        generation.append(Arc::new(batch), bytes, partitions);
        if generation.unsorted_rows >= SORT_ROWS {
            sort(generation.take_batches());
        }
        Ok::<_, Error>(true)
    })?;
    Ok((newest, last_arrival))
}

/// Which series and days of the log have been noted in the generation: the last day of each series.
#[derive(Default)]
struct Noted {
    last_day: HashMap<TenantId, Vec<Option<i32>>>,
}

impl Noted {
    fn note(&mut self, batch: &Joint, generation: &mut Generation) {
        for row in &batch.rows {
            let days = self.last_day.entry(row.tenant).or_default();
            let at = usize::try_from(row.series.number()).unwrap_or(usize::MAX);
            if days.len() <= at {
                days.resize(at.saturating_add(1), None);
            }
            let day = partition_of(row.time);
            let Some(last) = days.get_mut(at) else { continue };
            if last.is_none() {
                // The log does not say which series were new; a table may hold more than those.
                generation.new_series.push((row.tenant, row.series));
            }
            if *last != Some(day) {
                *last = Some(day);
                generation.note_activity(row.tenant, day, row.series);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::block::{ROW_BLOCK_ROWS_MAX, SERIES_BLOCK_SAMPLES_MAX, SERIES_BLOCK_SAMPLES_MIN};
    use crate::head::SORT_ROWS;
    use crate::journal;
    use crate::key::{Fact, Family};
    use crate::model::{Selector, TimeRange};
    use crate::record::RecordKind;
    use crate::scratch::{Scratch, request};
    use crate::segment::{END_MAGIC, FOOTER_LEN, GROUP_ENTRIES, HEADER_LEN, MAGIC};
    use crate::{Error, StoreConfig};

    /// A log of more rows than are sorted at once comes back as runs and a rest, in order.
    #[test]
    fn a_long_log_is_sorted_while_it_is_replayed() {
        const START: i64 = 1_700_000_000_000;
        let scratch = Scratch::new();
        let (store, _) = scratch.store(StoreConfig::default(), START);
        let tenant = store.tenant("t").unwrap();
        let rounds = i64::try_from(SORT_ROWS).unwrap() * 5 / 2 / 200_000;
        for round in 0..rounds {
            // Each overwrites half of the samples of the one before.
            let first = round * 100;
            let samples = (first..first + 200)
                .flat_map(|at| (0..1000).map(move |series| (series, START + at, round as f64)));
            store.write(request(&store, tenant, samples)).unwrap();
        }
        drop(store);
        let (store, _) = scratch.store(StoreConfig::default(), START);
        let all = store.select(tenant, &Selector::default()).unwrap();
        let mut read = 0;
        let view = store.view(tenant);
        view.read(&all, TimeRange::ALL, u64::MAX, |_, samples| {
            let want = (0..=rounds).flat_map(|hundred| [hundred.min(rounds - 1) as f64; 100]);
            assert!(samples.times.iter().copied().eq(START..START + (rounds + 1) * 100));
            assert!(samples.values.iter().copied().eq(want), "the later write counts");
            read += 1;
            Ok::<_, Error>(())
        })
        .unwrap();
        assert_eq!(read, 1000);
    }

    /// The specification says what the constants say.
    #[test]
    fn the_specification_agrees_with_the_code() {
        let spec = include_str!("../FORMAT.md");
        let says = |text: String| assert!(spec.contains(&text), "FORMAT.md does not say: {text}");
        says(format!("This is format version {}.", super::FORMAT_VERSION));
        for family in Family::ALL {
            says(format!("\n| {} | ", family.name()));
        }
        for (name, fact) in [
            ("format version", Fact::FormatVersion),
            ("hash seed", Fact::HashSeed),
            ("trimmed to", Fact::TrimmedTo),
            ("next segment", Fact::NextSegment),
            ("last arrival", Fact::LastArrival),
            ("removed tenant", Fact::RemovedTenant),
            ("passed", Fact::Passed),
        ] {
            says(format!("\n| {name} | {} |", fact as u8));
        }
        for (name, kind) in [
            ("definition", RecordKind::Definition),
            ("alarm", RecordKind::Alarm),
            ("alarm series", RecordKind::AlarmSeries),
            ("notification method", RecordKind::NotificationMethod),
            ("outbox", RecordKind::Outbox),
            ("delivery", RecordKind::Delivery),
            ("checkpoint", RecordKind::Checkpoint),
            ("held back", RecordKind::HeldBack),
            ("setting", RecordKind::Setting),
        ] {
            says(format!("\n| {name} | {} |\n", kind as u8));
        }
        journal::agrees_with(&says);
        for magic in [MAGIC, END_MAGIC] {
            says(format!("magic `{}` | {} |", std::str::from_utf8(&magic).unwrap(), magic.len()));
        }
        says(format!("│ {HEADER_LEN}     │"));
        says(format!("│ {FOOTER_LEN}     │"));
        says(format!("rows (u32, at most {ROW_BLOCK_ROWS_MAX})"));
        says(format!("up to {GROUP_ENTRIES} entries"));
        says(format!("at least {SERIES_BLOCK_SAMPLES_MIN} samples"));
        let thousands = SERIES_BLOCK_SAMPLES_MAX / 1000;
        says(format!(
            "up to {thousands} {:03} samples of one series",
            SERIES_BLOCK_SAMPLES_MAX % 1000
        ));
    }
}

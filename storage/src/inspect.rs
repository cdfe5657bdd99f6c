//! Inspection: what a data directory holds and where its bytes go.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::batch::Batch;
use crate::block::series;
use crate::codec;
use crate::error::Error;
use crate::key::{self, Fact, Family, Key};
use crate::model::{Sequence, TimeRange};
use crate::offline::{self, Offline, QUARANTINE};
use crate::recovery;
use crate::segment::{Segment, SegmentAddress, SegmentFacts};

/// Which segments are read block by block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// None: only what the manifest says.
    Manifest,
    /// The one with this number.
    Segment(u64),
    /// All.
    Blocks,
}

/// What a directory holds.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Segments of the manifest.
    pub segments: Vec<SegmentReport>,
    /// What was read block by block, all together.
    pub contents: Contents,
    /// The log.
    pub log: LogReport,
    /// RocksDB's families.
    pub families: Vec<FamilyReport>,
    /// Files in quarantine.
    pub quarantine: Vec<PathBuf>,
}

/// A segment, as the manifest has it.
#[derive(Clone, Debug)]
pub struct SegmentReport {
    /// Number of the file.
    pub number: u64,
    /// Path below the data directory.
    pub path: PathBuf,
    /// 0 samples, 1 slots of five minutes, 2 slots of an hour.
    pub tier: u8,
    /// Days since the epoch.
    pub day: i32,
    /// 0 for a flush; one more than its inputs for a merge.
    pub level: u8,
    /// Samples in it.
    pub samples: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// First and last sequence.
    pub sequences: (Sequence, Sequence),
    /// Span of the samples' times.
    pub times: TimeRange,
    /// Why it cannot be read, if it cannot.
    pub error: Option<String>,
}

/// How often something is there, and how long it is.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// Bytes in all.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// What is in the blocks of segments.
#[derive(Clone, Default, Debug)]
pub struct Contents {
    /// Segments that were read.
    pub segments: u64,
    /// Row blocks.
    pub row_blocks: u64,
    /// Samples in them.
    pub row_samples: u64,
    /// Series blocks.
    pub series_blocks: u64,
    /// Samples in them.
    pub series_samples: u64,
    /// Series blocks that use the times of another.
    pub shared_times: u64,
    /// Keys in series tables.
    pub table_entries: u64,
    /// Parts by kind: columns and what is around them. Together they are the whole files.
    pub parts: BTreeMap<&'static str, Amount>,
    /// Columns by kind of column and codec.
    pub codecs: BTreeMap<(&'static str, &'static str), Amount>,
}

/// The log.
#[derive(Clone, Copy, Default, Debug)]
pub struct LogReport {
    /// Records.
    pub records: u64,
    /// Requests in them.
    pub requests: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Everything up to this sequence is in segments.
    pub trimmed: u64,
    /// The sequence of the last request.
    pub newest: u64,
    /// Records that do not decode.
    pub unreadable: u64,
}

/// A family of RocksDB.
#[derive(Clone, Debug)]
pub struct FamilyReport {
    /// Its name.
    pub name: &'static str,
    /// Table files.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Entries, those in memory included.
    pub entries: u64,
    /// Bytes of keys and values.
    pub plain_bytes: u64,
}

/// Looks into a directory that no server has open.
///
/// # Errors
/// `Invalid` if the directory is in use, holds no data, or not the segment asked for; `Corrupt` or
/// `Kv` if what is read is damaged.
pub fn inspect(directory: &Path, depth: Depth) -> Result<Inspection, Error> {
    let offline = Offline::open(directory)?;
    let kv = offline.kv.as_ref().map_err(Clone::clone)?;
    let mut listed = offline::manifest_entries(kv, |_| {})?;
    if let Depth::Segment(number) = depth {
        listed.retain(|(address, _)| address.number == number);
        if listed.is_empty() {
            return Err(Error::Invalid(format!("there is no segment {number}")));
        }
    }
    let mut contents = Contents::default();
    let mut segments = Vec::with_capacity(listed.len());
    for (address, facts) in listed {
        let opened = Segment::open(directory, address.clone());
        let error = opened.as_ref().err().map(ToString::to_string);
        segments.push(report(&address, &facts, error));
        match (depth, opened) {
            (Depth::Manifest, _) | (_, Err(_)) => {}
            (Depth::Segment(_) | Depth::Blocks, Ok(segment)) => contents.read(&segment)?,
        }
    }
    let files = kv.files()?;
    let mut families = Vec::new();
    for family in Family::ALL {
        let ours = || files.iter().filter(|file| file.family == family.name());
        let (mut entries, mut plain_bytes) = (0, 0_u64);
        kv.scan(family, &[], &[], |key, value| {
            entries += 1;
            plain_bytes += u64::try_from(key.len() + value.len()).unwrap_or(0);
            Ok::<_, Error>(true)
        })?;
        families.push(FamilyReport {
            name: family.name(),
            files: u64::try_from(ours().count()).unwrap_or(u64::MAX),
            bytes: ours().map(|file| file.bytes).sum(),
            entries,
            plain_bytes,
        });
    }
    Ok(Inspection {
        segments,
        contents,
        log: log(&offline)?,
        families,
        quarantine: recovery::segment_files(&directory.join(QUARANTINE))?,
    })
}

fn report(address: &SegmentAddress, facts: &SegmentFacts, error: Option<String>) -> SegmentReport {
    SegmentReport {
        number: address.number,
        path: address.path(),
        tier: address.tier,
        day: address.partition,
        level: facts.level,
        samples: facts.samples,
        bytes: facts.bytes,
        sequences: facts.sequences,
        times: facts.times,
        error,
    }
}

fn log(offline: &Offline) -> Result<LogReport, Error> {
    let kv = offline.kv.as_ref().map_err(Clone::clone)?;
    let trimmed = Offline::fact(kv, Fact::TrimmedTo)?;
    let mut log = LogReport { trimmed, newest: trimmed, ..LogReport::default() };
    let from = Key::Wal(Sequence::new(trimmed).next()).encode();
    kv.scan(Family::Wal, &[], &from, |key, value| {
        log.records += 1;
        log.bytes += u64::try_from(value.len()).unwrap_or(0);
        let batch = key::decode_wal(key).map(|first| Batch::decode(first, value));
        match batch {
            Some(Ok(batch)) => {
                log.requests += u64::try_from(batch.requests.len()).unwrap_or(0);
                log.rows += u64::try_from(batch.rows.len()).unwrap_or(0);
                log.newest = batch.last_sequence().number();
            }
            Some(Err(_)) | None => log.unreadable += 1,
        }
        Ok::<_, Error>(true)
    })?;
    Ok(log)
}

impl Contents {
    fn part(&mut self, name: &'static str, bytes: u64) {
        self.parts.entry(name).or_default().add(bytes);
    }

    fn column(&mut self, name: &'static str, column: &[u8]) {
        let bytes = u64::try_from(column.len()).unwrap_or(0);
        self.part(name, bytes);
        let codec = if column.is_empty() { "none" } else { codec::codec_name(column) };
        self.codecs.entry((name, codec)).or_default().add(bytes);
    }

    /// Adds a segment, group by group.
    fn read(&mut self, segment: &Segment) -> Result<(), Error> {
        self.segments += 1;
        let before: u64 = self.parts.values().map(|amount| amount.bytes).sum();
        for group in segment.row_groups() {
            self.part("directory", u64::from(group.extent.length));
            for entry in segment.row_group(group)? {
                self.row_blocks += 1;
                self.row_samples += u64::from(entry.rows);
                segment.with_row_block(&entry, |block| {
                    let names = ["series", "times", "sequences", "values"];
                    let columns = block.columns();
                    let mut inside = 0;
                    for (name, column) in names.into_iter().zip(columns) {
                        self.column(name, column);
                        inside += column.len();
                    }
                    let metas = columns.last().map_or(0, |metas| metas.len());
                    inside += metas;
                    self.part("value_meta", u64::try_from(metas).ok()?);
                    let around = u64::from(entry.extent.length) - u64::try_from(inside).ok()?;
                    self.part("frames of blocks", around);
                    Some(())
                })?;
            }
        }
        let mut times_seen = HashSet::new();
        for group in segment.series_groups() {
            self.part("directory", u64::from(group.extent.length));
            for entry in segment.series_group(group)? {
                self.series_blocks += 1;
                self.series_samples += u64::from(entry.count);
                if times_seen.insert(entry.times_part.at) {
                    let bytes = segment.part_bytes(entry.times_part)?;
                    let column = bytes.split_last_chunk::<4>().map_or(&[][..], |(body, _)| body);
                    self.column("times", column);
                    self.part("frames of blocks", 4);
                } else {
                    self.shared_times += 1;
                }
                let bytes = segment.part_bytes(entry.values_part)?;
                let (values, metas) = series::split_values(&bytes)
                    .ok_or_else(|| segment.contradiction("checksum", entry.values_part))?;
                self.column("values", values);
                self.part("value_meta", u64::try_from(metas.len()).unwrap_or(0));
                let around = bytes.len() - values.len() - metas.len();
                self.part("frames of blocks", u64::try_from(around).unwrap_or(0));
            }
            // Times are shared between neighbours only; what is kept to tell is bounded.
            if times_seen.len() > 1 << 20 {
                times_seen.clear();
            }
        }
        for group in segment.table_groups() {
            self.part("series table", u64::from(group.extent.length));
            self.table_entries += u64::from(group.entries);
        }
        let after: u64 = self.parts.values().map(|amount| amount.bytes).sum();
        let rest = segment.facts.bytes.saturating_sub(after - before);
        self.part("header, top and footer", rest);
        Ok(())
    }
}

//! Which of the segment files that are there belong to the store, where the manifest has lost something.
//!
//! What is listed and whole stays. A file without an entry is a flush or merge that did not come to its
//! commit, or the input of one that did, or has lost its entry. Of a merge that was split only all
//! outputs together hold what its inputs hold. They are written in the order of their series, each
//! finished before the next is begun: so the set is whole if it reaches as far as its inputs do.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::Mending;
use crate::batch::Batch as Joint;
use crate::error::Error;
use crate::key::{self, Family};
use crate::kv::{Batch, Kv};
use crate::manifest;
use crate::model::Sequence;
use crate::offline::{self, Offline};
use crate::recovery;
use crate::segment::{Segment, SegmentAddress, SegmentFacts, SeriesPlace, partition_of};
use crate::verify::{Affected, Examination, Part};

type Listed = (SegmentAddress, SegmentFacts);

/// A file that is there.
#[derive(Clone)]
struct Candidate {
    address: SegmentAddress,
    facts: SegmentFacts,
    span: Option<(SeriesPlace, SeriesPlace)>,
    listed: bool,
    whole: bool,
}

impl Candidate {
    fn home(&self) -> (u8, i32) {
        offline::home(&self.address)
    }

    /// Listed and whole before all others; then the widest, which was made of what is narrower.
    fn rank(&self) -> (bool, Reverse<u64>, Reverse<u8>, (u8, i32), Sequence) {
        let (first, last) = self.facts.sequences;
        let width = last.number().saturating_sub(first.number());
        let firm = self.listed && self.whole;
        (!firm, Reverse(width), Reverse(self.facts.level), self.home(), first)
    }

    fn is_sibling(&self, other: &Candidate) -> bool {
        self.home() == other.home() && self.facts.sequences == other.facts.sequences
    }

    /// Whether the two cannot both belong to the store.
    fn overlaps(&self, other: &Candidate) -> bool {
        let (a, b) = (self.facts.sequences, other.facts.sequences);
        let disjoint = || match (self.span, other.span) {
            (Some(a), Some(b)) => a.1 < b.0 || b.1 < a.0,
            (_, None) | (None, _) => self.listed && other.listed,
        };
        self.home() == other.home()
            && a.0 <= b.1
            && b.0 <= a.1
            && !(self.is_sibling(other) && disjoint())
    }

    /// Whether it holds all sequences of the other, and more.
    fn contains(&self, other: &Candidate) -> bool {
        let (a, b) = (self.facts.sequences, other.facts.sequences);
        self.home() == other.home() && a != b && a.0 <= b.0 && b.1 <= a.1
    }
}

/// The first and the last series of all; `None` if one is not known or there are none.
fn span_of<'a>(all: impl Iterator<Item = &'a Candidate>) -> Option<(SeriesPlace, SeriesPlace)> {
    let spans: Option<Vec<_>> = all.map(|candidate| candidate.span).collect();
    let spans = spans?;
    let first = spans.iter().map(|span| span.0).min()?;
    Some((first, spans.iter().map(|span| span.1).max()?))
}

fn reaches(
    outer: Option<(SeriesPlace, SeriesPlace)>,
    inner: Option<(SeriesPlace, SeriesPlace)>,
) -> bool {
    matches!((outer, inner), (Some(a), Some(b)) if a.0 <= b.0 && b.1 <= a.1)
}

/// Whether segments of one sequence range are all outputs of what they were made from.
fn is_whole_set(set: &[Candidate], all: &[Candidate], broken: &HashSet<(u8, i32)>) -> bool {
    let inputs: Vec<&Candidate> =
        all.iter().filter(|other| set.iter().any(|output| output.contains(other))).collect();
    let home_is_broken = set.iter().any(|output| broken.contains(&output.home()));
    inputs.is_empty()
        || !home_is_broken && reaches(span_of(set.iter()), span_of(inputs.into_iter()))
}

/// Whether what was chosen holds what is in a file that was not.
fn is_covered(displaced: &Candidate, chosen: &[Candidate]) -> bool {
    let over: Vec<&Candidate> = chosen
        .iter()
        .filter(|other| {
            let (a, b) = (displaced.facts.sequences, other.facts.sequences);
            displaced.home() == other.home() && a.0 <= b.1 && b.0 <= a.1
        })
        .collect();
    let (first, last) = displaced.facts.sequences;
    let all_sequences =
        over.iter().map(|other| other.facts.sequences.0).min().is_some_and(|a| a <= first)
            && over.iter().map(|other| other.facts.sequences.1).max().is_some_and(|b| last <= b);
    // A merge leaves out what was overwritten, its inputs have it all.
    let merged = over.iter().any(|other| other.contains(displaced));
    let samples: u64 = over.iter().map(|other| other.facts.samples).sum();
    all_sequences
        && reaches(span_of(over.into_iter()), displaced.span)
        && (merged || samples >= displaced.facts.samples)
}

impl Mending<'_> {
    /// Makes the manifest list what belongs to the store. Entries whose files are gone stay, to be
    /// reported.
    pub(super) fn choose(
        &mut self,
        kv: &Kv,
        listed: Vec<Listed>,
        examination: &Examination,
        batch: &mut Batch,
    ) -> Result<Vec<Listed>, Error> {
        let (there, gone): (Vec<Listed>, Vec<Listed>) = listed
            .into_iter()
            .partition(|(address, _)| Offline::find(self.directory, address).is_some());
        let mut candidates: Vec<Candidate> = Vec::new();
        for (address, facts) in there {
            let segment = offline::open_segment(self.directory, &address, &facts);
            let span = segment.and_then(|segment| segment.span());
            let whole = span.is_some() && !examination.damaged.contains(&address.number);
            candidates.push(Candidate { address, facts, span, listed: true, whole });
        }
        let broken = self.unlisted(&mut candidates)?;
        let BesideLog { mut candidates, logged, doubtful } = beside_log(kv, candidates)?;
        candidates.sort_by_key(|candidate| (candidate.rank(), candidate.address.number));
        let mut chosen: Vec<Candidate> = Vec::new();
        let mut displaced: Vec<Candidate> = Vec::new();
        for set in candidates.chunk_by(|a, b| a.rank() == b.rank()) {
            // What is listed was committed, with all its siblings.
            let committed = set.iter().any(|candidate| candidate.listed);
            let all = committed || is_whole_set(set, &candidates, &broken);
            for candidate in set {
                if !all || chosen.iter().any(|other| other.overlaps(candidate)) {
                    displaced.push(candidate.clone());
                } else {
                    chosen.push(candidate.clone());
                }
            }
        }
        for candidate in &chosen {
            if !candidate.listed {
                self.step(format!("list {} again", candidate.address.path().display()));
                batch.put(&manifest::key(&candidate.address), manifest::encode(&candidate.facts));
            }
        }
        for candidate in &logged {
            self.put_aside(candidate, "the log has its samples", true, batch)?;
        }
        for candidate in displaced.iter().chain(&doubtful) {
            let whole = is_covered(candidate, &chosen);
            let why = if whole { "other segments have its samples" } else { "it does not fit" };
            self.put_aside(candidate, why, whole, batch)?;
        }
        self.reopen_tombstones(batch)?;
        let chosen = chosen.into_iter().map(|candidate| (candidate.address, candidate.facts));
        Ok(chosen.chain(gone).collect())
    }

    /// Adds the files that nobody lists. Partitions with one that does not open.
    fn unlisted(&mut self, candidates: &mut Vec<Candidate>) -> Result<HashSet<(u8, i32)>, Error> {
        let known: HashSet<SegmentAddress> =
            candidates.iter().map(|candidate| candidate.address.clone()).collect();
        let mut broken = HashSet::new();
        let root = self.directory.join("segments");
        for path in recovery::segment_files(&root)? {
            let address = offline::address_of(&root, &path);
            let Some(address) = address.filter(|address| !known.contains(address)) else {
                continue;
            };
            match Segment::open(self.directory, address.clone()) {
                Ok(segment) => candidates.push(Candidate {
                    span: segment.span(),
                    facts: segment.facts,
                    address,
                    listed: false,
                    whole: true,
                }),
                Err(error) => {
                    broken.insert(offline::home(&address));
                    let moved = offline::quarantine(self.directory, &address)?;
                    self.lost.error(Part::Segment, &error, Affected::default());
                    self.step(format!("moved {}", moved.display()));
                }
            }
        }
        Ok(broken)
    }

    fn put_aside(
        &mut self,
        candidate: &Candidate,
        why: &str,
        whole: bool,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let Candidate { address, facts, .. } = candidate;
        if candidate.listed {
            batch.delete(&manifest::key(address));
        }
        if self.directory.join(address.path()).is_file() {
            let moved = offline::quarantine(self.directory, address)?;
            self.step(format!("moved {}: {why}", moved.display()));
        }
        if !whole {
            let affects = Affected {
                samples: Some(facts.samples),
                times: Some(facts.times),
                ..Affected::default()
            };
            let what = "put aside, because its sequences are those of other segments or of the \
                        log, which may not have all of its samples";
            self.lost.add(Part::Segment, address.path().display().to_string(), what, affects);
            self.repaired.lost_samples = self.repaired.lost_samples.saturating_add(facts.samples);
        }
        Ok(())
    }
}

/// What may be listed beside the log, and what may not.
struct BesideLog {
    candidates: Vec<Candidate>,
    /// The log has all of their samples.
    logged: Vec<Candidate>,
    /// The log has some of their samples, and others.
    doubtful: Vec<Candidate>,
}

/// Takes out flushes without an entry that must not be listed, because the log goes on where they
/// begin: listing them would trim rows of the log that no segment has.
fn beside_log(kv: &Kv, candidates: Vec<Candidate>) -> Result<BesideLog, Error> {
    let mut log: Option<(Sequence, Sequence)> = None;
    each_record(kv, |joint| {
        let first = log.map_or(joint.first, |(first, _)| first);
        log = Some((first, joint.last_sequence()));
        true
    })?;
    let Some((begin, end)) = log else {
        return Ok(BesideLog { candidates, logged: Vec::new(), doubtful: Vec::new() });
    };
    let (young, mut candidates): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|candidate| {
        !candidate.listed && candidate.facts.level == 0 && begin <= candidate.facts.sequences.1
    });
    let within = |candidate: &Candidate| {
        begin <= candidate.facts.sequences.0 && candidate.facts.sequences.1 <= end
    };
    let (logged, beyond): (Vec<_>, Vec<_>) = young.into_iter().partition(within);
    let upto = beyond.iter().map(|candidate| candidate.facts.sequences.1).max();
    let mut held = true;
    if let Some(upto) = upto {
        each_record(kv, |joint| {
            let missed = joint.sequenced().any(|(sequence, row)| {
                sequence <= upto
                    && !beyond.iter().any(|flush| {
                        let (first, last) = flush.facts.sequences;
                        flush.address.partition == partition_of(row.time)
                            && first <= sequence
                            && sequence <= last
                    })
            });
            held &= !missed;
            held
        })?;
    }
    let mut doubtful = Vec::new();
    if held {
        candidates.extend(beyond)
    } else {
        doubtful = beyond
    }
    Ok(BesideLog { candidates, logged, doubtful })
}

/// Calls `each` with the records of the log that decode, until it answers `false`.
fn each_record(kv: &Kv, mut each: impl FnMut(&Joint) -> bool) -> Result<(), Error> {
    kv.scan(Family::Wal, &[], &[], |key, value| {
        let record = key::decode_wal(key).and_then(|first| Joint::decode(first, value).ok());
        Ok::<_, Error>(record.is_none_or(|record| each(&record)))
    })
}

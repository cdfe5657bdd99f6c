//! The merger: one thread that merges segments into bigger ones, one merge at a time, so that a long
//! merge never delays a flush. It shares nothing with the flush but
//! [`manifest::Change`](crate::manifest::Change).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::policy::{self, Age, Unit};
use super::{Source, each_series};
use crate::error::Error;
use crate::manifest::Change;
use crate::model::{Sequence, Timestamp};
use crate::orders;
use crate::output::{Numbers, Output, discard, metric_lookup};
use crate::segment::{
    SAMPLES, SEGMENT_BYTES_MAX, Segment, SegmentAddress, SeriesPlace, partition_of,
};
use crate::sieve::Sieve;
use crate::threads::Shared;

/// How often the merger looks for itself.
const BEAT: Duration = Duration::from_secs(1);
/// A partition whose day is over is merged for the last time when nothing has come for so long.
pub(crate) const QUIET: Duration = Duration::from_secs(30 * 60);
/// Segments among which there was nothing to merge are looked at again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// After a failure that is not the fault of an input, as a full disk, nothing is tried for so long.
const PAUSE_MS: i64 = 60_000;
/// A segment is closed at this size: what is still to be written of it, its directory, stays below
/// the rest.
pub(crate) const SPLIT_BYTES: u64 = SEGMENT_BYTES_MAX / 8 * 7;

pub(crate) enum Order {
    /// There may be something to merge.
    Nudge,
    /// Merge every partition into one segment, as far as sizes allow.
    Merge(SyncSender<Result<(), Error>>),
    /// Write a segment again without what may not be seen.
    Rewrite(Arc<Segment>, SyncSender<Result<(), Error>>),
    Stop,
}

impl orders::Order for Order {
    const NUDGE: Self = Order::Nudge;
}

/// Serves orders until told to stop.
pub(crate) fn run(shared: &Arc<Shared>, inbox: &Receiver<Order>) {
    let mut merger = Merger::new(shared, SPLIT_BYTES);
    loop {
        match inbox.recv_timeout(BEAT) {
            Ok(Order::Nudge) | Err(RecvTimeoutError::Timeout) => merger.look(),
            // Those who asked may have gone; then nobody needs the answer.
            Ok(Order::Merge(reply)) => drop(reply.send(merger.merge_all())),
            // One that has gone meanwhile was merged, perhaps before this was hidden: the sweeper looks
            // again.
            Ok(Order::Rewrite(segment, reply)) => {
                drop(reply.send(merger.merge(std::slice::from_ref(&segment)).map(|_| ())));
            }
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Tier and partition.
pub(super) type Home = (u8, i32);

/// Segments of one sequence range.
struct Siblings {
    segments: Vec<Arc<Segment>>,
    unit: Unit,
}

pub(super) struct Merger<'a> {
    shared: &'a Arc<Shared>,
    split_bytes: u64,
    /// Numbers of segments that could not be read. They are left alone.
    damaged: HashSet<u64>,
    /// The newest sequence of each partition whose day is over, and when it was first seen.
    arrivals: HashMap<Home, (Sequence, Timestamp)>,
    /// The partition merged last: the search goes on behind it, so that none is starved.
    turn: Home,
    paused_until: Timestamp,
    /// The segments among which there was nothing to merge, and when that was.
    /// Weak, so that it keeps no file.
    idle: Option<(Weak<Vec<Arc<Segment>>>, Timestamp)>,
}

/// How a merge ended that did not fail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Its inputs have gone meanwhile, or the store closes.
    GivenUp,
}

impl<'a> Merger<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, split_bytes: u64) -> Self {
        Merger {
            shared,
            split_bytes,
            damaged: HashSet::new(),
            arrivals: HashMap::new(),
            turn: (0, i32::MIN),
            paused_until: Timestamp::MIN,
            idle: None,
        }
    }

    /// Merges as long as there is something to do and nobody asks for something else.
    fn look(&mut self) {
        while self.shared.stopped().is_none()
            && !self.shared.is_closing()
            && self.shared.clock.now() >= self.paused_until
        {
            let Some((home, inputs)) = self.choose() else { return };
            self.turn = home;
            match self.merge(&inputs) {
                Ok(Outcome::Done) => {}
                Ok(Outcome::GivenUp) => return,
                // The store has stopped, and says why.
                Err(Error::Stopped { .. }) => return,
                Err(error) => {
                    tracing::error!(%error, "segments are left unmerged");
                    self.paused_until = self.shared.clock.now().plus_millis(PAUSE_MS);
                }
            }
        }
    }

    /// The next merge: of the first partition after the last one that has a merge.
    pub(super) fn choose(&mut self) -> Option<(Home, Vec<Arc<Segment>>)> {
        let (live, now) = (self.shared.live.lock().segments.clone(), self.shared.clock.now());
        if let Some((known, at)) = &self.idle
            && known.as_ptr() == Arc::as_ptr(&live)
            && now.since(*at) < LOOK_AGAIN
        {
            return None;
        }
        let chosen = self.choose_of(&live);
        self.idle = chosen.is_none().then(|| (Arc::downgrade(&live), now));
        chosen
    }

    fn choose_of(&mut self, live: &[Arc<Segment>]) -> Option<(Home, Vec<Arc<Segment>>)> {
        let mut partitions = partitions(live);
        partitions.retain(|&(tier, day), _| !self.shared.live.has_gap(tier, day));
        self.arrivals.retain(|home, _| partitions.contains_key(home));
        let (before, after): (Vec<_>, Vec<_>) =
            partitions.into_iter().partition(|(home, _)| *home <= self.turn);
        after.into_iter().chain(before).find_map(|(home, segments)| {
            let age = self.age(home, &segments);
            // Merges take neighbours, and a damaged one stays where it is.
            siblings(segments).split(|siblings| self.is_damaged(siblings)).find_map(|stretch| {
                let units: Vec<Unit> = stretch.iter().map(|siblings| siblings.unit).collect();
                let range = policy::choose(&units, age)?;
                let chosen = stretch.get(range).unwrap_or_default();
                Some((home, chosen.iter().flat_map(|s| s.segments.clone()).collect()))
            })
        })
    }

    fn is_damaged(&self, siblings: &Siblings) -> bool {
        siblings.segments.iter().any(|segment| self.damaged.contains(&segment.address.number))
    }

    fn age(&mut self, home: Home, segments: &[Arc<Segment>]) -> Age {
        let now = self.shared.clock.now();
        let newest = segments.iter().map(|segment| segment.facts.sequences.1).max();
        // Yesterday still gets what was on its way at midnight.
        if home.1 >= partition_of(now.millis()).saturating_sub(1) {
            return Age::Open;
        }
        let newest = newest.unwrap_or(Sequence::ZERO);
        let (seen, since) = self.arrivals.entry(home).or_insert((newest, now));
        if *seen != newest {
            (*seen, *since) = (newest, now);
        }
        if now.since(*since) >= QUIET { Age::Over } else { Age::Open }
    }

    /// Merges all segments of each partition, as far as a merge may reach.
    pub(super) fn merge_all(&mut self) -> Result<(), Error> {
        let partitions = partitions(&self.shared.live.lock().segments.clone());
        for ((tier, day), segments) in partitions {
            if self.shared.live.has_gap(tier, day) {
                continue;
            }
            let siblings = siblings(segments);
            let units: Vec<Unit> = siblings.iter().map(|siblings| siblings.unit).collect();
            let mut start = 0;
            while start < units.len() {
                let end = start + policy::fitting(units.get(start..).unwrap_or_default());
                let young = units.get(start..end).unwrap_or_default().iter().any(|unit| unit.young);
                if end - start > 1 || young {
                    let some = siblings.get(start..end).unwrap_or_default();
                    let inputs: Vec<_> = some.iter().flat_map(|s| s.segments.clone()).collect();
                    if self.merge(&inputs)? == Outcome::GivenUp && self.shared.is_closing() {
                        return Err(Error::Stopped { reason: "the store is closed".into() });
                    }
                }
                start = end;
            }
        }
        Ok(())
    }

    /// Replaces neighbouring segments of a partition by one with the same samples, or several.
    fn merge(&mut self, inputs: &[Arc<Segment>]) -> Result<Outcome, Error> {
        // Held until the end: a merge writes no more than it reads.
        let bytes = inputs.iter().map(|segment| segment.facts.bytes).sum();
        let _room = self.shared.space.reserve(bytes)?;
        let mut output = match self.write(inputs) {
            Ok(output) => output,
            // A tenant was removed meanwhile. The next one leaves its rows out.
            Err(Error::Removed) => return Ok(Outcome::GivenUp),
            Err(error @ Error::Corrupt { .. }) => {
                // Reading what is whole and writing go on.
                let named = |segment: &&Arc<Segment>| {
                    error.to_string().contains(&segment.path().display().to_string())
                };
                let mut culprits: Vec<&Arc<Segment>> = inputs.iter().filter(named).collect();
                if culprits.is_empty() {
                    culprits = inputs.iter().collect();
                }
                self.damaged.extend(culprits.iter().map(|segment| segment.address.number));
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        if output.given_up {
            discard(&output.done);
            return Ok(Outcome::GivenUp);
        }
        let added = std::mem::take(&mut output.done);
        let change = Change { removed: inputs.to_vec(), added, ..Change::default() };
        match change.commit(self.shared, |_| ()) {
            Ok(true) => Ok(Outcome::Done),
            Ok(false) => Ok(Outcome::GivenUp),
            Err(error) => {
                // It is not known what RocksDB holds now.
                self.shared.stop(&error);
                Err(error)
            }
        }
    }

    fn write(&self, inputs: &[Arc<Segment>]) -> Result<Merged<'_>, Error> {
        let mut merged = Merged::of(self.shared, inputs, self.split_bytes);
        // The numbers have been taken.
        let sieve = Sieve::now(self.shared);
        let metric_of = metric_lookup(&self.shared.index);
        let sources =
            inputs.iter().flat_map(|segment| Source::segment(segment, &metric_of)).collect();
        let gathered = each_series(sources, |place, gathered| {
            if self.shared.is_closing() || inputs.iter().any(|input| input.is_replaced()) {
                merged.given_up = true;
                return Err(Error::Stopped { reason: "the merge is given up".into() });
            }
            gathered.resolve(place, &sieve)?;
            if gathered.is_empty() {
                return Ok(());
            }
            merged.output()?.writer.add_gathered(place, gathered)?;
            merged.places.push(place);
            merged.split()
        });
        let done = if merged.given_up { Ok(()) } else { gathered.and_then(|()| merged.close()) };
        match done {
            Ok(()) => Ok(merged),
            Err(error) => {
                discard(&merged.done);
                Err(error)
            }
        }
    }
}

/// What a merge has written.
struct Merged<'a> {
    shared: &'a Shared,
    split_bytes: u64,
    numbers: Numbers,
    address: SegmentAddress,
    level: u8,
    sequences: (Sequence, Sequence),
    open: Option<Output>,
    /// Series of the open segment.
    places: Vec<SeriesPlace>,
    done: Vec<Arc<Segment>>,
    given_up: bool,
}

impl<'a> Merged<'a> {
    fn of(shared: &'a Shared, inputs: &[Arc<Segment>], split_bytes: u64) -> Self {
        let bytes: u64 = inputs.iter().map(|segment| segment.facts.bytes).sum();
        // Twice what is likely; when they are used up the last segment takes what is left.
        let count = usize::try_from(bytes / split_bytes * 2 + 1).unwrap_or(1);
        let facts = || inputs.iter().map(|segment| segment.facts);
        let address = inputs.first().map(|segment| segment.address.clone());
        Merged {
            shared,
            split_bytes,
            numbers: Numbers::take(shared, count),
            address: address.unwrap_or(SegmentAddress { tier: SAMPLES, partition: 0, number: 0 }),
            level: facts().map(|facts| facts.level).max().unwrap_or(0).saturating_add(1),
            sequences: (
                facts().map(|facts| facts.sequences.0).min().unwrap_or(Sequence::ZERO),
                facts().map(|facts| facts.sequences.1).max().unwrap_or(Sequence::ZERO),
            ),
            open: None,
            places: Vec::new(),
            done: Vec::new(),
            given_up: false,
        }
    }

    fn output(&mut self) -> Result<&mut Output, Error> {
        if self.open.is_none() {
            let number = self.numbers.next().expect("a segment is closed only while some are left");
            let address = SegmentAddress { number, ..self.address.clone() };
            self.open = Some(Output::create(self.shared, address, self.level)?);
        }
        Ok(self.open.as_mut().expect("just made"))
    }

    /// Closes a segment that is large enough. The next begins with the next series.
    fn split(&mut self) -> Result<(), Error> {
        let full =
            self.open.as_ref().is_some_and(|output| output.writer.bytes() >= self.split_bytes);
        if full && self.numbers.left() > 0 { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> Result<(), Error> {
        if let Some(output) = self.open.take() {
            let places = std::mem::take(&mut self.places);
            self.done.extend(output.finish(self.shared, self.sequences, &places)?);
        }
        Ok(())
    }
}

fn partitions(segments: &[Arc<Segment>]) -> BTreeMap<Home, Vec<Arc<Segment>>> {
    let mut partitions: BTreeMap<Home, Vec<Arc<Segment>>> = BTreeMap::new();
    for segment in segments {
        let home = (segment.address.tier, segment.address.partition);
        partitions.entry(home).or_default().push(segment.clone());
    }
    partitions
}

/// Segments of a partition, in order of their sequences, by sequence range.
fn siblings(segments: Vec<Arc<Segment>>) -> Vec<Siblings> {
    segments
        .chunk_by(|a, b| a.facts.sequences == b.facts.sequences)
        .map(|segments| Siblings {
            unit: Unit {
                bytes: segments.iter().map(|segment| segment.facts.bytes).sum(),
                young: segments.iter().any(|segment| segment.facts.level == 0),
            },
            segments: segments.to_vec(),
        })
        .collect()
}

//! What a view sees: the head's generations and the segments, changed together under one lock so
//! that every view shows one moment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use roaring::RoaringBitmap;

use crate::batch::Batch;
use crate::deletion::Tombstone;
use crate::fail_point::{self, Point};
use crate::head::{Generation, Run};
use crate::model::{Sequence, TenantId};
use crate::quarantine::Quarantined;
use crate::rollup;
use crate::segment::{SAMPLES, Segment};

/// The live data of a store.
#[derive(Default)]
pub(crate) struct Live {
    state: Mutex<State>,
    /// Held from the check to the commit of a change of segments; taken before `state`.
    turn: Mutex<()>,
    /// What could not be opened at start.
    quarantined: Vec<Quarantined>,
}

/// Held for an append or for cloning handles, never while decoding or during I/O.
#[derive(Default)]
pub(crate) struct State {
    /// Takes new writes.
    pub(crate) open: Generation,
    /// Being flushed, oldest first.
    pub(crate) closed: VecDeque<Arc<Generation>>,
    /// Those of samples, ascending by the sequences they hold.
    pub(crate) segments: Arc<Vec<Arc<Segment>>>,
    /// Those of rollups, ascending by tier and day.
    pub(crate) rollups: Arc<Vec<Arc<Segment>>>,
    /// What they were made of. A rollup of a day may be empty, and have no segment.
    pub(crate) rolled: Arc<BTreeMap<rollup::Home, rollup::Record>>,
    /// In the order in which they came.
    pub(crate) tombstones: Arc<Vec<Arc<Tombstone>>>,
    /// How often activity has moved from a generation to the index.
    pub(crate) activity_moves: u64,
}

/// Handles on everything that is live at one moment, oldest first.
pub(crate) struct Moment {
    /// Those of samples.
    pub(crate) segments: Arc<Vec<Arc<Segment>>>,
    pub(crate) rollups: Arc<Vec<Arc<Segment>>>,
    pub(crate) rolled: Arc<BTreeMap<rollup::Home, rollup::Record>>,
    /// Days of which the head has rows.
    pub(crate) head_days: BTreeSet<i32>,
    pub(crate) runs: Vec<Arc<Run>>,
    pub(crate) batches: Vec<Arc<Batch>>,
    pub(crate) tombstones: Arc<Vec<Arc<Tombstone>>>,
}

impl Live {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the live state")
    }

    /// Waits for its turn to change segments.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().expect("no code panics while it changes segments")
    }

    pub(crate) fn set_quarantined(&mut self, quarantined: Vec<Quarantined>) {
        self.quarantined = quarantined;
    }

    /// Segments that could not be opened at start.
    pub(crate) fn quarantined(&self) -> &[Quarantined] {
        &self.quarantined
    }

    /// Whether a segment of the partition is missing. A merge takes neighbours only, and where one is
    /// missing nobody knows which are: the sequences of the result would cover those of the missing one.
    pub(crate) fn has_gap(&self, tier: u8, partition: i32) -> bool {
        let here = |missing: &Quarantined| {
            (missing.address.tier, missing.address.partition) == (tier, partition)
        };
        self.quarantined.iter().any(here)
    }

    pub(crate) fn moment(&self) -> Moment {
        let state = self.lock();
        let generations = || state.closed.iter().map(Arc::as_ref).chain([&state.open]);
        Moment {
            segments: state.segments.clone(),
            rollups: state.rollups.clone(),
            rolled: state.rolled.clone(),
            head_days: generations().flat_map(|g| g.partitions.iter().copied()).collect(),
            tombstones: state.tombstones.clone(),
            runs: generations().flat_map(|generation| &generation.runs).cloned().collect(),
            batches: generations().flat_map(|generation| &generation.batches).cloned().collect(),
        }
    }
}

impl State {
    /// Series that have samples in the head on the days from `first` to `last`, both inside, as far
    /// as the index may not know it yet.
    pub(crate) fn active(&self, tenant: TenantId, first: i32, last: i32) -> RoaringBitmap {
        let mut ids = RoaringBitmap::new();
        for generation in self.closed.iter().map(Arc::as_ref).chain([&self.open]) {
            for ((owner, day), active) in &generation.activity {
                if *owner == tenant && (first..=last).contains(day) {
                    ids |= active;
                }
            }
        }
        ids
    }

    /// Bytes of log that the head keeps alive.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.closed.iter().map(|generation| generation.log_bytes).sum::<u64>() + self.open.log_bytes
    }

    /// Adds a tombstone, or replaces the one with its number.
    pub(crate) fn add_tombstone(&mut self, tombstone: Arc<Tombstone>) {
        self.remove_tombstone(tombstone.number);
        Arc::make_mut(&mut self.tombstones).push(tombstone);
    }

    pub(crate) fn remove_tombstone(&mut self, number: u64) {
        Arc::make_mut(&mut self.tombstones).retain(|tombstone| tombstone.number != number);
    }

    /// Whether the head may hold a row that was written at `upto` or before.
    pub(crate) fn head_reaches(&self, upto: Sequence) -> bool {
        let open =
            self.open.runs.iter().flat_map(|run| &run.blocks).map(|(entry, _)| entry.sequences.0);
        let open = open.chain(self.open.batches.first().map(|batch| batch.first));
        !self.closed.is_empty() || open.into_iter().any(|first| first <= upto)
    }

    /// Whether all of `segments` are live.
    pub(crate) fn holds(&self, segments: &[Arc<Segment>]) -> bool {
        let mut all = segments.iter();
        all.all(|wanted| {
            self.segments.iter().chain(self.rollups.iter()).any(|live| Arc::ptr_eq(live, wanted))
        })
    }

    /// Replaces segments: `added` takes the place of `removed` (by number).
    pub(crate) fn swap_segments(&mut self, removed: &[u64], added: Vec<Arc<Segment>>) {
        fail_point::pass(Point::ManifestCommitted);
        let all = self.segments.iter().chain(self.rollups.iter());
        let left = all.filter(|segment| !removed.contains(&segment.address.number)).cloned();
        let (mut segments, mut rollups): (Vec<Arc<Segment>>, Vec<Arc<Segment>>) =
            left.chain(added).partition(|segment| segment.address.tier == SAMPLES);
        segments.sort_by_key(|segment| (segment.facts.sequences, segment.address.number));
        rollups.sort_by_key(|segment| {
            (segment.address.tier, segment.address.partition, segment.address.number)
        });
        self.rollups = Arc::new(rollups);
        self.segments = Arc::new(segments);
    }
}

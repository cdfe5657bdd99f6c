//! What a view sees: the head's generations and the segments, changed together under one lock so
//! that every view shows one moment.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::batch::Batch;
use crate::head::{Generation, Run};
use crate::quarantine::Quarantined;
use crate::segment::Segment;

/// The live data of a store.
#[derive(Default)]
pub(crate) struct Live {
    state: Mutex<State>,
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
    /// Ascending by the sequences they hold.
    pub(crate) segments: Arc<Vec<Arc<Segment>>>,
}

/// Handles on everything that is live at one moment, oldest first.
pub(crate) struct Moment {
    pub(crate) segments: Arc<Vec<Arc<Segment>>>,
    pub(crate) runs: Vec<Arc<Run>>,
    pub(crate) batches: Vec<Arc<Batch>>,
}

impl Live {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the live state")
    }

    pub(crate) fn set_quarantined(&mut self, quarantined: Vec<Quarantined>) {
        self.quarantined = quarantined;
    }

    /// Segments that could not be opened at start.
    pub(crate) fn quarantined(&self) -> &[Quarantined] {
        &self.quarantined
    }

    /// Segments that may be merged. A merge takes neighbours only, and where one is missing nobody
    /// knows which are: the sequences of the result would cover those of the missing one.
    pub(crate) fn mergeable(&self) -> Vec<Arc<Segment>> {
        let gap = |segment: &Segment| {
            self.quarantined.iter().any(|missing| {
                let (missing, there) = (&missing.address, &segment.address);
                (missing.class, missing.partition) == (there.class, there.partition)
            })
        };
        let segments = self.lock().segments.clone();
        segments.iter().filter(|segment| !gap(segment)).cloned().collect()
    }

    pub(crate) fn moment(&self) -> Moment {
        let state = self.lock();
        let generations = || state.closed.iter().map(Arc::as_ref).chain([&state.open]);
        Moment {
            segments: state.segments.clone(),
            runs: generations().flat_map(|generation| &generation.runs).cloned().collect(),
            batches: generations().flat_map(|generation| &generation.batches).cloned().collect(),
        }
    }
}

impl State {
    /// Bytes of log that the head keeps alive.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.closed.iter().map(|generation| generation.log_bytes).sum::<u64>() + self.open.log_bytes
    }

    /// Replaces segments: `added` takes the place of `removed` (by number).
    pub(crate) fn swap_segments(&mut self, removed: &[u64], added: Vec<Arc<Segment>>) {
        let mut segments: Vec<Arc<Segment>> = self
            .segments
            .iter()
            .filter(|segment| !removed.contains(&segment.address.number))
            .cloned()
            .chain(added)
            .collect();
        segments.sort_by_key(|segment| (segment.facts.sequences, segment.address.number));
        self.segments = Arc::new(segments);
    }
}

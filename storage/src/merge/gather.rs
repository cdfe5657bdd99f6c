//! Gathering: everything that the sources hold of one series, and what of it counts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::source::{Source, StoredBlock, read_series_block};
use super::{resolve, sort};
use crate::block::SERIES_BLOCK_SAMPLES;
use crate::error::Error;
use crate::segment::{SeriesPlace, SeriesRows};
use crate::sieve::Sieve;

/// A block with so many samples is copied as it is where nothing else concerns its span. A smaller
/// one is joined with its neighbours.
const COPY_SAMPLES_MIN: usize = SERIES_BLOCK_SAMPLES / 2;

/// What the sources hold of one series: rows, and series blocks that have not been read.
#[derive(Default)]
pub(crate) struct Gathered<'a> {
    pub(crate) rows: SeriesRows,
    pub(crate) blocks: Vec<StoredBlock<'a>>,
}

impl Gathered<'_> {
    fn clear(&mut self) {
        self.rows.clear();
        self.blocks.clear();
    }

    /// Sorts all versions of all rows by time, then sequence. There are no series blocks in a head.
    pub(crate) fn sort(&mut self) {
        sort(&mut self.rows);
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.times.is_empty() && self.blocks.is_empty()
    }

    /// Leaves what counts and may be seen: rows ascending, one per time; and those blocks, ascending, that may be
    /// copied as they are. No row lies within the span of a block that is left.
    pub(crate) fn resolve(&mut self, place: SeriesPlace, sieve: &Sieve<'_>) -> Result<(), Error> {
        self.read_blocks(place, sieve)?;
        sieve.sift(place, &mut self.rows);
        resolve(&mut self.rows);
        Ok(())
    }

    /// Reads all blocks, and sorts all rows by time, then sequence.
    pub(crate) fn read(&mut self) -> Result<(), Error> {
        for block in std::mem::take(&mut self.blocks) {
            self.append(&block)?;
        }
        sort(&mut self.rows);
        Ok(())
    }

    /// Moves the rows of the blocks that cannot be copied to the others.
    fn read_blocks(&mut self, place: SeriesPlace, sieve: &Sieve<'_>) -> Result<(), Error> {
        if self.blocks.is_empty() {
            return Ok(());
        }
        self.blocks.sort_by_key(|block| block.entry.times.start);
        let mut loose = self.rows.times.clone();
        if !loose.is_sorted() {
            loose.sort_unstable();
        }
        let blocks = std::mem::take(&mut self.blocks);
        let mut reached = i64::MIN;
        let mut ahead = blocks.iter().skip(1);
        for block in &blocks {
            let (start, end) = (block.entry.times.start.millis(), block.entry.times.end.millis());
            let next = ahead.next().map_or(i64::MAX, |next| next.entry.times.start.millis());
            let row = loose.partition_point(|&time| time < start);
            let alone =
                reached <= start && end <= next && loose.get(row).is_none_or(|&time| time >= end);
            reached = reached.max(end);
            let samples = usize::try_from(block.entry.count).unwrap_or(0);
            let last = block.segment.facts.sequences.1;
            let whole = || !sieve.touches(place, block.entry.times, last);
            if alone && samples >= COPY_SAMPLES_MIN && whole() {
                self.blocks.push(*block);
            } else {
                self.append(block)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, block: &StoredBlock<'_>) -> Result<(), Error> {
        let read = read_series_block(block.segment, &block.entry)?;
        let base = u32::try_from(self.rows.times.len()).unwrap_or(u32::MAX);
        self.rows.metas.extend(read.metas.into_iter().map(|(index, meta)| (base + index, meta)));
        self.rows.times.extend(read.times);
        self.rows.sequences.extend(read.sequences);
        self.rows.values.extend(read.values);
        Ok(())
    }
}

/// Calls `each` once per series, in order, with all there is of it. Rows of one source stay in order;
/// those of an earlier source come before those of a later one.
pub(crate) fn each_series<'a>(
    mut sources: Vec<Source<'a>>,
    mut each: impl FnMut(SeriesPlace, &mut Gathered<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut turns = BinaryHeap::with_capacity(sources.len());
    for (at, source) in sources.iter_mut().enumerate() {
        source.advance()?;
        turns.extend(source.place().map(|place| Reverse((place, at))));
    }
    let mut gathered = Gathered::default();
    while let Some(&Reverse((place, _))) = turns.peek() {
        gathered.clear();
        while let Some(mut turn) = turns.peek_mut()
            && turn.0.0 == place
        {
            let source = sources.get_mut(turn.0.1).expect("every turn is that of a source");
            source.take_series(&mut gathered)?;
            match source.place() {
                Some(next) => turn.0.0 = next,
                None => drop(std::collections::binary_heap::PeekMut::pop(turn)),
            }
        }
        each(place, &mut gathered)?;
    }
    Ok(())
}

//! A sorted source of rows: a run, or one kind of block of a segment. It holds one decoded row block
//! and one group of the directory at a time, however long the segment is.

use std::sync::Arc;

use super::gather::Gathered;
use crate::block::row::{RowBlock, Rows};
use crate::error::Error;
use crate::head::Run;
use crate::model::{MetricNo, SeriesId, TenantId};
use crate::segment::{Group, RowEntry, Segment, SeriesEntry, SeriesPlace};

/// Reads a group of a segment's directory; `None` behind the last one.
type ReadGroup<T> = fn(&Segment, &Group) -> Result<Vec<T>, Error>;
type MetricOf<'a> = &'a dyn Fn(TenantId, SeriesId) -> MetricNo;

/// A series block that has not been read yet.
#[derive(Clone, Copy)]
pub(crate) struct StoredBlock<'a> {
    pub(crate) segment: &'a Arc<Segment>,
    pub(crate) entry: SeriesEntry,
}

/// A cursor on the series of a source.
pub(crate) struct Source<'a> {
    kind: Kind<'a>,
    place: Option<SeriesPlace>,
}

enum Kind<'a> {
    Rows(RowSource<'a>),
    Series(Entries<'a, SeriesEntry>, Option<StoredBlock<'a>>),
}

/// Rows of row blocks.
struct RowSource<'a> {
    blocks: RowBlocks<'a>,
    metric_of: MetricOf<'a>,
    tenant: TenantId,
    rows: Rows,
    at: usize,
}

enum RowBlocks<'a> {
    Run(std::slice::Iter<'a, (RowEntry, Vec<u8>)>),
    Segment(Entries<'a, RowEntry>),
}

/// The entries of a segment's directory, a group at a time.
struct Entries<'a, T> {
    segment: &'a Arc<Segment>,
    read: ReadGroup<T>,
    groups: std::slice::Iter<'a, Group>,
    group: std::vec::IntoIter<T>,
}

impl<'a, T> Entries<'a, T> {
    fn new(segment: &'a Arc<Segment>, groups: &'a [Group], read: ReadGroup<T>) -> Self {
        Entries { segment, read, groups: groups.iter(), group: Vec::new().into_iter() }
    }

    fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(entry) = self.group.next() {
                return Ok(Some(entry));
            }
            let Some(group) = self.groups.next() else { return Ok(None) };
            self.group = (self.read)(self.segment, group)?.into_iter();
        }
    }
}

impl<'a> Source<'a> {
    /// The rows of a run.
    pub(crate) fn run(run: &'a Run, metric_of: MetricOf<'a>) -> Self {
        Source::of_rows(RowBlocks::Run(run.blocks.iter()), metric_of)
    }

    /// The rows of a segment: those in row blocks, and those in series blocks.
    pub(crate) fn segment(segment: &'a Arc<Segment>, metric_of: MetricOf<'a>) -> [Self; 2] {
        let rows = Entries::new(segment, segment.row_groups(), Segment::row_group);
        let series = Entries::new(segment, segment.series_groups(), Segment::series_group);
        [
            Source::of_rows(RowBlocks::Segment(rows), metric_of),
            Source { kind: Kind::Series(series, None), place: None },
        ]
    }

    fn of_rows(blocks: RowBlocks<'a>, metric_of: MetricOf<'a>) -> Self {
        let rows = Rows::default();
        let rows = RowSource { blocks, metric_of, tenant: TenantId::SYSTEM, rows, at: 0 };
        Source { kind: Kind::Rows(rows), place: None }
    }

    /// Where the source stands; `None` at its end, and before the first [`advance`](Self::advance).
    pub(crate) fn place(&self) -> Option<SeriesPlace> {
        self.place
    }

    /// Makes what follows current.
    pub(crate) fn advance(&mut self) -> Result<(), Error> {
        self.place = match &mut self.kind {
            Kind::Rows(rows) => rows.advance()?,
            Kind::Series(entries, current) => {
                let entry = entries.next()?;
                *current = entry.map(|entry| StoredBlock { segment: entries.segment, entry });
                current.as_ref().map(|block| block.entry.place)
            }
        };
        Ok(())
    }

    /// Moves everything of the current series to `out`.
    pub(crate) fn take_series(&mut self, out: &mut Gathered<'a>) -> Result<(), Error> {
        let Some(place) = self.place else { return Ok(()) };
        while self.place == Some(place) {
            match &mut self.kind {
                Kind::Rows(rows) => rows.take(place.series, &mut out.rows),
                Kind::Series(_, current) => out.blocks.extend(current.take()),
            }
            self.advance()?;
        }
        Ok(())
    }
}

impl RowSource<'_> {
    /// The place of the next row, decoding a block if the current one is used up.
    fn advance(&mut self) -> Result<Option<SeriesPlace>, Error> {
        while self.at >= self.rows.len() {
            self.at = 0;
            let entry = match &mut self.blocks {
                RowBlocks::Run(blocks) => match blocks.next() {
                    None => None,
                    Some((entry, bytes)) => {
                        self.rows = RowBlock::verify(bytes)
                            .and_then(|block| block.with_series(block.series()?))
                            .ok_or_else(|| Error::corrupt("block", "a run in memory"))?;
                        Some(*entry)
                    }
                },
                RowBlocks::Segment(entries) => match entries.next()? {
                    None => None,
                    Some(entry) => {
                        self.rows = entries
                            .segment
                            .with_row_block(&entry, |block| block.with_series(block.series()?))?;
                        Some(entry)
                    }
                },
            };
            let Some(entry) = entry else {
                self.rows = Rows::default();
                return Ok(None);
            };
            self.tenant = entry.first.tenant;
        }
        let Some(&series) = self.rows.series.get(self.at) else { return Ok(None) };
        let series =
            u32::try_from(series).map_err(|_| Error::corrupt("series id", format!("{series}")))?;
        let (tenant, series) = (self.tenant, SeriesId::new(series));
        Ok(Some(SeriesPlace { tenant, metric: (self.metric_of)(tenant, series), series }))
    }

    /// Moves the rows of `series` from here to the end of the block, or of the series.
    fn take(&mut self, series: SeriesId, out: &mut crate::segment::SeriesRows) {
        let series = u64::from(series.number());
        let rest = self.rows.series.get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|&&id| id == series).count();
        let range = self.at..self.at + count;
        let base = u32::try_from(out.times.len()).unwrap_or(u32::MAX);
        let first = u32::try_from(range.start).unwrap_or(u32::MAX);
        let end = u32::try_from(range.end).unwrap_or(u32::MAX);
        // Ascending, so the ones of this series are found without looking at all.
        let from = self.rows.metas.partition_point(|(index, _)| *index < first);
        out.metas.extend(
            self.rows
                .metas
                .get(from..)
                .unwrap_or_default()
                .iter()
                .take_while(|(index, _)| *index < end)
                .map(|(index, meta)| (base + (index - first), meta.clone())),
        );
        out.times.extend_from_slice(self.rows.times.get(range.clone()).unwrap_or_default());
        out.sequences.extend_from_slice(self.rows.sequences.get(range.clone()).unwrap_or_default());
        out.values.extend_from_slice(self.rows.values.get(range.clone()).unwrap_or_default());
        self.at = range.end;
    }
}

/// The rows of a series block. Their sequence is the last of the segment: nothing between the
/// segment's first and last write can still tell them apart.
pub(crate) fn read_series_block(segment: &Segment, entry: &SeriesEntry) -> Result<Rows, Error> {
    let times = segment.times(entry)?;
    let (values, metas) = segment.values(entry)?;
    Ok(Rows {
        series: vec![u64::from(entry.place.series.number()); times.len()],
        sequences: vec![segment.facts.sequences.1.number(); times.len()],
        times,
        values,
        metas,
    })
}

//! Rows of one series as columns.

use std::ops::Range;

use crate::model::ValueMeta;

/// Rows of one series. On their way into a segment: ascending in time, one per timestamp.
#[derive(Default, Debug, Clone)]
pub(crate) struct SeriesRows {
    pub(crate) times: Vec<i64>,
    pub(crate) sequences: Vec<u64>,
    pub(crate) values: Vec<f64>,
    /// By index, ascending.
    pub(crate) metas: Vec<(u32, ValueMeta)>,
}

impl SeriesRows {
    pub(crate) fn clear(&mut self) {
        self.times.clear();
        self.sequences.clear();
        self.values.clear();
        self.metas.clear();
    }

    /// A copy of the rows `range`.
    pub(crate) fn part(&self, range: Range<usize>) -> SeriesRows {
        SeriesRows {
            times: self.times.get(range.clone()).unwrap_or_default().to_vec(),
            sequences: self.sequences.get(range.clone()).unwrap_or_default().to_vec(),
            values: self.values.get(range.clone()).unwrap_or_default().to_vec(),
            metas: self
                .metas_of(range)
                .filter_map(|(index, meta)| Some((u32::try_from(index).ok()?, meta.clone())))
                .collect(),
        }
    }

    /// The `value_meta` of the rows `range`, by index from its start.
    pub(crate) fn metas_of(
        &self,
        range: Range<usize>,
    ) -> impl Iterator<Item = (usize, &ValueMeta)> {
        let at = |index: u32| usize::try_from(index).unwrap_or(usize::MAX);
        let from = self.metas.partition_point(|(index, _)| at(*index) < range.start);
        let metas = self.metas.get(from..).unwrap_or_default().iter();
        metas
            .take_while(move |(index, _)| at(*index) < range.end)
            .map(move |(index, meta)| (at(*index) - range.start, meta))
    }

    /// Bytes of the `value_meta` of the rows `range`.
    pub(crate) fn meta_bytes(&self, range: Range<usize>) -> usize {
        self.metas_of(range).map(|(_, meta)| meta.text().len()).sum()
    }
}

//! A source that gives nothing more to one who has left. It looks before each series and each piece, which
//! are at most a block.

use std::sync::Arc;

use moneta_storage::model::{Selector, SeriesId, SeriesKey, TimeRange};

use super::source::{EachPiece, EachSeries, Source, Stop};
use crate::asker::Asker;
use crate::error::Error;

/// A source as long as its asker is there.
pub(crate) struct Watched<'a, S> {
    source: &'a S,
    asker: &'a Asker,
}

impl<'a, S: Source> Watched<'a, S> {
    pub(crate) fn new(source: &'a S, asker: &'a Asker) -> Self {
        Watched { source, asker }
    }

    fn look(&self) -> Result<(), Error> {
        if self.asker.has_left() { Err(Error::Unwanted) } else { Ok(()) }
    }
}

impl<S: Source> Source for Watched<'_, S> {
    fn select(&self, selector: &Selector) -> Result<Vec<SeriesId>, Error> {
        self.look()?;
        self.source.select(selector)
    }

    fn series(&self, id: SeriesId) -> Result<Option<Arc<SeriesKey>>, Error> {
        self.look()?;
        self.source.series(id)
    }

    fn read(
        &self,
        series: &[SeriesId],
        range: TimeRange,
        samples_max: u64,
        each: EachSeries<'_>,
    ) -> Result<(), Stop> {
        self.source.read(series, range, samples_max, &mut |series, samples| {
            self.look().map_err(Stop::Failed)?;
            each(series, samples)
        })
    }

    fn fold(
        &self,
        series: &[SeriesId],
        range: TimeRange,
        window_ms: Option<i64>,
        samples_max: u64,
        each: EachPiece<'_>,
    ) -> Result<(), Stop> {
        self.source.fold(series, range, window_ms, samples_max, &mut |series, piece| {
            self.look().map_err(Stop::Failed)?;
            each(series, piece)
        })
    }

    fn resolution(&self) -> Option<i64> {
        self.source.resolution()
    }
}

#[cfg(test)]
mod tests {
    use moneta_storage::model::Dimensions;

    use super::super::memory::Memory;
    use super::*;

    /// How many series and pieces are seen before the end, if the asker leaves at the second.
    #[test]
    fn one_who_leaves_ends_the_reading() {
        let mut memory = Memory::default();
        for host in ["a", "b", "c"] {
            let dimensions: Dimensions = [("host", host)].into_iter().collect();
            let key = SeriesKey { metric: "cpu".into(), dimensions, region: String::new() };
            memory.write(key, 1, 1.0, None);
        }
        let all = memory.select(&Selector::default()).unwrap();
        assert_eq!(all.len(), 3);
        for reads_whole in [true, false] {
            let asker = Asker::default();
            let source = Watched::new(&memory, &asker);
            assert!(source.series(SeriesId::new(1)).is_ok());
            let mut seen = 0;
            let mut one = || {
                seen += 1;
                if seen == 2 {
                    asker.leave();
                }
                Ok(())
            };
            let end = if reads_whole {
                source.read(&all, TimeRange::ALL, 99, &mut |_, _| one())
            } else {
                source.fold(&all, TimeRange::ALL, None, 99, &mut |_, _| one())
            };
            assert!(matches!(end, Err(Stop::Failed(Error::Unwanted))));
            assert_eq!(seen, 2);
            assert!(matches!(source.select(&Selector::default()), Err(Error::Unwanted)));
            assert!(matches!(source.series(SeriesId::new(1)), Err(Error::Unwanted)));
        }
    }
}

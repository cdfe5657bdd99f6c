//! Series in memory, for tests. Behaves as the view's contract says, with small blocks, and
//! remembers how much was decoded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moneta_storage::model::{Selector, SeriesId, SeriesKey, TimeRange, Timestamp, ValueMeta};
use moneta_storage::view::{Piece, SeriesSamples, Summary};

use super::source::{EachPiece, EachSeries, Source, Stop};
use crate::error::Error;

const BLOCK_SAMPLES: usize = 4;

type Value = (f64, Option<ValueMeta>);

#[derive(Default)]
pub(crate) struct Memory {
    series: Vec<(Arc<SeriesKey>, BTreeMap<i64, Value>)>,
    decoded: AtomicU64,
    summaries: AtomicU64,
    looked_at: AtomicU64,
}

impl Memory {
    /// Samples decoded so far.
    pub(crate) fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Relaxed)
    }

    /// Summaries handed out so far.
    pub(crate) fn summaries(&self) -> u64 {
        self.summaries.load(Ordering::Relaxed)
    }

    /// Series whose definition was asked for so far.
    pub(crate) fn looked_at(&self) -> u64 {
        self.looked_at.load(Ordering::Relaxed)
    }

    pub(crate) fn write(&mut self, key: SeriesKey, time: i64, value: f64, meta: Option<&str>) {
        let known = self.series.iter().position(|(have, _)| **have == key);
        let at = known.unwrap_or_else(|| {
            self.series.push((Arc::new(key), BTreeMap::new()));
            self.series.len() - 1
        });
        self.series[at].1.insert(time, (value, meta.and_then(ValueMeta::new)));
    }

    fn in_range(&self, id: SeriesId, range: TimeRange) -> SeriesSamples {
        let mut samples = SeriesSamples::default();
        if range.is_empty() {
            return samples;
        }
        let (_, all) = &self.series[usize::try_from(id.number()).unwrap()];
        for (&time, (value, meta)) in all.range(range.start.millis()..range.end.millis()) {
            if let Some(meta) = meta {
                samples.metas.push((u32::try_from(samples.times.len()).unwrap(), meta.clone()));
            }
            samples.times.push(time);
            samples.values.push(*value);
        }
        samples
    }

    fn decode(&self, samples: usize, spent: &mut u64, samples_max: u64) -> Result<(), Stop> {
        *spent += samples as u64;
        if *spent > samples_max {
            return Err(moneta_storage::Error::Limit { limit: "samples", max: samples_max }.into());
        }
        self.decoded.fetch_add(samples as u64, Ordering::Relaxed);
        Ok(())
    }
}

impl Source for Memory {
    fn select(&self, selector: &Selector) -> Result<Vec<SeriesId>, Error> {
        let selected = (0_u32..).zip(&self.series).filter(|(id, (key, _))| {
            selector.accepts(key)
                && selector
                    .active
                    .is_none_or(|span| !self.in_range(SeriesId::new(*id), span).times.is_empty())
        });
        Ok(selected.map(|(id, _)| SeriesId::new(id)).collect())
    }

    fn series(&self, id: SeriesId) -> Result<Option<Arc<SeriesKey>>, Error> {
        self.looked_at.fetch_add(1, Ordering::Relaxed);
        Ok(self.series.get(usize::try_from(id.number()).unwrap()).map(|(key, _)| Arc::clone(key)))
    }

    fn read(
        &self,
        series: &[SeriesId],
        range: TimeRange,
        samples_max: u64,
        each: EachSeries<'_>,
    ) -> Result<(), Stop> {
        let mut spent = 0;
        for &id in series {
            let samples = self.in_range(id, range);
            self.decode(samples.times.len(), &mut spent, samples_max)?;
            if !samples.times.is_empty() {
                each(id, samples)?;
            }
        }
        Ok(())
    }

    fn fold(
        &self,
        series: &[SeriesId],
        range: TimeRange,
        window_ms: Option<i64>,
        samples_max: u64,
        each: EachPiece<'_>,
    ) -> Result<(), Stop> {
        let mut spent = 0;
        for &id in series {
            let samples = self.in_range(id, range);
            let blocks =
                samples.times.chunks(BLOCK_SAMPLES).zip(samples.values.chunks(BLOCK_SAMPLES));
            for (times, values) in blocks {
                match summary(times, values, window_ms) {
                    Some(summary) => {
                        self.summaries.fetch_add(1, Ordering::Relaxed);
                        each(id, Piece::Summary(&summary))?;
                    }
                    None => {
                        self.decode(times.len(), &mut spent, samples_max)?;
                        each(id, Piece::Samples(times, values))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn resolution(&self) -> Option<i64> {
        None
    }
}

fn summary(times: &[i64], values: &[f64], window_ms: Option<i64>) -> Option<Summary> {
    let window = window_ms?;
    let (first, last) = (*times.first()?, *times.last()?);
    let whole = times.len() == BLOCK_SAMPLES && values.iter().all(|value| value.is_finite());
    let fits = whole && first.div_euclid(window) == last.div_euclid(window);
    fits.then(|| Summary {
        count: times.len() as u64,
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        sum: values.iter().sum(),
        first: values[0],
        last: values[values.len() - 1],
        first_time: Timestamp::from_millis(first),
        last_time: Timestamp::from_millis(last),
    })
}

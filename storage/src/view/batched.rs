//! Rows that still lie in their batches, as they were written: in no order of series.

use foldhash::HashMap;

use super::{Budget, Found, SERIES_AT_ONCE, View};
use crate::batch::{Batch, Row};
use crate::error::Error;
use crate::model::{Sequence, TimeRange, Timestamp};

/// Where the rows of a tenant are, by series, then as they were written.
pub(super) struct Located(Vec<Place>);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    series: u32,
    batch: u32,
    row: u32,
}

impl Located {
    fn of(&self, series: u32) -> &[Place] {
        let first = self.0.partition_point(|place| place.series < series);
        let from_there = self.0.get(first..).unwrap_or_default();
        let count = from_there.partition_point(|place| place.series == series);
        from_there.get(..count).unwrap_or_default()
    }
}

impl View {
    /// Prepares for reading so many series: some at a time, each of which would go over all rows.
    pub(super) fn locate(&self, series: usize) {
        if series > SERIES_AT_ONCE {
            self.located.get_or_init(|| {
                let mut places = Vec::new();
                for (batch, rows) in (0..).zip(self.batches()) {
                    let own = (0..).zip(&rows.rows).filter(|(_, row)| row.tenant == self.tenant);
                    places.extend(own.map(|(row, of)| Place {
                        series: of.series.number(),
                        batch,
                        row,
                    }));
                }
                places.sort_unstable();
                Located(places)
            });
        }
    }

    fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.moment
            .batches
            .iter()
            .map(|batch| &**batch)
            .take_while(|batch| batch.first <= self.upto)
    }

    /// Adds what the batches have of the series in `slots`.
    pub(super) fn find_in_batches(
        &self,
        slots: &HashMap<u64, usize>,
        range: TimeRange,
        found: &mut [Found],
        budget: &mut Budget,
    ) -> Result<(), Error> {
        let Some(located) = self.located.get() else {
            for batch in self.batches() {
                for (index, (sequence, row)) in (0_u32..).zip(batch.sequenced()) {
                    if row.tenant != self.tenant {
                        continue;
                    }
                    let slot = slots.get(&u64::from(row.series.number()));
                    if let Some(found) = slot.and_then(|&slot| found.get_mut(slot)) {
                        self.add(batch, (index, sequence, row), range, found, budget)?;
                    }
                }
            }
            return Ok(());
        };
        for (&series, &slot) in slots {
            let (Ok(series), Some(found)) = (u32::try_from(series), found.get_mut(slot)) else {
                continue;
            };
            for place in located.of(series) {
                let batch = usize::try_from(place.batch).ok();
                let batch = batch.and_then(|batch| self.moment.batches.get(batch));
                let Some((batch, row)) =
                    batch.and_then(|batch| Some((batch, batch.row(place.row)?)))
                else {
                    continue;
                };
                let (sequence, row) = row;
                self.add(batch, (place.row, sequence, row), range, found, budget)?;
            }
        }
        Ok(())
    }

    /// Adds a row of a batch, if it may be seen and lies in `range`.
    fn add(
        &self,
        batch: &Batch,
        (index, sequence, row): (u32, Sequence, &Row),
        range: TimeRange,
        found: &mut Found,
        budget: &mut Budget,
    ) -> Result<(), Error> {
        if sequence > self.upto || !range.contains(Timestamp::from_millis(row.time)) {
            return Ok(());
        }
        budget.spend(1)?;
        let rows = &mut found.rows;
        if let Ok(at) = batch.metas.binary_search_by_key(&index, |(at, _)| *at)
            && let Some((_, meta)) = batch.metas.get(at)
        {
            let at = u32::try_from(rows.times.len()).unwrap_or(u32::MAX);
            rows.metas.push((at, meta.clone()));
        }
        rows.times.push(row.time);
        rows.sequences.push(sequence.number());
        rows.values.push(row.value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SeriesId, ValueMeta};
    use crate::scratch::{Scratch, key, request};
    use crate::view::SeriesSamples;
    use crate::{Store, StoreConfig};

    const NOW: i64 = 1_795_166_675_000;

    /// Of many series at once the same comes as of each alone, also with other tenants' rows between.
    #[test]
    fn many_series_have_what_each_has() {
        let scratch = Scratch::new();
        let (store, _clock) = scratch.store(StoreConfig::default(), NOW);
        let (tenant, other) = (store.tenant("t").unwrap(), store.tenant("other").unwrap());
        let mut upto = Sequence::new(0);
        for part in 0..4_i64 {
            for tenant in [other, tenant] {
                let samples = (0..600_u32).filter(|series| i64::from(series % 4) <= part);
                let sample = |series| (series, NOW - 60_000 + part / 2, f64::from(series) + 0.5);
                let mut request = request(&store, tenant, samples.map(sample));
                let (raw, meta) =
                    (key(7).encode(), ValueMeta::new(&format!("{{\"part\":{part}}}")));
                let time = Timestamp::from_millis(NOW - 1000 + part);
                request.push(&raw, || Ok::<_, Error>(key(7)), time, 1.0, meta).unwrap();
                let committed = store.write(request).unwrap();
                if part == 1 {
                    upto = committed.sequence;
                }
            }
        }
        let series: Vec<SeriesId> = (0..600).map(|number| of(&store, tenant, number)).collect();
        let range =
            TimeRange::new(Timestamp::from_millis(NOW - 60_000), Timestamp::from_millis(NOW));
        let read = |view: &View, series: &[SeriesId]| {
            let mut all = Vec::new();
            let mut each = |id, samples: SeriesSamples| {
                all.push((id, format!("{samples:?}")));
                Ok::<_, Error>(())
            };
            view.read(series, range, u64::MAX, &mut each).unwrap();
            all
        };
        for upto in [upto, Sequence::MAX] {
            let view = store.view_as_of(tenant, upto);
            let alone: Vec<_> = series.iter().flat_map(|&id| read(&view, &[id])).collect();
            assert!(view.located.get().is_none());
            let together = read(&view, &series);
            assert!(view.located.get().is_some());
            assert_eq!(together, alone);
            assert_eq!(together.len(), if upto == Sequence::MAX { 600 } else { 301 });
        }
    }

    fn of(store: &Store, tenant: crate::model::TenantId, number: u32) -> SeriesId {
        store.find_series(tenant, &key(number)).unwrap().unwrap()
    }
}

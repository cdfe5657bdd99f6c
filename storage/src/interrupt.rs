//! Ends reads that nobody waits for any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;

/// Tells the reads of some handles of a [`Store`](crate::Store) to end. Clones tell the same ones.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Ends the reads that are under way, within some blocks, and those that would begin.
    pub fn interrupt(&self) {
        // Nothing else is told by the flag, so that no order is needed.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Fails once the reads are to end.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{Selector, SeriesId, TimeRange, Timestamp};
    use crate::scratch::{Scratch, key, request};
    use crate::{Error, Interrupt, StoreConfig};

    const NOW: i64 = 1_795_166_675_000;

    /// Samples are in row blocks, series blocks and the head alike.
    #[test]
    fn reads_end_when_they_are_told_to() {
        let scratch = Scratch::new();
        let (store, _clock) = scratch.store(StoreConfig::default(), NOW);
        let tenant = store.tenant("t").unwrap();
        for part in 0..3 {
            let samples = (0..600).map(|series| (series, NOW - 60_000 + part, 1.0));
            store.write(request(&store, tenant, samples)).unwrap();
            if part < 2 {
                store.flush().unwrap();
            }
            if part == 0 {
                store.merge().unwrap();
            }
        }
        let interrupt = Interrupt::default();
        let until = store.until(&interrupt);
        let all = Selector::default();
        let span =
            TimeRange::new(Timestamp::from_millis(NOW - 60_000), Timestamp::from_millis(NOW));
        let inside = Selector { active: Some(span), ..Selector::default() };
        let series = until.select(tenant, &all).unwrap();
        let mut seen = 0;
        let count_and_stop = |_: SeriesId| {
            seen += 1;
            interrupt.interrupt();
            Ok(())
        };
        let mut each = count_and_stop;
        let read = until.view(tenant).read(&series, span, u64::MAX, |id, _| each(id));
        assert!(matches!(read, Err(Error::Interrupted)), "{read:?}");
        assert_eq!(seen, 1, "another series was read");

        type Call<'a> = (&'static str, Box<dyn Fn() -> Result<(), Error> + 'a>);
        let view = until.view(tenant);
        let calls: Vec<Call<'_>> = vec![
            ("fold", Box::new(|| view.fold(&series, span, Some(1000), u64::MAX, |_, _| Ok(())))),
            ("with_samples", Box::new(|| view.with_samples(&series, span).map(|_| ()))),
            ("select", Box::new(|| until.select(tenant, &inside).map(|_| ()))),
            ("page", Box::new(|| until.select_page(tenant, &inside, None, 10).map(|_| ()))),
            ("series", Box::new(|| until.series(tenant, series[0]).map(|_| ()))),
            ("series_of", Box::new(|| until.series_of(tenant, &series).map(|_| ()))),
            ("names", Box::new(|| until.metric_names(tenant, &inside, None, 10).map(|_| ()))),
            (
                "dimensions",
                Box::new(|| until.dimension_names(tenant, &inside, None, 10).map(|_| ())),
            ),
            (
                "values",
                Box::new(|| until.dimension_values(tenant, "n", &inside, None, 10).map(|_| ())),
            ),
        ];
        for (name, call) in calls {
            assert!(matches!(call(), Err(Error::Interrupted)), "{name} goes on");
        }
        // Other handles know nothing of it.
        assert_eq!(store.select(tenant, &inside).unwrap().len(), 600);
        assert!(store.find_series(tenant, &key(7)).unwrap().is_some());
    }
}

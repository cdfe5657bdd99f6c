//! What the tests share: a store in a temporary directory on a clock that the test owns, a server in the
//! process of its test, a real Keystone and other installed programs, and a receiver of webhooks.

pub mod crash;
pub mod forget;
pub mod http;
pub mod installed;
pub mod keystone;
pub mod process;
pub mod receiver;
pub mod server;
pub mod wait;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use moneta_storage::clock::ManualClock;
use moneta_storage::model::{
    DimensionMatcher, Selector, SeriesId, SeriesKey, TenantId, TimeRange, Timestamp, ValueMatcher,
    ValueMeta,
};
use moneta_storage::view::{Piece, View};
use moneta_storage::{Error, Store, StoreConfig};

/// A series key without a region.
#[must_use]
pub fn key(metric: &str, dimensions: &[(&str, &str)]) -> SeriesKey {
    SeriesKey {
        metric: metric.into(),
        dimensions: dimensions.iter().copied().collect(),
        region: String::new(),
    }
}

/// Copies a folder with all that is in it.
///
/// # Errors
/// As for the copying of files.
pub fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Opens a store whose clock stands at `now`.
///
/// # Errors
/// As for [`Store::open`].
pub fn open(directory: &Path, now: i64) -> Result<(Store, Arc<ManualClock>), Error> {
    let clock = ManualClock::at(Timestamp::from_millis(now));
    let store = Store::open(directory, StoreConfig::default(), clock.clone())?;
    Ok((store, clock))
}

/// Closes a store and opens it again.
///
/// # Errors
/// As for [`Store::close`] and [`Store::open`].
pub fn reopen(
    store: &mut Store,
    directory: &Path,
    now: i64,
) -> Result<Arc<ManualClock>, Box<dyn std::error::Error>> {
    store.close()?;
    // Two stores cannot have one directory open, so an empty one stands in between.
    let elsewhere = tempfile::tempdir()?;
    *store = open(elsewhere.path(), 0)?.0;
    let clock;
    (*store, clock) = open(directory, now)?;
    Ok(clock)
}

/// Selects the series of a host.
#[must_use]
pub fn of_host(host: &str) -> Selector {
    let value = ValueMatcher::Equals(host.to_owned());
    let dimensions = vec![DimensionMatcher { name: "host".into(), value }];
    Selector { dimensions, ..Selector::default() }
}

/// How many samples a series has in a span, and their sum, from samples and summaries of blocks.
///
/// # Errors
/// As for reading.
///
/// # Panics
/// If samples do not ascend, or come from a rollup.
pub fn total(
    view: &View,
    series: SeriesId,
    range: TimeRange,
    window: Option<i64>,
) -> Result<(u64, f64), Error> {
    let mut total = (0, 0.0);
    view.fold(&[series], range, window, u64::MAX, |_, piece| {
        match piece {
            Piece::Samples(times, values) => {
                assert!(times.is_sorted_by(|a, b| a < b));
                total.0 += times.len() as u64;
                total.1 += values.iter().sum::<f64>();
            }
            Piece::Slot(_) => panic!("no policy asks for rollups"),
            Piece::Summary(summary) => {
                total.0 += summary.count;
                total.1 += summary.sum;
            }
        }
        Ok::<_, Error>(())
    })?;
    Ok(total)
}

/// A sample of a series: time in milliseconds, value, `value_meta`.
pub type Write<'a> = (&'a SeriesKey, i64, f64, Option<&'a str>);

/// Writes samples in one request.
///
/// # Errors
/// As for [`Store::write`].
pub fn write(store: &Store, tenant: TenantId, samples: &[Write<'_>]) -> Result<(), Error> {
    let mut request = store.request(tenant);
    for (key, time, value, meta) in samples {
        let raw = key.encode();
        let meta = meta.and_then(ValueMeta::new);
        let time = Timestamp::from_millis(*time);
        request.push(&raw, || Ok::<_, Error>((*key).clone()), time, *value, meta)?;
    }
    store.write(request).map(|_| ())
}

//! What the tests share: a store in a temporary directory on a clock that the test owns, and a receiver
//! of webhooks.

pub mod crash;
pub mod forget;
pub mod http;
pub mod receiver;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use moneta_storage::clock::ManualClock;
use moneta_storage::model::{SeriesKey, TenantId, Timestamp, ValueMeta};
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

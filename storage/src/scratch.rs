//! For tests inside the crate: a folder that goes with its owner, and a store in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::ManualClock;
use crate::model::{SeriesKey, TenantId, Timestamp};
use crate::write::WriteRequest;
use crate::{Error, Store, StoreConfig};

/// A folder of its own, removed in the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("moneta-storage-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Opens a store here, whose clock stands at `now`.
    pub(crate) fn store(&self, config: StoreConfig, now: i64) -> (Store, Arc<ManualClock>) {
        let clock = ManualClock::at(Timestamp::from_millis(now));
        (Store::open(self.path(), config, clock.clone()).unwrap(), clock)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A series called by a number.
pub(crate) fn key(series: u32) -> SeriesKey {
    SeriesKey {
        metric: "m".into(),
        dimensions: [("n", series.to_string())].into_iter().collect(),
        region: String::new(),
    }
}

/// A request with samples of series, times and values.
pub(crate) fn request(
    store: &Store,
    tenant: TenantId,
    samples: impl IntoIterator<Item = (u32, i64, f64)>,
) -> WriteRequest {
    let mut request = store.request(tenant);
    for (series, time, value) in samples {
        let key = key(series);
        let (raw, time) = (key.encode(), Timestamp::from_millis(time));
        request.push(&raw, || Ok::<_, Error>(key), time, value, None).unwrap();
    }
    request
}

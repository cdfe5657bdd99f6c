//! The writes of the crash test: what write `n` holds follows from `n`.

use moneta_storage::model::{SeriesKey, TenantId, Timestamp};
use moneta_storage::write::WriteRequest;
use moneta_storage::{Error, Store};

use crate::key;

const BASE: i64 = 1_700_000_000_000;

/// The samples of write `number`: key, time in milliseconds, value. Times repeat from write to write
/// within a series only with equal values.
pub fn samples(number: u64) -> impl Iterator<Item = (SeriesKey, i64, f64)> {
    let count = number % 50 + 1;
    (0..count).map(move |index| {
        // New series keep appearing; the spread over time reaches several partitions.
        let series = (number / 40 * 7 + index) % 500;
        let time = BASE + i64::try_from(number * 60_000 + index).unwrap_or(0);
        let value = (number * 1000 + index) as f64;
        (key("crash", &[("series", &series.to_string())]), time, value)
    })
}

/// Which write a sample at `time` belongs to.
#[must_use]
pub fn number_at(time: i64) -> u64 {
    u64::try_from((time - BASE) / 60_000).unwrap_or(0)
}

/// Write `number` as a request.
///
/// # Errors
/// As for [`WriteRequest::push`].
pub fn request(store: &Store, tenant: TenantId, number: u64) -> Result<WriteRequest, Error> {
    let mut request = store.request(tenant);
    for (key, time, value) in samples(number) {
        let raw = key.encode();
        request.push(&raw, || Ok::<_, Error>(key), Timestamp::from_millis(time), value, None)?;
    }
    Ok(request)
}

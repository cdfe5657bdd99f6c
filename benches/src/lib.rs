//! What the benches share: a store on a clock that stands still, a fleet of hosts to fill it with, and
//! what is measured.

#![forbid(unsafe_code)]

pub mod latency;
pub mod process;

use std::path::Path;
use std::sync::Arc;

use moneta_storage::clock::ManualClock;
use moneta_storage::model::{SeriesKey, TenantId, Timestamp};
use moneta_storage::{Error, Store, StoreConfig};

/// Midnight, in milliseconds: six hours from here lie in one partition.
pub const START: i64 = 1_699_920_000_000;

/// Metrics of a host.
pub const METRICS: usize = 10;

/// Samples of one request.
const REQUEST_SAMPLES: usize = 10_000;

/// Hosts with ten metrics each, in ten services.
pub struct Fleet {
    /// Series, and the bytes by which a writer names each; the metrics of a host lie together.
    pub series: Vec<(Vec<u8>, SeriesKey)>,
}

impl Fleet {
    /// A fleet of so many hosts.
    #[must_use]
    pub fn of(hosts: usize) -> Self {
        let key = |series: usize| {
            let host = series / METRICS;
            let dimensions = [
                ("hostname", format!("host_{host}")),
                ("service", format!("service_{}", host % 10)),
            ];
            SeriesKey {
                metric: format!("cpu.metric_{}", series % METRICS),
                dimensions: dimensions.into_iter().collect(),
                region: "RegionOne".into(),
            }
        };
        let series = (0..hosts * METRICS).map(key).map(|key| (key.encode(), key)).collect();
        Fleet { series }
    }

    /// The value of a series in a round: an integer from 0 to 100 that wanders.
    #[must_use]
    pub fn value(series: usize, round: i64) -> f64 {
        let series = i64::try_from(series).unwrap_or(0);
        let wave = (round * 3 + series * 37).rem_euclid(200) - 100;
        let noise = (round * 7919 + series * 104_729).rem_euclid(7);
        let value = (wave.abs() + noise).min(100);
        i32::try_from(value).map_or(0.0, f64::from)
    }

    /// Writes one sample of every series for each round of ten seconds.
    ///
    /// # Errors
    /// As for [`Store::write`].
    pub fn write(&self, store: &Store, tenant: TenantId, rounds: i64) -> Result<(), Error> {
        let mut request = store.request(tenant);
        let mut count = 0;
        for round in 0..rounds {
            let time = Timestamp::from_millis(START + round * 10_000);
            for (series, (raw, key)) in self.series.iter().enumerate() {
                let value = Self::value(series, round);
                request.push(raw, || Ok::<_, Error>(key.clone()), time, value, None)?;
                count += 1;
                if count % REQUEST_SAMPLES == 0 {
                    store.write(std::mem::replace(&mut request, store.request(tenant)))?;
                }
            }
        }
        store.write(request).map(|_| ())
    }
}

/// A store with the tenant `bench`. Its clock stands twelve hours after [`START`].
///
/// # Errors
/// As for [`Store::open`].
pub fn open(directory: &Path) -> Result<(Store, TenantId, Arc<ManualClock>), Error> {
    let clock = ManualClock::at(Timestamp::from_millis(START + 12 * 3_600_000));
    let store = Store::open(directory, StoreConfig::default(), clock.clone())?;
    let tenant = store.tenant("bench")?;
    Ok((store, tenant, clock))
}

//! The operations of the crash test of forgetting, and what is seen after each of them: all of it
//! follows from the operation's number.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use moneta_storage::backup::Progress;
use moneta_storage::clock::ManualClock;
use moneta_storage::deletion::DeletionRequest;
use moneta_storage::model::{Keep, Selector, SeriesKey, TimeRange, Timestamp};
use moneta_storage::retention::{MetricPattern, Policies, Policy};
use moneta_storage::{Error, ErrorKind, Store};

use crate::{key, of_host};

const MINUTE: i64 = 60_000;
const START: i64 = 20_400 * 24 * 60 * MINUTE;
/// The tenants that come and go.
pub const TENANTS: [&str; 2] = ["one", "two"];
/// Series of a tenant.
pub const SERIES: u64 = 8;
const METRICS: [&str; 4] = ["cpu", "mem", "net", "disk"];

/// A sample: series, time, value.
type Sample = (u64, i64, f64);

/// Something that a child does and acknowledges.
enum Op {
    Write { tenant: usize, samples: Vec<Sample> },
    Delete { tenant: usize, host: u64, times: TimeRange, sweeps: bool },
    Policies(u64),
    RemoveTenant(usize),
    Sweep,
    Snapshot,
    Backup,
}

/// Numbers that follow from a number.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    fn minutes(&mut self, end: u64) -> i64 {
        i64::try_from(self.below(end)).unwrap_or(0) * MINUTE
    }
}

/// What the clock shows during an operation.
#[must_use]
pub fn now(number: u64) -> i64 {
    START + i64::try_from(number).unwrap_or(0) * 5 * MINUTE
}

fn op(number: u64) -> Op {
    let mut dice = Dice(number);
    let tenant = usize::try_from(dice.below(2)).unwrap_or(0);
    match dice.below(20) {
        0..=10 => {
            let value = |at: u64| (number * 1000 + at) as f64;
            let (count, series) = (dice.below(20) + 1, dice.below(SERIES));
            let samples = if dice.below(4) == 0 {
                // Enough in a row for a series block.
                let first = now(number) - dice.minutes(600);
                let time = |at: u64| first + i64::try_from(at).unwrap_or(0) * MINUTE;
                (0..400).map(|at| (series, time(at), value(at))).collect()
            } else {
                let time = |dice: &mut Dice| now(number) - dice.minutes(600);
                (0..count).map(|at| (dice.below(SERIES), time(&mut dice), value(at))).collect()
            };
            Op::Write { tenant, samples }
        }
        11..=14 => {
            let host = dice.below(2);
            let sweeps = dice.below(2) == 0;
            let times = if dice.below(2) == 0 {
                TimeRange::ALL
            } else {
                let start = now(number) - dice.minutes(600);
                let end = start + MINUTE + dice.minutes(600);
                TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(end))
            };
            Op::Delete { tenant, host, times, sweeps }
        }
        15 => Op::Policies(dice.below(4)),
        16 => Op::RemoveTenant(tenant),
        17 => Op::Sweep,
        18 => Op::Snapshot,
        _ => Op::Backup,
    }
}

fn policies(number: u64) -> Policies {
    let policy = |tenant: Option<&str>, metric: &str, hours: u64| Policy {
        tenant: tenant.map(str::to_owned),
        metric: MetricPattern::parse(metric).expect("a pattern"),
        raw: Keep::For(Duration::from_secs(hours * 3600)),
        rollups: Vec::new(),
    };
    let all = match number {
        0 => vec![],
        1 => vec![policy(None, "cpu", 3)],
        2 => vec![policy(None, "*", 6), policy(None, "mem", 2)],
        _ => vec![policy(Some(TENANTS[0]), "*", 4), policy(None, "*", 9)],
    };
    Policies::new(all).expect("policies that go together")
}

/// What identifies a series.
#[must_use]
pub fn series_key(series: u64) -> SeriesKey {
    let at = usize::try_from(series).unwrap_or(0) % METRICS.len();
    let metric = METRICS.get(at).copied().unwrap_or_default();
    key(metric, &[("host", &format!("h{}", series / METRICS.len() as u64))])
}

/// Where the snapshot of an operation is made.
#[must_use]
pub fn snapshot_path(directory: &Path, number: u64) -> PathBuf {
    directory.with_extension("snapshots").join(number.to_string())
}

/// Where the backups go.
#[must_use]
pub fn repository_path(directory: &Path) -> PathBuf {
    directory.with_extension("repository")
}

/// Carries an operation out. When this returns it is acknowledged.
///
/// # Errors
/// What the store answers.
pub fn carry_out(
    store: &Store,
    clock: &ManualClock,
    directory: &Path,
    number: u64,
) -> Result<(), Error> {
    clock.set(Timestamp::from_millis(now(number)));
    match op(number) {
        Op::Write { tenant, samples } => write(store, tenant, &samples),
        Op::Delete { tenant, host, times, sweeps } => {
            let Some(tenant) = find(store, tenant) else { return Ok(()) };
            let selector = of_host(&format!("h{host}"));
            let (by, what) = ("test".to_owned(), number.to_string());
            match store.delete(DeletionRequest { tenant, selector, times, by, what }) {
                Err(error) if !error.to_string().contains("no series") => return Err(error),
                Ok(_) | Err(_) => {}
            }
            if sweeps { store.sweep().map(drop) } else { Ok(()) }
        }
        Op::Policies(number) => store.set_retention(policies(number)),
        Op::RemoveTenant(tenant) => match find(store, tenant) {
            Some(tenant) => store.remove_tenant(tenant, "test").map(drop),
            None => Ok(()),
        },
        Op::Sweep => store.sweep().map(drop),
        Op::Snapshot => {
            let path = snapshot_path(directory, number);
            if path.exists() {
                fs::remove_dir_all(&path).map_err(|source| stopped(&source))?;
            }
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(|source| stopped(&source))?;
            }
            store.snapshot(&path).map(drop)
        }
        Op::Backup => {
            let mut onward = |_: Progress| ControlFlow::Continue(());
            store.backup(&repository_path(directory), &mut onward).map(drop)
        }
    }
}

fn stopped(source: &std::io::Error) -> Error {
    Error::Stopped { reason: source.to_string() }
}

fn find(store: &Store, tenant: usize) -> Option<moneta_storage::model::TenantId> {
    store.find_tenant(TENANTS.get(tenant)?)
}

fn write(store: &Store, tenant: usize, samples: &[Sample]) -> Result<(), Error> {
    let tenant = store.tenant(TENANTS.get(tenant).copied().unwrap_or_default())?;
    loop {
        let mut request = store.request(tenant);
        for &(series, time, value) in samples {
            let key = series_key(series);
            let (raw, time) = (key.encode(), Timestamp::from_millis(time));
            match request.push(&raw, || Ok::<_, Error>(key), time, value, None) {
                Err(error) if !error.to_string().contains("retention") => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        match store.write(request) {
            Ok(_) => return Ok(()),
            // Its series have been taken out of the index meanwhile, or the head is full.
            Err(error) if matches!(error, Error::Removed) || error.kind() == ErrorKind::Busy => {}
            Err(error) => return Err(error),
        }
    }
}

/// Tenant, series and time of a sample.
pub type Place = (usize, u64, i64);

/// What is to be seen.
#[derive(Clone, Default)]
pub struct Model {
    /// All samples.
    pub samples: BTreeMap<Place, f64>,
    policies: u64,
    /// Of the metrics of which something was ever stored.
    floors: BTreeMap<(usize, String), i64>,
}

impl Model {
    /// After all operations before `end`.
    #[must_use]
    pub fn after(end: u64) -> Self {
        let mut model = Model::default();
        (0..end).for_each(|number| model.apply(number));
        model
    }

    /// Carries an operation out.
    pub fn apply(&mut self, number: u64) {
        self.expire(now(number));
        match op(number) {
            Op::Write { tenant, samples } => {
                let oldest = self.oldest(tenant, now(number));
                for (series, time, value) in samples.into_iter().filter(|s| s.1 >= oldest) {
                    let metric = (tenant, series_key(series).metric);
                    self.floors.entry(metric).or_insert(i64::MIN);
                    self.samples.insert((tenant, series, time), value);
                }
            }
            Op::Delete { tenant, host, times, .. } => {
                let is_deleted = |&(owner, series, time): &Place| {
                    owner == tenant
                        && series / METRICS.len() as u64 == host
                        && times.contains(Timestamp::from_millis(time))
                };
                self.samples.retain(|place, _| !is_deleted(place));
            }
            Op::Policies(policies) => self.policies = policies,
            Op::RemoveTenant(tenant) => {
                self.samples.retain(|(owner, ..), _| *owner != tenant);
                self.floors.retain(|(owner, _), _| *owner != tenant);
            }
            Op::Sweep | Op::Snapshot | Op::Backup => {}
        }
        self.expire(now(number));
    }

    /// What is older is refused.
    fn oldest(&self, tenant: usize, now: i64) -> i64 {
        let hours = match (self.policies, tenant) {
            (0 | 1, _) => return i64::MIN,
            (2, _) => 6,
            (_, 0) => 4,
            (_, _) => 9,
        };
        now - hours * 60 * MINUTE
    }

    /// Lets expire what is old.
    pub fn expire(&mut self, now: i64) {
        let policies = policies(self.policies);
        for ((tenant, metric), floor) in &mut self.floors {
            let name = TENANTS.get(*tenant).copied().unwrap_or_default();
            if let Some(Policy { raw: Keep::For(span), .. }) = policies.of(name, metric) {
                let expired = now - i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
                *floor = expired.max(*floor);
            }
        }
        let floors = &self.floors;
        self.samples.retain(|(tenant, series, time), _| {
            let floor = floors.get(&(*tenant, series_key(*series).metric));
            floor.is_none_or(|floor| time >= floor)
        });
    }
}

/// Everything that a store shows, each sample once.
///
/// # Panics
/// If it shows one twice, or a series that is none of the test's.
///
/// # Errors
/// As for reading.
pub fn seen(store: &Store) -> Result<BTreeMap<Place, f64>, Error> {
    let mut seen = BTreeMap::new();
    for tenant in 0..TENANTS.len() {
        let Some(id) = find(store, tenant) else { continue };
        let all = store.select(id, &Selector::default())?;
        let mut with_samples = BTreeSet::new();
        store.view(id).read(&all, TimeRange::ALL, u64::MAX, |series, samples| {
            let key = store.series(id, series)?;
            let number = (0..SERIES).find(|&series| key.as_deref() == Some(&series_key(series)));
            let number = number.expect("a series of the test");
            with_samples.insert(series);
            for (time, value) in samples.times.into_iter().zip(samples.values) {
                let before = seen.insert((tenant, number, time), value);
                assert_eq!(before, None, "each sample once");
            }
            Ok::<_, Error>(())
        })?;
        let active = Selector { active: Some(TimeRange::ALL), ..Selector::default() };
        let active: BTreeSet<_> = store.select(id, &active)?.into_iter().collect();
        assert_eq!(active, with_samples, "the index equals the data");
    }
    Ok(seen)
}

//! What do retention policies cost those who select and read?
//!
//! `policies DIRECTORY` writes 100 series of each of 1000 metrics, over two days, and measures selections,
//! reads and views: without policies, with one for each metric, and with policies that let half of the
//! metrics expire on the first day.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use moneta_benches::{START, open};
use moneta_storage::model::{
    DimensionMatcher, Keep, Selector, SeriesKey, TenantId, TimeRange, Timestamp, ValueMatcher,
};
use moneta_storage::retention::{MetricPattern, Policies, Policy};
use moneta_storage::{Error, Store};

const DAY: i64 = 24 * 3_600_000;
const METRICS: usize = 1000;
const HOSTS: usize = 100;

fn main() -> Result<(), Error> {
    let directory = PathBuf::from(std::env::args().nth(1).unwrap_or_default());
    let (store, tenant, clock) = open(&directory)?;
    clock.set(Timestamp::from_millis(START));
    for day in 0..3 {
        clock.set(Timestamp::from_millis(START + day * DAY));
        let mut request = store.request(tenant);
        for series in 0..METRICS * HOSTS {
            let key = SeriesKey {
                metric: format!("metric_{}", series / HOSTS),
                dimensions: [("hostname", format!("host_{}", series % HOSTS))]
                    .into_iter()
                    .collect(),
                region: "RegionOne".into(),
            };
            let (raw, time) = (key.encode(), Timestamp::from_millis(START + day * DAY));
            request.push(&raw, || Ok::<_, Error>(key), time, 1.0, None)?;
        }
        store.write(request)?;
        store.flush()?;
    }
    let policies = |keep: &dyn Fn(usize) -> u64| {
        let policy = |metric: usize| {
            Ok(Policy {
                tenant: None,
                metric: MetricPattern::parse(&format!("metric_{metric}"))?,
                raw: Keep::For(Duration::from_secs(keep(metric) * 3600)),
                rollups: Vec::new(),
            })
        };
        Policies::new((0..METRICS).map(policy).collect::<Result<_, Error>>()?)
    };
    let kinds = [
        ("no policies", Policies::default()),
        ("1000 policies", policies(&|metric| 1000 + metric as u64)?),
        ("half of the first day expired", policies(&|metric| 30 + 1000 * (metric as u64 % 2))?),
    ];
    for (name, policies) in kinds {
        store.set_retention(policies)?;
        println!("{name}");
        measure(&store, tenant)?;
    }
    store.close()
}

fn measure(store: &Store, tenant: TenantId) -> Result<(), Error> {
    let range = |from: i64, to: i64| {
        TimeRange::new(Timestamp::from_millis(START + from), Timestamp::from_millis(START + to))
    };
    let value = ValueMatcher::Equals("host_7".into());
    let host = || vec![DimensionMatcher { name: "hostname".into(), value: value.clone() }];
    let of_host = Selector { dimensions: host(), ..Selector::default() };
    let series = store.select(tenant, &of_host)?;
    latency("view", 20_000, || {
        let _view = store.view(tenant);
        Ok(1)
    })?;
    latency("read of 1000 series", 100, || {
        let mut samples = 0;
        store.view(tenant).read(&series, TimeRange::ALL, u64::MAX, |_, read| {
            samples += read.times.len();
            Ok::<_, Error>(())
        })?;
        Ok(samples)
    })?;
    for (name, range) in
        [("three days", range(0, 3 * DAY)), ("the last day", range(2 * DAY, 3 * DAY))]
    {
        let all = Selector { active: Some(range), ..Selector::default() };
        latency(&format!("all series of {name}"), 100, || Ok(store.select(tenant, &all)?.len()))?;
        let of_host = Selector { dimensions: host(), active: Some(range), ..Selector::default() };
        latency(&format!("1000 series of {name}"), 500, || {
            Ok(store.select(tenant, &of_host)?.len())
        })?;
    }
    Ok(())
}

fn latency(name: &str, times: usize, ask: impl Fn() -> Result<usize, Error>) -> Result<(), Error> {
    let mut took = Vec::with_capacity(times);
    let mut found = 0;
    for _ in 0..times {
        let began = Instant::now();
        found = ask()?;
        took.push(began.elapsed().as_secs_f64() * 1e6);
    }
    took.sort_by(f64::total_cmp);
    let at = |share: usize| took.get(times * share / 100).copied().unwrap_or(0.0);
    println!("  {name}: {found}, p50 {:.1} µs, p90 {:.1} µs", at(50), at(90));
    Ok(())
}

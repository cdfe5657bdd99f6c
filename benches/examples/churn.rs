//! Does what was forgotten cost anything? Series come and go; policies let most of them expire.
//!
//! `churn DIRECTORY ACTIVE LIFETIME` creates ACTIVE series (default a million) and then, day after day of
//! a simulated clock, replaces nine tenths of them until LIFETIME (default: ten times as many) have been
//! created; a policy keeps three days. Each day is flushed, merged and swept. It prints resident memory,
//! the latency of metadata, the CPU of the sweeps, and how long the store takes to open.
//! With LIFETIME = ACTIVE all series are written once, nine tenths of them expire, and what is left is
//! measured before and after.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moneta_benches::process::{cpu_seconds, resident_mb};
use moneta_benches::{START, latency};
use moneta_storage::clock::ManualClock;
use moneta_storage::model::{Keep, Selector, SeriesKey, TenantId, TimeRange, Timestamp};
use moneta_storage::retention::{MetricPattern, Policies, Policy};
use moneta_storage::{Error, Store, StoreConfig};

const DAY: i64 = 24 * 3_600_000;

fn key(series: usize) -> SeriesKey {
    let dimensions = [
        ("hostname", format!("host_{}", series / 10)),
        ("service", format!("service_{}", series / 10 % 10)),
        ("instance", format!("i-{series}")),
    ];
    SeriesKey {
        metric: format!("cpu.metric_{}", series % 10),
        dimensions: dimensions.into_iter().collect(),
        region: "RegionOne".into(),
    }
}

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().unwrap_or_default());
    let mut number = || arguments.next().and_then(|n| n.parse::<usize>().ok());
    let active = number().unwrap_or(1_000_000);
    let lifetime = number().unwrap_or(active * 10);
    let clock = ManualClock::at(Timestamp::from_millis(START));
    let (store, tenant) = open(&directory, &clock)?;
    let raw = Keep::For(Duration::from_secs(3 * 86_400));
    let policy =
        Policy { tenant: None, metric: MetricPattern::parse("*")?, raw, rollups: Vec::new() };
    store.set_retention(Policies::new(vec![policy])?)?;

    let mut now = START;
    write(&store, tenant, 0..active, now)?;
    store.flush()?;
    report(&store, tenant, now, "all active")?;
    // What stays is the last tenth.
    let mut first = active - active / 10;
    let mut end = active;
    while end < lifetime {
        now += DAY;
        clock.set(Timestamp::from_millis(now));
        let more = (active - active / 10).min(lifetime - end);
        write(&store, tenant, first..end + more, now)?;
        end += more;
        first = end - active / 10;
        store.flush()?;
        store.merge()?;
        sweep(&store)?;
    }
    for _ in 0..4 {
        now += DAY;
        clock.set(Timestamp::from_millis(now));
        write(&store, tenant, first..end, now)?;
        store.flush()?;
        sweep(&store)?;
    }
    report(&store, tenant, now, "most expired")?;
    let (began, cpu) = (Instant::now(), cpu_seconds());
    store.sweep()?;
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!("a sweep that finds nothing: {wall:.3} s, {cpu:.2} CPU s");
    store.close()?;
    drop(store);
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let (store, tenant) = open(&directory, &clock)?;
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!("opened again: {wall:.2} s, {cpu:.2} CPU s, {} MB", resident_mb());
    report(&store, tenant, now, "opened again")?;
    store.close()
}

fn open(directory: &Path, clock: &Arc<ManualClock>) -> Result<(Store, TenantId), Error> {
    let store = Store::open(directory, StoreConfig::default(), clock.clone())?;
    let tenant = store.tenant("bench")?;
    Ok((store, tenant))
}

fn write(
    store: &Store,
    tenant: TenantId,
    series: std::ops::Range<usize>,
    now: i64,
) -> Result<(), Error> {
    let (began, cpu, count) = (Instant::now(), cpu_seconds(), series.len());
    let mut request = store.request(tenant);
    for series in series {
        let key = key(series);
        let (raw, time) = (key.encode(), Timestamp::from_millis(now));
        request.push(&raw, || Ok::<_, Error>(key), time, 1.0, None)?;
        if request.len() == 1000 {
            store.write(std::mem::replace(&mut request, store.request(tenant)))?;
        }
    }
    store.write(request)?;
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!("{count} series written: {wall:.1} s, {cpu:.1} CPU s, {} MB", resident_mb());
    Ok(())
}

fn sweep(store: &Store) -> Result<(), Error> {
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let swept = store.sweep()?;
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!(
        "sweep: {wall:.2} s, {cpu:.2} CPU s, {} segments and {} series removed, {} MB",
        swept.segments_removed,
        swept.series_removed,
        resident_mb()
    );
    Ok(())
}

fn report(store: &Store, tenant: TenantId, now: i64, when: &str) -> Result<(), Error> {
    let stats = store.stats();
    println!(
        "{when}: {} series, {} segments, {} MB of them, {} MB resident",
        stats.series,
        stats.segments,
        stats.segment_bytes >> 20,
        resident_mb()
    );
    let day = TimeRange::new(
        Timestamp::from_millis(now - DAY / 2),
        Timestamp::from_millis(now + DAY / 2),
    );
    let (all, active) =
        (Selector::default(), Selector { active: Some(day), ..Selector::default() });
    for (name, selector) in [("all", &all), ("of a day", &active)] {
        latency::report(&format!("page of 1000 series, {name}"), || {
            let page = store.select_page(tenant, selector, None, 1000)?;
            Ok(store.series_of(tenant, &page)?.len())
        })?;
        latency::report(&format!("names of metrics, {name}"), || {
            Ok(store.metric_names(tenant, selector, None, 1000)?.len())
        })?;
        latency::report(&format!("1000 values of hostname, {name}"), || {
            Ok(store.dimension_values(tenant, "hostname", selector, None, 1000)?.len())
        })?;
    }
    Ok(())
}

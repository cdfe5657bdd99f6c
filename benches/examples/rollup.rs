//! What does a double-groupby cost with rollups, and without?
//!
//! `rollup DIRECTORY HOSTS` writes three days of so many hosts (default 100) with ten metrics each, a
//! sample every ten seconds: of 100 hosts 25.9 M samples; flushes and merges them, and asks for the hourly mean of one, five and ten metrics by
//! host, first from samples, then from a rollup of hours. Prints CPU milliseconds per question, what
//! making the rollup took, and its size.

use std::path::PathBuf;

use moneta_benches::process::cpu_seconds;
use moneta_benches::{Fleet, START, open};
use moneta_query::lang::monasca::{Grouping, Question, Statistic, statistics};
use moneta_storage::Store;
use moneta_storage::model::{Keep, TenantId, TimeRange, Timestamp};
use moneta_storage::retention::{MetricPattern, Policies, Policy, RollupPolicy, RollupStep};

const DAYS: i64 = 3;
const DAY_MS: i64 = 86_400_000;
const REPEATS: u32 = 20;

type Failure = Box<dyn std::error::Error>;

/// The hourly means of so many metrics, by host.
fn double_groupby(store: &Store, tenant: TenantId, metrics: usize) -> Result<Vec<f64>, Failure> {
    let mut means = Vec::new();
    for metric in 0..metrics {
        let question = Question {
            metric: format!("cpu.metric_{metric}"),
            dimensions: Vec::new(),
            range: TimeRange::new(
                Timestamp::from_millis(START),
                Timestamp::from_millis(START + DAYS * DAY_MS),
            ),
            grouping: Grouping::By(vec!["hostname".into()]),
            page: None,
            rows_max: 100_000,
            samples_max: 100_000_000,
            asker: moneta_query::Asker::default(),
        };
        let page = statistics(store, tenant, &question, 3_600_000, &[Statistic::Avg])?;
        let rows = page.groups.into_iter().flat_map(|group| group.rows);
        means.extend(rows.flat_map(|(_, numbers)| numbers));
    }
    Ok(means)
}

fn measure(store: &Store, tenant: TenantId, what: &str) -> Result<Vec<f64>, Failure> {
    let mut means = Vec::new();
    for metrics in [1, 5, 10] {
        means = double_groupby(store, tenant, metrics)?;
        let before = cpu_seconds();
        for _ in 0..REPEATS {
            double_groupby(store, tenant, metrics)?;
        }
        let ms = (cpu_seconds() - before) * 1000.0 / f64::from(REPEATS);
        println!("{what}: double-groupby-{metrics} {ms:.1} CPU ms, {} rows", means.len());
    }
    Ok(means)
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().unwrap_or_default());
    let hosts = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(100);
    let (store, tenant, clock) = open(&directory)?;
    clock.set(Timestamp::from_millis(START + (DAYS + 1) * DAY_MS));
    if store.stats().series == 0 {
        Fleet::of(hosts).write(&store, tenant, DAYS * DAY_MS / 10_000)?;
        store.flush()?;
        store.merge()?;
    }
    store.set_retention(Policies::default())?;
    store.sweep()?;
    let from_samples = measure(&store, tenant, "samples")?;
    let hours = RollupPolicy { step: RollupStep::Hour, keep: Keep::Forever };
    let metric = MetricPattern::parse("*")?;
    let policy = Policy { tenant: None, metric, raw: Keep::Forever, rollups: vec![hours] };
    let before = cpu_seconds();
    store.set_retention(Policies::new(vec![policy])?)?;
    store.roll()?;
    let stats = store.stats();
    println!(
        "rolled {} M samples up in {:.1} CPU s; {} KB of samples, {} KB of rollups",
        stats.segment_samples / 1_000_000,
        cpu_seconds() - before,
        stats.segment_bytes / 1024,
        stats.rollup_bytes / 1024
    );
    let from_rollups = measure(&store, tenant, "rollups")?;
    let furthest = from_samples.iter().zip(&from_rollups).map(|(a, b)| (a - b).abs() / a.abs());
    println!("means differ by {:e} at most", furthest.fold(0.0, f64::max));
    Ok(())
}

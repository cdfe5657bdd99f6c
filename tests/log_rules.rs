//! RocksDB's own log stays short and a store opens quickly, however much has gone through it, also when
//! a family has been written once, long ago, which would keep every log file since.
//!
//! The quick version logs 256 MB at a live log of 8 MiB; `MONETA_LOG_MB` asks for more, at the default
//! live log.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use moneta_storage::clock::ManualClock;
use moneta_storage::model::{SeriesKey, TenantId, Timestamp, ValueMeta};
use moneta_storage::record::{RecordBatch, RecordKind};
use moneta_storage::space::FreeSpace;
use moneta_storage::{Error, Store, StoreConfig};
use moneta_tests::key;

const NOW: i64 = 1_700_000_000_000;
/// Bytes of the `value_meta` of each sample: they make a log long with few samples.
const META_BYTES: usize = 1500;
/// Samples of a request, a megabyte of log.
const SAMPLES: u64 = 700;
/// What opening may take.
const PATIENCE: Duration = Duration::from_secs(2);

fn open(directory: &Path, live_log_bytes: u64) -> Store {
    let config = StoreConfig {
        live_log_bytes,
        free_space_min: FreeSpace::Bytes(0),
        strict: true,
        ..StoreConfig::default()
    };
    Store::open(directory, config, ManualClock::at(Timestamp::from_millis(NOW))).unwrap()
}

fn write(store: &Store, tenant: TenantId, series: &[SeriesKey], number: u64) {
    let meta = ValueMeta::new(&format!("{{\"detail\": \"{}\"}}", "x".repeat(META_BYTES))).unwrap();
    let mut request = store.request(tenant);
    for (index, key) in (0..SAMPLES).zip(series.iter().cycle()) {
        let time = NOW - 3_600_000 + i64::try_from(number * SAMPLES + index).unwrap();
        let time = Timestamp::from_millis(time);
        let parse = || Ok::<_, Error>(key.clone());
        request.push(&key.encode(), parse, time, index as f64, Some(meta.clone())).unwrap();
    }
    store.write(request).unwrap();
}

/// Bytes of RocksDB's log files.
fn log_files(directory: &Path) -> u64 {
    fs::read_dir(directory.join("rocksdb"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().extension().is_some_and(|ending| ending == "log"))
        // One may go between the listing and the look.
        .map(|entry| entry.metadata().map_or(0, |metadata| metadata.len()))
        .sum()
}

#[test]
fn the_log_stays_short_and_opens_quickly() {
    let asked = std::env::var("MONETA_LOG_MB").ok().and_then(|text| text.parse::<u64>().ok());
    let (megabytes, live_log) = asked.map_or((256, 8 << 20), |megabytes| (megabytes, 256 << 20));
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), live_log);
    let tenant = store.tenant("t").unwrap();
    let mut once = RecordBatch::default();
    once.put(tenant, RecordKind::Setting, b"once", vec![1]);
    store.records().commit(once).unwrap();
    let series: Vec<SeriesKey> =
        (0..10).map(|host| key("cpu", &[("host", &host.to_string())])).collect();
    let mut longest = 0;
    for number in 0..megabytes {
        write(&store, tenant, &series, number);
        longest = longest.max(log_files(directory.path()));
        if store.stats().log_bytes >= live_log {
            store.flush().unwrap();
        }
    }
    println!("{megabytes} MB logged, log files of {longest} bytes at most");
    assert!(longest <= 2 * live_log, "log files of {longest} bytes at a live log of {live_log}");
    assert!(longest >= live_log, "the log was as long as it may be");
    // As long as it may be, too, when the process ends.
    let mut number = megabytes;
    while store.stats().log_bytes < live_log * 7 / 8 {
        write(&store, tenant, &series, number);
        number += 1;
    }
    let rows = store.stats().head_rows;
    assert!(rows > 0);
    drop(store);
    let began = Instant::now();
    let store = open(directory.path(), live_log);
    let took = began.elapsed();
    println!("opened in {took:?} with {rows} rows in the log");
    assert_eq!(store.stats().head_rows, rows);
    assert!(took < PATIENCE, "opening took {took:?}");
}

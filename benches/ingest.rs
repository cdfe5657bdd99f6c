//! How fast does the store take samples below the HTTP parser, with a sync before each
//! acknowledgement?
//!
//! A batch holds one sample of each of its series, as an agent's report does. Two writers wait for
//! their acknowledgements, so what joins in a commit is what a small server sees.
//! 2 cores, x86-64, `--quick`: 4.0 M samples/s with 1000 series, 2.6 M samples/s with 100 000.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use moneta_storage::clock::SystemClock;
use moneta_storage::model::{SeriesKey, Timestamp};
use moneta_storage::{Error, Store, StoreConfig};

fn key(series: usize) -> SeriesKey {
    SeriesKey {
        metric: format!("cpu.metric_{}", series % 10),
        dimensions: [("hostname", format!("host_{}", series / 10)), ("service", "compute".into())]
            .into_iter()
            .collect(),
        region: "RegionOne".into(),
    }
}

fn ingest(c: &mut Criterion) {
    let mut group = c.benchmark_group("ingest");
    group.sample_size(20);
    for (series, batch) in [(1000, 1000), (100_000, 1000)] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(directory.path(), StoreConfig::default(), Arc::new(SystemClock))
            .expect("an empty directory opens");
        let tenant = store.tenant("bench").expect("a tenant");
        let keys: Vec<(Vec<u8>, SeriesKey)> =
            (0..series).map(key).map(|key| (key.encode(), key)).collect();
        let time = AtomicI64::new(1_700_000_000_000);
        let write = |chunk: &[(Vec<u8>, SeriesKey)], time: i64| {
            let mut request = store.request(tenant);
            for (at, (raw, key)) in (0_u32..).zip(chunk) {
                let value = f64::from((at * 7 + u32::try_from(time % 97).unwrap_or(0)) % 101);
                let time = Timestamp::from_millis(time);
                request
                    .push(raw, || Ok::<_, Error>(key.clone()), time, value, None)
                    .expect("a valid sample");
            }
            store.write(request).expect("an acknowledged write");
        };
        for chunk in keys.chunks(batch) {
            write(chunk, time.load(Ordering::Relaxed));
        }
        group.throughput(Throughput::Elements((batch * 8) as u64));
        group.bench_function(format!("{series}_series/batch_{batch}"), |bencher| {
            let mut next = 0;
            bencher.iter(|| {
                std::thread::scope(|scope| {
                    for _ in 0..2 {
                        let chunks: Vec<_> = (0..4)
                            .map(|_| {
                                let chunk = next % (series / batch);
                                next += 1;
                                (chunk, time.fetch_add(10_000, Ordering::Relaxed))
                            })
                            .collect();
                        let (write, keys) = (&write, &keys);
                        scope.spawn(move || {
                            for (chunk, time) in chunks {
                                let at = chunk * batch;
                                write(keys.get(at..at + batch).unwrap_or_default(), time);
                            }
                        });
                    }
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, ingest);
criterion_main!(benches);

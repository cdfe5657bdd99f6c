//! One tenant floods, another sends a request at a time. In commits: the other's request waits for the
//! one that is on its way and is in the next, which is twice what it waits alone, and it is never
//! refused. Wall-clock times are printed, not judged: they are the machine's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moneta_storage::clock::ManualClock;
use moneta_storage::feed::FeedEvent;
use moneta_storage::model::{Sequence, TenantId, Timestamp};
use moneta_storage::space::FreeSpace;
use moneta_storage::write::{Committed, WriteRequest};
use moneta_storage::{Error, ErrorKind, Store, StoreConfig};
use moneta_tests::key;

const NOW: i64 = 1_700_000_000_000;
/// Requests of the flood, made beforehand so that they come faster than they can be committed.
const FLOOD: i64 = 3000;
/// Rows of a commit while both write, the last request included.
const ROWS_MAX: usize = 18_000;
/// Requests of the other tenant while nobody else writes.
const ALONE: i64 = 300;

fn request(store: &Store, tenant: TenantId, rows: i64, number: i64) -> WriteRequest {
    let mut request = store.request(tenant);
    for row in 0..rows {
        let key = key("cpu", &[("host", &(row % 100).to_string())]);
        let time = Timestamp::from_millis(NOW - 80_000_000 + number * 100 + row / 100);
        request.push(&key.encode(), || Ok::<_, Error>(key), time, 1.0, None).unwrap();
    }
    request
}

/// What one request met.
struct Met {
    took: Duration,
    sequence: Sequence,
    before: Sequence,
}

/// Sends one request after the other, as long as `wanted` says.
fn send(store: &Store, tenant: TenantId, wanted: impl Fn(i64) -> bool) -> Vec<Met> {
    let one = |number| {
        let request = request(store, tenant, 10, number);
        let (before, began) = (store.newest(), Instant::now());
        let sequence = store.write(request).expect("the other tenant is never refused").sequence;
        Met { took: began.elapsed(), sequence, before }
    };
    (0..).take_while(|number| wanted(*number)).map(one).collect()
}

fn percentile(met: &[Met], hundredths: usize) -> Duration {
    let mut times: Vec<Duration> = met.iter().map(|met| met.took).collect();
    times.sort_unstable();
    times[(times.len() - 1) * hundredths / 100]
}

#[test]
fn a_flood_leaves_the_others_their_turn() {
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig { free_space_min: FreeSpace::Bytes(0), ..StoreConfig::default() };
    let clock = ManualClock::at(Timestamp::from_millis(NOW));
    let store = Store::open(directory.path(), config, clock).unwrap();
    let [flooder, other] = ["flooder", "other"].map(|name| store.tenant(name).unwrap());
    // The first requests create series; that is not what is measured.
    for tenant in [flooder, other] {
        store.write(request(&store, tenant, 100, 0)).unwrap();
    }
    let alone = send(&store, other, |number| number < ALONE);

    let mut feed = store.feed(store.newest()).unwrap();
    let flood: Vec<_> = (0..FLOOD).map(|number| request(&store, flooder, 1000, number)).collect();
    let began = Instant::now();
    let (waiting, refused) = (Arc::new(AtomicI64::new(FLOOD)), AtomicU64::new(0));
    let met = std::thread::scope(|scope| {
        scope.spawn(|| {
            for mut request in flood {
                // Refused, it comes again at once, as a client without manners does.
                loop {
                    let waiting = waiting.clone();
                    let ack = move |outcome: Result<Committed, Error>| {
                        outcome.unwrap();
                        waiting.fetch_sub(1, Ordering::Relaxed);
                    };
                    match store.submit(request, ack) {
                        Ok(()) => break,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Busy),
                    }
                    refused.fetch_add(1, Ordering::Relaxed);
                    request = self::request(&store, flooder, 1000, 0);
                }
            }
        });
        send(&store, other, |_| waiting.load(Ordering::Relaxed) > 0)
    });
    let took = began.elapsed();
    // The commits of that time, by their last sequence.
    let newest = store.newest();
    let (mut commits, mut rows) = (vec![], vec![]);
    while commits.last().is_none_or(|last| *last < newest) {
        match feed.next(None).unwrap() {
            FeedEvent::Batch(batch) => {
                rows.push(batch.rows().count());
                commits.push(batch.last());
            }
            FeedEvent::Due | FeedEvent::Woken | FeedEvent::CheckpointWanted => {}
            FeedEvent::CutOff | FeedEvent::Closed => panic!("the log was kept"),
        }
    }
    let commit_of = |sequence: Sequence| commits.partition_point(|last| *last < sequence);
    // `before` is the newest that was published: what came next was on its way at least.
    let mut waited: Vec<usize> =
        met.iter().map(|met| commit_of(met.sequence) - commit_of(met.before.next()) + 1).collect();
    waited.sort_unstable();
    let p99 = waited[(waited.len() - 1) * 99 / 100];
    println!(
        "{} commits of {:?} each, {} refusals of the flood; of {} requests the other waits for {p99} \
         commits (p99); alone p50 {:?} p99 {:?}, in the flood p50 {:?} p99 {:?}",
        commits.len(),
        took / u32::try_from(commits.len()).unwrap(),
        refused.load(Ordering::Relaxed),
        met.len(),
        percentile(&alone, 50),
        percentile(&alone, 99),
        percentile(&met, 50),
        percentile(&met, 99)
    );
    assert!(met.len() > 10, "there was a flood");
    // What is on its way is short, although far more was waiting.
    assert!(rows.iter().all(|rows| *rows <= ROWS_MAX), "{rows:?}");
    assert!(p99 <= 2, "the other waits for {p99} commits: {waited:?}");
}

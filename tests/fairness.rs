//! One tenant floods, another sends a request at a time. In commits: the other's request waits for the
//! one that is on its way and is in the next, which is twice what it waits alone, and it is never
//! refused. Wall-clock times are printed, not judged: they are the machine's.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use moneta_storage::clock::ManualClock;
use moneta_storage::feed::FeedEvent;
use moneta_storage::model::{Sequence, TenantId, Timestamp};
use moneta_storage::space::FreeSpace;
use moneta_storage::write::WriteRequest;
use moneta_storage::{Error, Store, StoreConfig};
use moneta_tests::key;

const NOW: i64 = 1_700_000_000_000;
/// Requests of the other tenant.
const REQUESTS: usize = 300;

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

/// Sends one request after the other.
fn send(store: &Store, tenant: TenantId) -> Vec<Met> {
    let numbers = 0..i64::try_from(REQUESTS).unwrap();
    let one = |number| {
        let request = request(store, tenant, 10, number);
        let (before, began) = (store.newest(), Instant::now());
        let sequence = store.write(request).expect("the other tenant is never refused").sequence;
        Met { took: began.elapsed(), sequence, before }
    };
    numbers.map(one).collect()
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
    let alone = send(&store, other);

    let mut feed = store.feed(store.newest()).unwrap();
    let done = AtomicBool::new(false);
    let (accepted, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let met = std::thread::scope(|scope| {
        let (flooding, floods) = mpsc::sync_channel(1);
        scope.spawn({
            let (store, done, accepted, refused) = (&store, &done, &accepted, &refused);
            move || {
                // Refused, it comes again at once, as a client without manners does.
                for number in 0.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    let request = request(store, flooder, 1000, number % 800_000);
                    match store.submit(request, |_| {}) {
                        Ok(()) => accepted.fetch_add(1, Ordering::Relaxed),
                        Err(_) => refused.fetch_add(1, Ordering::Relaxed),
                    };
                    if number == 100 {
                        flooding.send(()).unwrap();
                    }
                }
            }
        });
        floods.recv().unwrap();
        let met = send(&store, other);
        done.store(true, Ordering::Relaxed);
        met
    });
    // The commits of that time, by their last sequence.
    let newest = store.newest();
    let mut commits = vec![];
    while commits.last().is_none_or(|last| *last < newest) {
        match feed.next(None).unwrap() {
            FeedEvent::Batch(batch) => commits.push(batch.last()),
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
        "{} requests of the flood taken, {} refused; the other waits for {p99} commits (p99); \
         alone p50 {:?} p99 {:?}, in the flood p50 {:?} p99 {:?}",
        accepted.load(Ordering::Relaxed),
        refused.load(Ordering::Relaxed),
        percentile(&alone, 50),
        percentile(&alone, 99),
        percentile(&met, 50),
        percentile(&met, 99)
    );
    assert!(accepted.load(Ordering::Relaxed) > 100, "there was a flood");
    assert!(p99 <= 2, "the other waits for {p99} commits: {waited:?}");
}

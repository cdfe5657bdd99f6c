//! Tests of a disk that cannot follow: a flush that does not come to its end.

use std::sync::mpsc;

use crate::model::{Selector, TimeRange};
use crate::scratch::{Scratch, request};
use crate::{Error, ErrorKind, StoreConfig};

const DAY: i64 = 20_000 * 24 * 3600 * 1000;

#[test]
fn when_the_disk_cannot_follow_writers_wait_then_are_refused_and_nothing_is_lost() {
    let scratch = Scratch::new();
    let config =
        StoreConfig { live_log_bytes: 64 << 10, queue_bytes: 256 << 10, ..StoreConfig::default() };
    let (store, _clock) = scratch.store(config, DAY);
    let tenant = store.tenant("t").unwrap();
    let (sender, answers) = mpsc::sync_channel(100_000);
    let samples = |number: u32| (0..500).map(move |at| (at, DAY + i64::from(number), 1.0));
    let mut taken = 0;
    {
        // As a flush that is never done with its segments.
        let _turn = store.shared().live.turn();
        let refused = loop {
            let sender = sender.clone();
            let outcome = store.submit(request(&store, tenant, samples(taken)), move |outcome| {
                sender.send(outcome.is_ok()).unwrap();
            });
            match outcome {
                Ok(()) => taken += 1,
                Err(error) => break error,
            }
            assert!(taken < 100_000, "memory is bounded");
        };
        assert_eq!(refused.kind(), ErrorKind::Busy);
        // The head took about twice what makes it flush; the others wait in the queue.
        let log_bytes = store.stats().log_bytes;
        assert!(log_bytes < 16 * (64 << 10), "{log_bytes} bytes of log");
        assert!(answers.try_iter().count() < usize::try_from(taken).unwrap(), "some wait");
    }
    drop(sender);
    store.flush().unwrap();
    // All that were taken are acknowledged in the end, and are there.
    store.write(request(&store, tenant, samples(taken))).unwrap();
    let all = store.select(tenant, &Selector::default()).unwrap();
    let mut read = 0;
    store
        .view(tenant)
        .read(&all, TimeRange::ALL, u64::MAX, |_, samples| {
            read += samples.times.len();
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(read, 500 * (usize::try_from(taken).unwrap() + 1));
}

//! Tests of the delivery loop, over a shelf in memory and a receiver on loopback.

use std::sync::Arc;
use std::time::Duration;

use moneta_storage::clock::ManualClock;
use moneta_storage::model::{TenantId, Timestamp};
use moneta_storage::record::RecordKind;
use tokio::runtime::Handle;

use crate::methods::Methods;
use crate::model::MethodKind;
use crate::notify::address::Reach;
use crate::notify::attempt::Surroundings;
use crate::notify::receiver::Receiver;
use crate::notify::shelf::{Change, MapShelf, Shelf};
use crate::notify::webhook::Webhook;
use crate::notify::{Delivery, DeliveryResult, Notifier, NotifyStats};
use crate::outbox::{Entry, sample};

const TENANT: TenantId = TenantId::new(1);
const NOW: i64 = 1_000_000_000;

/// A notifier over a map, whose clock stands still and whose waits are short.
struct Case {
    shelf: Arc<MapShelf>,
    methods: Methods,
    clock: Arc<ManualClock>,
}

impl Case {
    fn new() -> Self {
        let shelf = Arc::new(MapShelf::default());
        let clock = ManualClock::at(Timestamp::from_millis(NOW));
        let methods = Methods::on(shelf.clone(), clock.clone());
        Case { shelf, methods, clock }
    }

    fn method(&self, name: &str, address: &str) -> String {
        let create = self.methods.create(TENANT, name, MethodKind::Webhook, address, 0, &[]);
        create.unwrap().id
    }

    fn enqueue(&self, alarm: &str, time: i64, method: &str) {
        self.put(&Entry::new(TENANT, &sample::transition(&time.to_string(), alarm, time), method));
    }

    fn put(&self, entry: &Entry) {
        self.change(entry.key().unwrap(), entry.encode());
    }

    fn change(&self, id: Vec<u8>, value: Vec<u8>) {
        let change = Change { tenant: TENANT, kind: RecordKind::Outbox, id, value: Some(value) };
        self.shelf.commit(vec![change]).unwrap();
    }

    fn start(&self) -> Notifier {
        let around = Surroundings {
            shelf: self.shelf.clone(),
            methods: self.methods.clone(),
            tenants: Box::new(|| vec![TENANT]),
            tenant_name: Box::new(|_| Some("project".into())),
            clock: self.clock.clone(),
            webhook: Webhook::new(Reach::Private, Duration::from_secs(5)).unwrap(),
            ttl: Duration::from_secs(14_400),
            delay: |attempts, _| Duration::from_millis(attempts.into()),
        };
        Notifier::run(around, 64, &Handle::current())
    }

    fn outbox(&self) -> usize {
        self.shelf.count(TENANT, RecordKind::Outbox)
    }

    fn deliveries(&self, notifier: &Notifier) -> Vec<(String, DeliveryResult, u32)> {
        let list: Vec<Delivery> = notifier.deliveries(TENANT, 100).unwrap();
        list.into_iter().rev().map(|d| (d.alarm_id, d.result, d.attempts)).collect()
    }
}

/// Waits for counts; twenty seconds are for ever here.
async fn until(notifier: &Notifier, done: impl Fn(&NotifyStats) -> bool) -> NotifyStats {
    let mut stats = notifier.stats.clone();
    let waited = tokio::time::timeout(Duration::from_secs(20), stats.wait_for(done)).await;
    let reached = waited.map(|reached| reached.expect("the task runs").clone());
    reached.unwrap_or_else(|_| panic!("not reached: {:?}", notifier.stats()))
}

fn bodies(receiver: &Receiver) -> Vec<serde_json::Value> {
    receiver.requests().iter().map(|request| serde_json::from_str(&request.body).unwrap()).collect()
}

#[tokio::test]
async fn sends_what_is_left_from_the_last_run_and_what_comes() {
    let case = Case::new();
    let receiver = Receiver::start(["200 OK"; 9]).await;
    let method = case.method("m", &receiver.url("/"));
    case.enqueue("left", NOW - 5000, &method);
    let notifier = case.start();
    until(&notifier, |stats| stats.delivered == 1).await;
    case.enqueue("new", NOW, &method);
    notifier.wake();
    until(&notifier, |stats| stats.delivered == 2).await;
    // Committed after a later one: must not be missed.
    case.enqueue("late", NOW - 100_000, &method);
    notifier.wake();
    let stats = until(&notifier, |stats| stats.delivered == 3 && stats.queued == 0).await;
    assert_eq!((stats.failed, stats.sending, stats.latency_buckets.iter().sum::<u64>()), (0, 0, 3));
    assert_eq!(case.outbox(), 0);
    let sent: Vec<_> = bodies(&receiver).iter().map(|body| body["alarm_id"].clone()).collect();
    assert_eq!(sent, ["left", "new", "late"]);
    assert_eq!(bodies(&receiver)[0]["tenant_id"], "project");
    let delivery = notifier.deliveries(TENANT, 1).unwrap().remove(0);
    assert_eq!((delivery.status, delivery.method_name.as_deref()), (Some(200), Some("m")));
    assert_eq!((delivery.first_at, delivery.finished_at), (Some(NOW), NOW));
}

#[tokio::test]
async fn a_failed_one_is_repeated_under_its_id_until_it_succeeds() {
    let case = Case::new();
    let receiver = Receiver::start(["500 Oh", "503 Oh", "200 OK", "200 OK"]).await;
    let method = case.method("m", &receiver.url("/"));
    case.enqueue("a", NOW, &method);
    case.enqueue("a", NOW + 1, &method);
    let notifier = case.start();
    let stats = until(&notifier, |stats| stats.delivered == 2).await;
    assert_eq!((stats.failed, stats.retried), (2, 2));
    let sent: Vec<_> = bodies(&receiver)
        .iter()
        .map(|body| {
            (body["transition_id"].as_str().unwrap().to_owned(), body["attempt"].as_u64().unwrap())
        })
        .collect();
    let (first, second) = (NOW.to_string(), (NOW + 1).to_string());
    assert_eq!(sent, [(first.clone(), 1), (first.clone(), 2), (first, 3), (second, 1)]);
    let results = case.deliveries(&notifier);
    assert!(results.contains(&("a".to_owned(), DeliveryResult::Delivered, 3)), "{results:?}");
}

#[tokio::test]
async fn attempts_are_counted_across_a_restart() {
    let case = Case::new();
    let failing = Receiver::start(["500 Oh"]).await;
    let method = case.method("m", &failing.url("/"));
    case.enqueue("a", NOW, &method);
    let notifier = case.start();
    until(&notifier, |stats| stats.failed >= 1).await;
    notifier.close().await;
    let (_, value) = case.shelf.scan(TENANT, RecordKind::Outbox, None, 1).unwrap().remove(0);
    let entry = Entry::decode(&value).unwrap();
    assert!(entry.attempt >= 1 && entry.not_before > NOW && entry.first_at == Some(NOW));

    let receiver = Receiver::start(["200 OK"]).await;
    let mut moved = case.methods.get(TENANT, &method).unwrap().unwrap();
    moved.address = receiver.url("/");
    case.methods.update(TENANT, moved, &[]).unwrap();
    let notifier = case.start();
    until(&notifier, |stats| stats.delivered == 1).await;
    assert_eq!(bodies(&receiver)[0]["attempt"], entry.attempt + 1);
}

#[tokio::test]
async fn refused_deleted_and_old_ones_are_dropped_and_recorded() {
    let case = Case::new();
    let receiver = Receiver::start(["404 Gone", "200 OK"]).await;
    let refusing = case.method("refusing", &receiver.url("/"));
    case.enqueue("refused", NOW, &refusing);
    case.enqueue("no method", NOW, "deleted");
    case.enqueue("old", NOW - 14_400_001, &refusing);
    case.enqueue("just young enough", NOW + 1 - 14_400_001, &refusing);
    case.enqueue("metadata", NOW, &case.method("metadata", "http://169.254.169.254/"));
    let broken = Entry::new(TENANT, &sample::transition("7", "broken", NOW), &refusing);
    case.change(broken.key().unwrap(), vec![1, b'{']);
    case.change(vec![1, 2, 3], vec![]);
    let notifier = case.start();
    let finished = |stats: &NotifyStats| {
        stats.refused == 2
            && stats.method_deleted == 1
            && stats.too_old == 1
            && stats.unreadable == 1
    };
    let stats =
        until(&notifier, |stats| finished(stats) && stats.delivered == 1 && stats.queued == 0)
            .await;
    assert_eq!((stats.failed, stats.retried), (2, 0));
    assert_eq!(case.outbox(), 0);
    let mut results = case.deliveries(&notifier);
    results.sort();
    let want = [
        ("broken", DeliveryResult::Unreadable, 0),
        ("just young enough", DeliveryResult::Refused, 1),
        ("metadata", DeliveryResult::Refused, 1),
        ("no method", DeliveryResult::MethodDeleted, 0),
        ("old", DeliveryResult::TooOld, 0),
        ("refused", DeliveryResult::Delivered, 1),
    ];
    assert_eq!(results, want.map(|(alarm, result, attempts)| (alarm.to_owned(), result, attempts)));
}

#[tokio::test]
async fn a_failing_one_is_given_up_when_it_is_too_old() {
    let case = Case::new();
    let receiver = Receiver::start(["500 Oh"; 20]).await;
    // The wait after the n-th attempt is n ms, so the fifth repeat would be too late.
    case.enqueue("a", NOW - 14_400_000 + 4, &case.method("m", &receiver.url("/")));
    let notifier = case.start();
    let stats = until(&notifier, |stats| stats.gave_up == 1).await;
    assert_eq!((stats.failed, stats.retried), (5, 4));
    assert_eq!(case.deliveries(&notifier), [("a".to_owned(), DeliveryResult::GaveUp, 5)]);
}

#[tokio::test]
async fn a_silent_receiver_delays_nobody_else() {
    let case = Case::new();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = case.method("dead", &format!("http://{}/", silent.local_addr().unwrap()));
    let receiver = Receiver::start(["200 OK"; 20]).await;
    let alive = case.method("alive", &receiver.url("/"));
    for n in 0..10 {
        case.enqueue("a", NOW + n, &dead);
        case.enqueue("a", NOW + n, &alive);
    }
    let notifier = case.start();
    let stats = until(&notifier, |stats| stats.delivered == 10).await;
    assert_eq!(stats.failed, 0);
    receiver.wait_for(10).await;
    let times: Vec<_> =
        bodies(&receiver).iter().map(|body| body["transition_id"].clone()).collect();
    let want: Vec<String> = (0..10).map(|n| (NOW + n).to_string()).collect();
    assert_eq!(times, want);
    assert_eq!(case.outbox(), 10);
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_pause_gets_it_for_all_alarms() {
    let case = Case::new();
    let receiver = Receiver::start(["429 Slow\r\nretry-after: 1000", "200 OK"]).await;
    let method = case.method("m", &receiver.url("/"));
    case.enqueue("a", NOW, &method);
    case.enqueue("b", NOW, &method);
    let notifier = case.start();
    until(&notifier, |stats| stats.retried == 1).await;
    // Longer than any wait of our own would have been.
    let other = Receiver::start(["500 Oh", "500 Oh", "500 Oh", "500 Oh", "200 OK"]).await;
    case.enqueue("c", NOW, &case.method("other", &other.url("/")));
    notifier.wake();
    until(&notifier, |stats| stats.delivered == 1).await;
    notifier.close().await;
    let entries = case.shelf.scan(TENANT, RecordKind::Outbox, None, 9).unwrap();
    let entries: Vec<Entry> =
        entries.iter().map(|(_, value)| Entry::decode(value).unwrap()).collect();
    assert_eq!((entries[0].attempt, entries[0].not_before), (1, NOW + 1_000_000));
    assert_eq!((entries[1].attempt, entries[1].not_before), (0, 0));
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn a_long_outbox_is_read_page_by_page_and_new_entries_are_found_beside_it() {
    let case = Case::new();
    for n in 0..3000 {
        case.enqueue("a", NOW - 3000 + n, &format!("deleted {}", n % 7));
    }
    let receiver = Receiver::start(["200 OK"]).await;
    let notifier = case.start();
    until(&notifier, |stats| stats.method_deleted == 3000).await;
    case.enqueue("new", NOW, &case.method("m", &receiver.url("/")));
    notifier.wake();
    until(&notifier, |stats| stats.delivered == 1 && stats.queued == 0).await;
    assert_eq!(case.outbox(), 0);
    assert_eq!(notifier.deliveries(TENANT, usize::MAX).unwrap().len(), 3001);
}

#[tokio::test]
async fn closing_lets_a_running_request_finish_and_starts_no_other() {
    let case = Case::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let method = case.method("m", &format!("http://{}/", listener.local_addr().unwrap()));
    case.enqueue("a", NOW, &method);
    case.enqueue("b", NOW, &method);
    let notifier = case.start();
    let (mut stream, _) = listener.accept().await.unwrap();
    let answer = async {
        // Answered only once closing has begun.
        notifier.stop.subscribe().wait_for(|stop| *stop).await.unwrap();
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"}") {
            stream.read_buf(&mut bytes).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    };
    tokio::join!(answer, notifier.close());
    assert_eq!((notifier.stats().delivered, case.outbox()), (1, 1));
    notifier.close().await;
}

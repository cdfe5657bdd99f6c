//! The whole way through a real store: enqueue, send, record, restart.

use moneta_storage::StoreConfig;
use moneta_storage::clock::ManualClock;
use moneta_storage::model::Timestamp;
use moneta_storage::record::{RecordBatch, RecordKind};

use super::receiver::Receiver;
use super::*;
use crate::model::MethodKind;
use crate::outbox::{enqueue, sample};

const NOW: i64 = 1_000_000_000;

fn open(directory: &std::path::Path) -> Store {
    let clock = ManualClock::at(Timestamp::from_millis(NOW));
    Store::open(directory, StoreConfig::default(), clock).unwrap()
}

fn start(store: &Store) -> Notifier {
    let methods = Methods::open(store.records(), store.clock()).unwrap();
    let (settings, runtime) = (NotifySettings::default(), Handle::current());
    Notifier::start(store.clone(), methods, settings, runtime).unwrap()
}

async fn until(notifier: &Notifier, done: impl Fn(&NotifyStats) -> bool) {
    let mut stats = notifier.stats.clone();
    let waited = tokio::time::timeout(Duration::from_secs(20), stats.wait_for(done)).await;
    assert!(waited.is_ok_and(|stats| stats.is_ok()), "{:?}", notifier.stats());
}

#[tokio::test]
async fn a_committed_transition_reaches_its_methods_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(["200 OK"; 9]).await;
    let store = open(directory.path());
    let tenant = store.tenant("project").unwrap();
    let methods = Methods::open(store.records(), store.clock()).unwrap();
    let method = |name: &str| {
        let address = receiver.url(&format!("/{name}"));
        methods.create(tenant, name, MethodKind::Webhook, &address, 0, &[60]).unwrap().id
    };
    let to = [method("one"), method("two")];
    let commit = |store: &Store, n: i64| {
        let mut batch = RecordBatch::new();
        let transition = sample::transition(&(NOW + n).to_string(), "a", NOW + n);
        enqueue(&mut batch, tenant, &transition, &to).unwrap();
        store.records().commit(batch).unwrap();
    };

    let notifier = start(&store);
    until(&notifier, |stats| stats.sending == 0).await;
    for n in 0..3 {
        commit(&store, n);
        notifier.wake();
    }
    until(&notifier, |stats| stats.delivered == 6).await;
    notifier.close().await;
    commit(&store, 3);
    store.close().unwrap();
    drop((notifier, methods, store));

    let store = open(directory.path());
    let notifier = start(&store);
    until(&notifier, |stats| stats.delivered == 2 && stats.queued == 0).await;
    let left = store.records().scan(tenant, RecordKind::Outbox, &[], None, 9).unwrap();
    assert_eq!(left, []);
    let newest = notifier.deliveries(tenant, 100).unwrap();
    assert_eq!(newest.len(), 8);
    assert!(newest.iter().all(|delivery| delivery.result == DeliveryResult::Delivered));
    notifier.close().await;
    store.close().unwrap();

    let bodies: Vec<serde_json::Value> =
        receiver.requests().iter().map(|r| serde_json::from_str(&r.body).unwrap()).collect();
    assert!(bodies.iter().all(|body| body["tenant_id"] == "project" && body["attempt"] == 1));
    for method in to {
        let sent: Vec<&str> = bodies
            .iter()
            .filter(|body| body["notification_id"].as_str().unwrap().ends_with(&method))
            .map(|body| body["transition_id"].as_str().unwrap())
            .collect();
        assert_eq!(sent, ["1000000000", "1000000001", "1000000002", "1000000003"]);
    }
}

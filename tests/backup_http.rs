//! Backups and snapshots of a running server, asked for over HTTP.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use moneta_server::Running;
use moneta_storage::backup::Repository;
use moneta_storage::clock::ManualClock;
use moneta_storage::model::Timestamp;
use moneta_tests::{http, server};
use serde_json::{Value, json};

/// 2026-11-20T09:24:00Z
const NOW: i64 = 1_795_166_640_000;

async fn serve(data: &Path) -> Running {
    let clock = ManualClock::at(Timestamp::from_millis(NOW));
    server::start(data, clock, &[]).await.unwrap()
}

async fn ask(server: SocketAddr, method: &str, target: &str, body: Option<Value>) -> (u16, Value) {
    let (method, target) = (method.to_owned(), target.to_owned());
    let asked = move || http::ask(server, &method, &target, body.as_ref()).unwrap();
    tokio::task::spawn_blocking(asked).await.unwrap()
}

/// The job when it has ended. Asking again is all that a client can do.
async fn ended(server: SocketAddr) -> Value {
    loop {
        let (status, job) = ask(server, "GET", "/admin/backups", None).await;
        assert_eq!(status, 200, "{job}");
        if job["state"] != "running" {
            return job;
        }
    }
}

async fn values(server: SocketAddr) -> Value {
    let target = "/v2.0/metrics/measurements?name=m&start_time=2026-01-01";
    let (status, body) = ask(server, "GET", target, None).await;
    assert_eq!(status, 200, "{body}");
    body["elements"][0]["measurements"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_is_backed_up_and_restored() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let running = serve(&data).await;
    let server = running.address();
    let repository = directory.path().join("repository");
    let to = |path: &Path| Some(json!({"to": path.to_str().unwrap()}));
    assert_eq!(ask(server, "GET", "/admin/backups", None).await.0, 404);
    assert_eq!(ask(server, "DELETE", "/admin/backups", None).await.0, 404);

    let body: Vec<Value> = (0..50_i64)
        .map(|n| json!({"name": "m", "timestamp": NOW - n * 1000, "value": n, "dimensions": {}}))
        .collect();
    assert_eq!(ask(server, "POST", "/v2.0/metrics", Some(json!(body))).await.0, 204);
    let before = values(server).await;
    assert_eq!(before.as_array().map(Vec::len), Some(50));

    let (status, begun) = ask(server, "POST", "/admin/backups", to(&repository)).await;
    assert_eq!((status, &begun["job"]), (202, &json!(1)), "{begun}");
    let job = ended(server).await;
    assert_eq!((&job["state"], &job["backup"]["id"]), (&json!("done"), &json!(1)), "{job}");
    assert_eq!(job["backup"]["new_bytes"], job["bytes"]);
    assert_eq!((&job["files"], &job["bytes"]), (&job["files_total"], &job["bytes_total"]));

    let snapshot = directory.path().join("snapshot");
    let (status, made) = ask(server, "POST", "/admin/snapshots", to(&snapshot)).await;
    assert_eq!((status, &made["newest"]), (201, &json!(1)), "{made}");

    for (target, body, want) in [
        ("/admin/snapshots", to(&snapshot), 422),
        ("/admin/snapshots", to(&data.join("segments/x")), 422),
        ("/admin/snapshots", Some(json!({"to": "relative"})), 422),
        ("/admin/snapshots", Some(json!({"to": "/", "and": 1})), 422),
        ("/admin/backups", Some(json!([])), 422),
        ("/admin/backups", None, 400),
    ] {
        let (status, answer) = ask(server, "POST", target, body).await;
        assert_eq!(status, want, "{target}: {answer}");
    }
    // A folder that will not do is told when the job has looked at it.
    let (status, _) = ask(server, "POST", "/admin/backups", to(&snapshot)).await;
    let job = ended(server).await;
    assert_eq!((status, &job["job"], &job["state"]), (202, &json!(2), &json!("failed")));
    assert!(job["error"].as_str().is_some_and(|text| text.contains("not empty")), "{job}");
    running.shutdown().await.unwrap();

    let target = directory.path().join("restored");
    let clock = Arc::new(ManualClock::default());
    let repository = Repository::open(&repository).unwrap();
    let onward = &mut |_| std::ops::ControlFlow::Continue(());
    repository.restore(None, &target, clock, onward).unwrap();
    for copy in [target, snapshot] {
        let running = serve(&copy).await;
        assert_eq!(values(running.address()).await, before);
        running.shutdown().await.unwrap();
    }
}

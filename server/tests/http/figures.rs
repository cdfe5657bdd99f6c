//! What `/metrics` tells of journals.

use serde_json::json;

use crate::server::{Server, metric};

#[tokio::test]
async fn the_history_of_alarms_is_counted() {
    let server = Server::start().await;
    let body = json!({"name": "hot", "expression": "max(cpu.idle) > 90", "match_by": ["hostname"]});
    assert_eq!(server.send("POST", "/v2.0/alarm-definitions", body).await.0, 201);
    server.write_as("default", json!([metric("cpu.idle", "h1", 0, 95.0)])).await;
    // The engine follows the log by itself; asking is all that can be done from outside.
    let history = "/v2.0/alarms/state-history";
    for _ in 0..10_000 {
        if !server.list(history).await.is_empty() {
            break;
        }
    }
    assert_eq!(server.ask("POST", "/admin/retention/apply").await.0, 200);
    // Counted when a server starts, and then once a minute.
    let server = server.restart().await;
    let changes = u32::try_from(server.list(history).await.len()).unwrap();
    assert!(changes > 0);
    let entries = "storage_journal_entries{journal=\"alarm_history\"}";
    for _ in 0..10_000 {
        if server.figure(entries).await.is_some_and(|entries| entries > 0.0) {
            break;
        }
    }
    assert_eq!(server.figure(entries).await, Some(f64::from(changes)));
    assert_eq!(server.figure("storage_journal_entries{journal=\"events\"}").await, Some(0.0));
    let bytes = server.figure("storage_journal_bytes{journal=\"alarm_history\"}").await;
    assert!(bytes.is_some_and(|bytes| bytes > 0.0), "{bytes:?}");
    assert_eq!(server.figure("storage_journal_bytes{journal=\"events\"}").await, Some(0.0));
    server.stop().await;
}

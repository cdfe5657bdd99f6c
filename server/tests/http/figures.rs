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
    let mut changes = 0;
    while changes == 0 {
        changes = server.list("/v2.0/alarms/state-history").await.len();
    }
    assert_eq!(server.ask("POST", "/admin/retention/apply").await.0, 200);
    // Counted when a server starts, and then once a minute.
    let server = server.restart().await;
    let want = f64::from(u32::try_from(changes).unwrap());
    let entries = "storage_journal_entries{journal=\"alarm_history\"}";
    while server.figure(entries).await != Some(want) {}
    assert_eq!(server.figure("storage_journal_entries{journal=\"events\"}").await, Some(0.0));
    let bytes = server.figure("storage_journal_bytes{journal=\"alarm_history\"}").await;
    assert!(bytes.is_some_and(|bytes| bytes > 0.0), "{bytes:?}");
    assert_eq!(server.figure("storage_journal_bytes{journal=\"events\"}").await, Some(0.0));
    server.stop().await;
}

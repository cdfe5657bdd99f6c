//! A segment that cannot be opened: the server starts without it, and says which and what to do.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::server::{DAY, HOUR, Server, measured, open};

#[tokio::test]
async fn a_damaged_segment_is_a_warning_that_names_it() {
    let server = Server::start().await;
    server.write_as("a", measured("m", "h1", 2 * DAY, HOUR, 3)).await;
    server.write_as("a", measured("m", "h1", 0, HOUR, 3)).await;
    assert_eq!(server.ask("POST", "/admin/retention/apply").await.0, 200);
    let Server { running, clock, folder } = server;
    running.shutdown().await.unwrap();
    let days = folder.path().join("segments/tier-0");
    let only = |folder: PathBuf| fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut days: Vec<PathBuf> =
        fs::read_dir(days).unwrap().map(|day| day.unwrap().path()).collect();
    days.sort();
    let damaged = only(days[0].clone());
    let bytes = fs::read(&damaged).unwrap();
    fs::write(&damaged, &bytes[..bytes.len() - 1]).unwrap();

    let running = open(folder.path(), clock.clone()).await;
    let server = Server { running, clock, folder };
    let (status, ready) = server.get("/ready").await;
    assert_eq!((status, &ready["ready"]), (200, &json!(true)), "{ready}");
    let warning = ready["warnings"][0].as_str().unwrap();
    let file = server.folder.path().join("quarantine/tier-0");
    for text in ["3 samples from 2026-11-18T07:24:00", "moneta repair", file.to_str().unwrap()] {
        assert!(warning.contains(text), "{text}: {warning}");
    }
    assert_eq!(server.figure("storage_segments_quarantined").await, Some(1.0));
    assert_eq!(server.measurements("a", "m").await.len(), 3);
    server.stop().await;
}

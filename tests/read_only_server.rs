//! A server on a disk that is nearly full: it says so, refuses samples so that clients come again, and
//! answers questions.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use moneta_storage::clock::SystemClock;
use moneta_tests::server;

/// The whole answer, head and body.
fn ask(server: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_server_on_a_full_disk_says_so_and_answers_questions() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // No disk has so much.
    let settings = [("storage.free_space_min", "8388607TiB")];
    let running = server::start(directory.path(), Arc::new(SystemClock), &settings);
    let running = runtime.block_on(running).unwrap();
    let server = running.address();

    let sample = r#"{"name": "cpu", "timestamp": 1700000000000, "value": 1.0}"#;
    let answer = ask(server, "POST", "/v2.0/metrics", sample);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.to_lowercase().contains("\r\nretry-after: 1\r\n"), "{answer}");
    assert!(answer.contains("storage.free_space_min"), "{answer}");

    let answer = ask(server, "GET", "/ready", "");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("the disk is nearly full"), "{answer}");

    let answer = ask(server, "GET", "/metrics", "");
    for figure in ["storage_read_only 1\n", "storage_low_space 1\n", "storage_stopped 0\n"] {
        assert!(answer.contains(figure), "{figure}{answer}");
    }
    assert!(answer.contains("storage_disk_free_bytes "), "{answer}");

    let answer = ask(server, "GET", "/v2.0/metrics", "");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // Definitions are small, and alarms are wanted now of all times.
    let definition = r#"{"name": "a", "expression": "cpu > 1"}"#;
    let answer = ask(server, "POST", "/v2.0/alarm-definitions", definition);
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    runtime.block_on(running.shutdown()).unwrap();
}

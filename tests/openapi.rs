//! The document at `/openapi.json` is what other programs take it for: a validator accepts it, and
//! schemathesis, which makes requests of it, right and wrong ones, gets the answers it promises and
//! never a failure of the server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use moneta_storage::clock::SystemClock;
use moneta_tests::{installed, server};
use tokio::runtime::Runtime;

/// Requests made up for each operation, besides those at the edges of what it takes.
const EXAMPLES: &str = "20";
/// Not asked: the first two write wherever a body says; logs are answered 501, which counts as a failure;
/// bodies of remote write are no text that could be made up.
const LEFT_OUT: [&str; 6] = [
    "/admin/backups",
    "/admin/snapshots",
    "/v2.0/logs",
    "/api/v1/write",
    "/api/v1/push",
    "/prometheus/api/v1/write",
];

#[test]
fn requests_made_of_the_document_are_answered_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let runtime = Runtime::new().unwrap();
    let running = server::start(&data, Arc::new(SystemClock), &[]);
    let running = runtime.block_on(running).unwrap();
    let address = running.address();

    let document = folder.path().join("openapi.json");
    std::fs::write(&document, body(address, "/openapi.json")).unwrap();
    run(folder.path(), "openapi-spec-validator", &[document.to_str().unwrap()]);

    let url = format!("http://{address}/openapi.json");
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,\
                  response_schema_conformance";
    let mut arguments = vec!["run", &url, "--seed", "1", "--warnings", "off", "-n", EXAMPLES];
    arguments.extend(["--phases", "examples,coverage,fuzzing", "--checks", checks]);
    arguments.extend(LEFT_OUT.iter().flat_map(|path| ["--exclude-path", path]));
    run(folder.path(), "st", &arguments);
    runtime.block_on(running.shutdown()).unwrap();
}

/// A command of the Python environment, which has to succeed.
#[track_caller]
fn run(folder: &Path, command: &str, arguments: &[&str]) {
    let output = installed::command("openapi-1", command, folder).args(arguments).output().unwrap();
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}", text.concat());
}

fn body(address: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

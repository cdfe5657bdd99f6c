//! What browsers and proxies ask before, beside and about requests: `HEAD`, `OPTIONS`, encodings of answers,
//! targets.

use std::io::Read;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::dashboards::{PAGE, monitored};
use crate::server::Server;

/// Every byte of an answer.
async fn bytes_of(server: &Server, request: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(server.running.address()).await.unwrap();
    let request = format!("{request}host: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..at].to_vec()).unwrap().to_ascii_lowercase();
    (head, answer[at + 4..].to_vec())
}

/// What a body says that was sent in chunks.
fn of_chunks(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 2 + size + 2..];
    }
}

#[tokio::test]
async fn what_browsers_and_proxies_ask() {
    let (server, ..) = monitored().await;
    let since = "start_time=2026-11-20T09:00:00.000Z";
    let of_cpu = format!("name=cpu.idle_perc&merge_metrics=true&{since}");
    let mut wrong = Vec::new();
    for target in [
        "/v2.0".to_owned(),
        "/v2.0/metrics".into(),
        "/v2.0/metrics/names".into(),
        "/v2.0/metrics/dimensions/names/".into(),
        "/v2.0/metrics/dimensions/names/values?dimension_name=hostname".into(),
        format!("/v2.0/metrics/measurements?{of_cpu}"),
        format!("/v2.0/metrics/statistics?{of_cpu}&statistics=avg"),
        "/v2.0/alarms/".into(),
        "/v2.0/alarms/count/".into(),
        "/v2.0/alarms/state-history/".into(),
        "/v2.0/alarm-definitions".into(),
        "/v2.0/notification-methods/types".into(),
    ] {
        let (head, body) = bytes_of(&server, &format!("HEAD {target} HTTP/1.1\r\n")).await;
        let (_, whole) = bytes_of(&server, &format!("GET {target} HTTP/1.1\r\n")).await;
        let length = format!("content-length: {}", whole.len());
        if !head.starts_with("http/1.1 200") || !body.is_empty() || !head.contains(&length) {
            wrong.push(format!("HEAD {target}: {head}"));
        }
        let (head, _) = bytes_of(&server, &format!("OPTIONS {target} HTTP/1.1\r\n")).await;
        if !head.starts_with("http/1.1 200") || !head.contains("get, head") {
            wrong.push(format!("OPTIONS {target}: {head}"));
        }
        let asked = "access-control-request-method: GET\r\n\
                     access-control-request-headers: content-type,x-auth-token\r\n";
        let preflight = format!("OPTIONS {target} HTTP/1.1\r\norigin: {PAGE}\r\n{asked}");
        let (head, _) = bytes_of(&server, &preflight).await;
        let told =
            ["http/1.1 204", "allow-credentials: true", "x-auth-token", "content-type", PAGE];
        if !told.iter().all(|told| head.contains(told)) {
            wrong.push(format!("preflight {target}: {head}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let definitions = "/openapi.json";
    let get = format!("GET {definitions} HTTP/1.1\r\n");
    let (plain_head, plain) = bytes_of(&server, &get).await;
    assert!(plain_head.contains("vary: accept-encoding"), "{plain_head}");
    assert!(!plain_head.contains("content-encoding"), "{plain_head}");
    let (head, body) = bytes_of(&server, &format!("{get}accept-encoding: gzip, deflate\r\n")).await;
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let mut unpacked = Vec::new();
    let packed = of_chunks(&body);
    assert!(packed.len() * 4 < plain.len(), "{} of {}", packed.len(), plain.len());
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
    server.stop().await;
}

/// A space is no part of a target, and guessing where it ends would let requests past whatever checks them
/// on the way here. Browsers and proxies encode it.
#[tokio::test]
async fn a_space_in_a_target_is_refused() {
    let (server, ..) = monitored().await;
    let target = "/v2.0/metrics?dimensions=url:http://web1:80/a@b c";
    let (head, _) = bytes_of(&server, &format!("GET {target} HTTP/1.1\r\n")).await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
    for encoded in ["a@b%20c", "a@b+c"] {
        let target = format!("/v2.0/metrics?dimensions=url:http://web1:80/{encoded}");
        assert_eq!(server.list(&target).await.len(), 1, "{target}");
    }
    server.stop().await;
}

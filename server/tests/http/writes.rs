//! Writing in other dialects: Influx lines and Prometheus remote write, packed and not.

use std::io::Write;
use std::net::SocketAddr;

use flate2::Compression;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{NOW, Server, metric};

/// A request whose body may be any bytes: the status, the head, and the body.
async fn send(
    address: SocketAddr,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String, String) {
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "POST {target} HTTP/1.1\r\nhost: {address}\r\n{headers}content-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    exchange(address, &[head.as_bytes(), body].concat()).await
}

async fn exchange(address: SocketAddr, request: &[u8]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

async fn lines(server: &Server, target: &str, body: &str) -> (u16, String, Value) {
    let (status, head, body) = send(server.running.address(), target, &[], body.as_bytes()).await;
    (status, head, body.parse().unwrap_or(Value::Null))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 3).unwrap()
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

#[tokio::test]
async fn packed_measurements_are_stored() {
    let server = Server::start().await;
    let address = server.running.address();
    let json = ("content-type", "application/json");
    let mut ago = 0;
    for (encoding, pack) in [
        ("gzip", gzip as fn(&[u8]) -> Vec<u8>),
        ("deflate", zlib),
        ("zstd", zstd),
        ("identity", <[u8]>::to_vec),
    ] {
        let body = pack(json!([metric("m", "h1", ago, 1.0)]).to_string().as_bytes());
        let headers = [json, ("content-encoding", encoding)];
        let (status, _, text) = send(address, "/v2.0/metrics", &headers, &body).await;
        assert_eq!(status, 204, "{encoding} {text}");
        ago += 1;
        assert_eq!(server.measurements("default", "m").await.len(), usize::try_from(ago).unwrap());
    }
    let check = async |encoding: &str, body: Vec<u8>, want: u16, words: &str| {
        let headers = [json, ("content-encoding", encoding)];
        let (status, _, text) = send(address, "/v2.0/metrics", &headers, &body).await;
        assert_eq!(status, want, "{encoding} {text}");
        assert!(text.contains(words), "{encoding} {text}");
    };
    let measured = || json!([metric("m", "h1", 0, 1.0)]).to_string().into_bytes();
    check("br", measured(), 415, "gzip, deflate, zstd, identity").await;
    check("snappy", snappy(&measured()), 415, "gzip, deflate, zstd, identity").await;
    check("gzip, gzip", gzip(&gzip(&measured())), 415, "packed once").await;
    check("gzip", measured(), 400, "is not gzip, or not whole").await;
    check("zstd", gzip(&measured()), 400, "is not zstd").await;
    let bomb = vec![b' '; 64 << 20];
    check("gzip", gzip(&bomb), 413, "250 times its length").await;
    check("zstd", zstd(&bomb), 413, "250 times its length").await;
    // Other documents may be packed as well.
    let method = json!({"name": "n", "type": "WEBHOOK", "address": "http://h/"}).to_string();
    let headers = [json, ("content-encoding", "gzip")];
    let made =
        send(address, "/v2.0/notification-methods", &headers, &gzip(method.as_bytes())).await;
    assert_eq!(made.0, 201, "{}", made.2);
    server.stop().await;
}

#[tokio::test]
async fn a_body_may_come_in_chunks() {
    let server = Server::start().await;
    let address = server.running.address();
    let packed = gzip(format!("m v=1 {NOW}000000\nm v=2 {}000000\n", NOW - 1).as_bytes());
    let mut request = format!(
        "POST /write HTTP/1.1\r\nhost: {address}\r\ntransfer-encoding: chunked\r\n\
         content-encoding: gzip\r\nconnection: close\r\n\r\n"
    )
    .into_bytes();
    for chunk in packed.chunks(7) {
        request.extend(format!("{:x}\r\n", chunk.len()).bytes());
        request.extend([chunk, b"\r\n"].concat());
    }
    request.extend(b"0\r\n\r\n");
    let (status, _, body) = exchange(address, &request).await;
    assert_eq!((status, body.as_str()), (204, ""));
    assert_eq!(server.measurements("default", "m.v").await.len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn lines_are_stored_and_answered_as_influxdb_does() {
    let server = Server::start().await;
    let seconds = NOW / 1000;
    let body =
        format!("cpu,hostname=h1 idle=90i,user=1.5,name=\"x\" {seconds}\nload value=3 {seconds}\n");
    let (status, head, answer) = lines(&server, "/write?db=mon&rp=a&precision=s", &body).await;
    assert_eq!((status, answer), (204, Value::Null));
    assert!(head.contains("x-influxdb-version: 1.8.10"), "{head}");
    assert_eq!(server.measurements("default", "cpu.idle").await[0][1], 90.0);
    assert_eq!(server.measurements("default", "cpu.user").await[0][1], 1.5);
    assert_eq!(server.measurements("default", "load").await[0][1], 3.0);
    assert_eq!(server.measurements("default", "cpu.name").await.len(), 0);
    let accepted =
        server.figure("ingest_samples_total{dialect=\"influx\",result=\"accepted\"}").await;
    assert_eq!(accepted, Some(3.0));

    let bucket = "/api/v2/write?bucket=mon&org=o&precision=ms";
    assert_eq!(
        lines(&server, bucket, &format!("cpu,hostname=h1 idle=80 {}", NOW - 1)).await.0,
        204
    );
    assert_eq!(server.measurements("default", "cpu.idle").await.len(), 2);
    // Without a time it is now.
    assert_eq!(lines(&server, "/write", "now v=1\n").await.0, 204);
    let now = server.measurements("default", "now.v").await;
    assert_eq!(now[0][0], "2026-11-20T09:24:00.000Z");

    let (status, head, answer) = lines(&server, "/write?db=mon", "bad line here\n").await;
    let text = "unable to parse 'bad line here': invalid field format";
    assert_eq!((status, &answer), (400, &json!({"error": text})));
    assert!(head.contains(&format!("x-influxdb-error: {text}")), "{head}");
    let partly = format!("good v=1 {NOW}\nbad v=x {NOW}\na(b v=1 {NOW}\n");
    let (status, _, answer) = lines(&server, "/write?precision=ms", &partly).await;
    let text = format!(
        "partial write: unable to parse 'bad v=x {NOW}': invalid field format\n\
         a(b: invalid characters in metric name: a(b.v dropped=2"
    );
    assert_eq!((status, &answer), (400, &json!({"error": text})));
    assert_eq!(server.measurements("default", "good.v").await.len(), 1);
    let (status, _, answer) = lines(&server, bucket, "x\n").await;
    let text = "unable to parse 'x': missing fields";
    assert_eq!(
        (status, &answer),
        (400, &json!({"code": "invalid", "message": text, "error": text}))
    );
    let (status, _, answer) = lines(&server, "/write?precision=ms", "m v=1 5000000000000\n").await;
    let text = answer["error"].as_str().unwrap();
    assert!(
        text.starts_with("partial write: points beyond retention policy dropped=1\n"),
        "{text}"
    );
    assert_eq!(status, 400);
    let (status, _, answer) = lines(&server, "/write?precision=d", "m v=1\n").await;
    let text = "invalid precision \"d\" (use n, u, ms, s, m or h)";
    assert_eq!((status, &answer), (400, &json!({"error": text})));
    let (status, _, answer) = lines(&server, "/write?precision=s&precision=s", "m v=1\n").await;
    assert_eq!((status, &answer), (400, &json!({"error": "precision must be given only once"})));
    let many: String = (0..1000).map(|n| format!("bad {n}\n")).collect();
    let (_, _, answer) = lines(&server, "/write", &many).await;
    let text = answer["error"].as_str().unwrap();
    assert!(text.len() < 500 && text.ends_with("… and 995 more"), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn lines_of_the_persister_go_to_their_tenants() {
    let server = Server::start().await;
    let line = |tenant: &str, value: f64| {
        format!(
            "cpu.idle,_region=RegionOne,_tenant_id={tenant},hostname=a value={value:?},\
             value_meta=\"{{\\\"rc\\\": \\\"404\\\"}}\" {NOW}\n"
        )
    };
    let history = "alarm_state_history,tenant_id=t1 tenant_id=\"t1\",metrics=\"[]\" 5\n";
    let body = format!("{}{}{history}", line("t1", 1.0), line("t2", 2.0));
    assert_eq!(lines(&server, "/write?db=mon&precision=ms", &body).await.0, 204);
    for (tenant, value) in [("t1", 1.0), ("t2", 2.0)] {
        let rows = server.measurements(tenant, "cpu.idle").await;
        assert_eq!(
            (rows.len(), &rows[0][1], &rows[0][2]),
            (1, &json!(value), &json!({"rc": "404"}))
        );
    }
    assert_eq!(server.measurements("default", "cpu.idle").await.len(), 0);
    server.stop().await;
}

#[tokio::test]
async fn ping_tells_the_version() {
    let server = Server::start().await;
    let address = server.running.address();
    for (method, target, want, text) in [
        ("GET", "/ping", 204, ""),
        ("HEAD", "/ping", 204, ""),
        ("GET", "/ping?verbose=true", 200, "{\"version\":\"1.8.10\"}\n"),
    ] {
        let request =
            format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        let (status, head, body) = exchange(address, request.as_bytes()).await;
        assert_eq!((status, body.as_str()), (want, text), "{method} {target}");
        assert!(head.contains("x-influxdb-version: 1.8.10"), "{head}");
    }
    server.stop().await;
}

#[tokio::test]
async fn limits_are_told_in_the_words_of_each_dialect() {
    let server = Server::start_with(&[("limits.active_series", "2")]).await;
    let body = format!("m,h=1 v=1 {NOW}\nm,h=2 v=1 {NOW}\nm,h=3 v=1 {NOW}\n");
    let (status, _, answer) = lines(&server, "/write?precision=ms", &body).await;
    let text = answer["error"].as_str().unwrap();
    assert!(
        status == 400 && text.starts_with("partial write: ") && text.ends_with("dropped=3"),
        "{text}"
    );
    server.stop().await;
    let server = Server::start_with(&[("limits.samples_per_second", "1")]).await;
    let body: String = (0..30).map(|n| format!("m v=1 {}\n", NOW - n)).collect();
    let mut statuses = Vec::new();
    // A quiet tenant may send those of ten seconds at once.
    for _ in 0..11 {
        let (status, head, _) = lines(&server, "/write?precision=ms", "m v=1\n").await;
        assert_eq!(status == 429, head.contains("retry-after: "), "{head}");
        statuses.push(status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    // What no waiting will let pass is not asked for again.
    assert_eq!(lines(&server, "/write?precision=ms", &body.repeat(40)).await.0, 400);
    server.stop().await;
}

fn put_field(out: &mut Vec<u8>, number: u8, content: &[u8]) {
    out.push(number << 3 | 2);
    let mut length = content.len();
    while length >= 0x80 {
        out.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    out.push(length.to_le_bytes()[0]);
    out.extend_from_slice(content);
}

fn sample(time: i64, value: f64) -> Vec<u8> {
    let mut out = vec![0x09];
    out.extend_from_slice(&value.to_le_bytes());
    out.push(0x10);
    let mut time = time.cast_unsigned();
    while time >= 0x80 {
        out.push(time.to_le_bytes()[0] | 0x80);
        time >>= 7;
    }
    out.push(time.to_le_bytes()[0]);
    out
}

/// A body of version 1.0 with one sample of one series.
fn remote_write(labels: &[(&str, &str)], time: i64, value: f64) -> Vec<u8> {
    let (mut series, mut out) = (Vec::new(), Vec::new());
    for (name, text) in labels {
        let mut label = Vec::new();
        put_field(&mut label, 1, name.as_bytes());
        put_field(&mut label, 2, text.as_bytes());
        put_field(&mut series, 1, &label);
    }
    put_field(&mut series, 2, &sample(time, value));
    put_field(&mut out, 1, &series);
    out
}

const TYPE_ONE: (&str, &str) = ("content-type", "application/x-protobuf");
const TYPE_TWO: (&str, &str) =
    ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request");
const SNAPPY: (&str, &str) = ("content-encoding", "snappy");

#[tokio::test]
async fn remote_write_is_stored_in_both_versions() {
    let server = Server::start().await;
    let address = server.running.address();
    let one = remote_write(&[("__name__", "up"), ("job", "node")], NOW, 1.0);
    let headers = [TYPE_ONE, SNAPPY, ("x-prometheus-remote-write-version", "0.1.0")];
    for path in ["/api/v1/write", "/api/v1/push", "/prometheus/api/v1/write"] {
        let (status, head, body) = send(address, path, &headers, &snappy(&one)).await;
        assert_eq!((status, body.as_str()), (204, ""));
        assert!(!head.contains("samples-written"), "{head}");
    }
    assert_eq!(
        server.measurements("default", "up").await,
        [json!(["2026-11-20T09:24:00.000Z", 1.0, {}])]
    );
    // Other encodings are undone as well, and none means snappy.
    for (headers, body) in [
        (&[TYPE_ONE][..], snappy(&one)),
        (&[TYPE_ONE, ("content-encoding", "gzip")], gzip(&one)),
        (&[TYPE_ONE, ("content-encoding", "zstd")], zstd(&one)),
        (&[SNAPPY], snappy(&one)),
    ] {
        assert_eq!(send(address, "/api/v1/write", headers, &body).await.0, 204, "{headers:?}");
    }

    let mut two = Vec::new();
    for text in ["", "__name__", "down", "job", "x"] {
        put_field(&mut two, 4, text.as_bytes());
    }
    for (numbers, value) in [([1, 2, 3, 4], 2.0), ([3, 4, 3, 4], 3.0)] {
        let mut series = Vec::new();
        put_field(&mut series, 1, &numbers);
        put_field(&mut series, 2, &sample(NOW, value));
        put_field(&mut series, 4, b"");
        put_field(&mut two, 5, &series);
    }
    let headers = [TYPE_TWO, SNAPPY, ("x-prometheus-remote-write-version", "2.0.0")];
    let (status, head, body) = send(address, "/api/v1/write", &headers, &snappy(&two)).await;
    assert_eq!(status, 400, "{body}");
    assert!(
        body.contains("the label __name__ is missing") || body.contains("given twice"),
        "{body}"
    );
    for (what, count) in [("samples", 1), ("histograms", 0), ("exemplars", 0)] {
        let header = format!("x-prometheus-remote-write-{what}-written: {count}\r\n");
        assert!(format!("{head}\r\n").contains(&header), "{head}");
    }
    // The good one is stored all the same.
    assert_eq!(server.measurements("default", "down").await[0][1], 2.0);
    server.stop().await;
}

#[tokio::test]
async fn remote_write_that_is_wrong_is_not_asked_for_again() {
    let server = Server::start().await;
    let address = server.running.address();
    let good = remote_write(&[("__name__", "up")], NOW, 1.0);
    let check = async |headers: &[(&str, &str)], body: &[u8], want: u16, words: &str| {
        let (status, head, text) = send(address, "/api/v1/write", headers, body).await;
        assert_eq!(status, want, "{text}");
        assert!(text.contains(words), "{text}");
        assert!(head.contains("content-type: text/plain"), "{head}");
    };
    check(&[TYPE_ONE, SNAPPY], &good, 400, "is not snappy, or not whole").await;
    check(&[TYPE_ONE, SNAPPY], &snappy(b"\xff"), 400, "the body is not protobuf").await;
    check(&[("content-type", "application/json"), SNAPPY], &snappy(&good), 415, "x-protobuf").await;
    check(&[TYPE_ONE, ("content-encoding", "br")], &good, 415, "snappy, gzip, deflate").await;
    let ahead = remote_write(&[("__name__", "up")], NOW + 90_000_000, 1.0);
    check(&[TYPE_ONE, SNAPPY], &snappy(&ahead), 400, "more than a day ahead").await;
    let mut histogram = good.clone();
    put_field(&mut histogram, 1, b"\x0a\x0d\x0a\x08__name__\x12\x01h\x22\x00");
    check(&[TYPE_ONE, SNAPPY], &snappy(&histogram), 400, "native histograms are not stored").await;
    assert_eq!(server.measurements("default", "up").await.len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn values_that_are_no_numbers_are_kept_and_not_shown() {
    let server = Server::start().await;
    let address = server.running.address();
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    for (ago, value) in [(0, stale), (1, f64::NAN), (2, f64::NEG_INFINITY), (3, 5.0)] {
        let body = snappy(&remote_write(&[("__name__", "m")], NOW - ago, value));
        assert_eq!(send(address, "/api/v1/write", &[TYPE_ONE, SNAPPY], &body).await.0, 204);
    }
    let shown = server.measurements("default", "m").await;
    assert_eq!((shown.len(), &shown[0][1]), (1, &json!(5.0)));
    let (status, statistics) = server
        .get("/v2.0/metrics/statistics?name=m&statistics=max,min,count,sum&start_time=2026-11-20&period=86400")
        .await;
    assert_eq!(status, 200);
    let row = &statistics["elements"][0]["statistics"][0];
    assert_eq!(row.as_array().unwrap()[1..], [5.0, 5.0, 1.0, 5.0], "{statistics}");
    server.stop().await;
}

#[tokio::test]
async fn what_a_tenant_writes_no_other_sees() {
    let server = Server::start().await;
    let address = server.running.address();
    let packed = snappy(&remote_write(&[("__name__", "m")], NOW, 2.0));
    for (tenant, value) in [("a", 1.0), ("b", 3.0)] {
        let project = ("x-project-id", tenant);
        let line = format!("m value={value} {NOW}\n");
        let target = "/write?precision=ms";
        assert_eq!(send(address, target, &[project], line.as_bytes()).await.0, 204);
        let rows = server.measurements(tenant, "m").await;
        assert_eq!((rows.len(), &rows[0][1]), (1, &json!(value)));
    }
    let headers = [TYPE_ONE, SNAPPY, ("x-project-id", "a")];
    assert_eq!(send(address, "/api/v1/write", &headers, &packed).await.0, 204);
    for (tenant, value) in [("a", 2.0), ("b", 3.0)] {
        assert_eq!(server.measurements(tenant, "m").await[0][1], value);
    }
    assert_eq!(server.measurements("default", "m").await.len(), 0);
    // A tenant that has no name can have nothing.
    let (status, _, answer) = send(address, "/write", &[("x-project-id", "a\tb")], b"m v=1").await;
    assert_eq!(status, 400, "{answer}");
    assert!(answer.contains("a tenant name has 1 to 255 characters"), "{answer}");
    server.stop().await;
}

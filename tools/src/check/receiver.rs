//! A small HTTP receiver: takes the notifications of the server that is being checked.
//!
//! It understands as much of HTTP/1.1 as a webhook needs: a head, a body of known length, and
//! further requests on the same connection. Anything else is refused and the connection closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};

const HEAD_BYTES_MAX: usize = 16 * 1024;
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Connections served at once; further ones wait in the system's queue.
const CONNECTIONS_MAX: usize = 256;
/// Arrivals that wait to be looked at; a sender of more waits for its answer.
const ARRIVALS_MAX: usize = 4096;
/// A connection that sends nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// A notification that came in.
#[derive(Debug)]
pub(super) struct Arrival {
    /// When its last byte was there.
    pub(super) at: Instant,
    /// What it says.
    pub(super) body: Value,
}

/// A receiver that listens until it is dropped.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    pub(super) arrivals: mpsc::Receiver<Arrival>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Listens on `address` and takes what is posted to `path`.
    pub(super) async fn bind(address: &str, path: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let task = tokio::spawn(accept(listener, Arc::from(path), sender));
        Ok(Receiver { address, arrivals, task })
    }
}

async fn accept(listener: TcpListener, path: Arc<str>, arrivals: mpsc::Sender<Arrival>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let Ok((connection, _)) = listener.accept().await else { continue };
        let (path, arrivals) = (Arc::clone(&path), arrivals.clone());
        tokio::spawn(async move {
            // A connection that breaks is the sender's to report.
            let _ = serve(connection, &path, &arrivals).await;
            drop(permit);
        });
    }
}

async fn serve(
    mut connection: TcpStream,
    path: &str,
    arrivals: &mpsc::Sender<Arrival>,
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let (answer, keep) = match next_request(&mut connection, &mut buffer).await? {
            None => return Ok(()),
            Some(Err(refusal)) => (refusal.status(), false),
            Some(Ok(request)) => (take(&request, path, arrivals).await, request.head.keep_alive),
        };
        let connection_header = if keep { "keep-alive" } else { "close" };
        let answer = format!(
            "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: {connection_header}\r\n\r\n"
        );
        connection.write_all(answer.as_bytes()).await?;
        if !keep {
            return Ok(());
        }
    }
}

async fn take(request: &Request, path: &str, arrivals: &mpsc::Sender<Arrival>) -> &'static str {
    if request.head.target != path {
        return "404 Not Found";
    }
    if request.head.method != "POST" {
        return "405 Method Not Allowed";
    }
    let at = request.at;
    let Ok(body) = serde_json::from_slice(&request.body) else { return "400 Bad Request" };
    // Nobody listens any more once the check is over; the sender need not know.
    let _ = arrivals.send(Arrival { at, body }).await;
    "200 OK"
}

struct Request {
    head: Head,
    body: Vec<u8>,
    at: Instant,
}

/// The next request of a connection; `None` when it ends. `buffer` keeps what was read beyond.
async fn next_request(
    connection: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> std::io::Result<Option<Result<Request, Refusal>>> {
    loop {
        match parse_head(buffer) {
            Err(refusal) => return Ok(Some(Err(refusal))),
            Ok(Some(head)) if buffer.len() >= head.length + head.body_length => {
                let rest = buffer.split_off(head.length + head.body_length);
                let body = buffer.split_off(head.length);
                *buffer = rest;
                return Ok(Some(Ok(Request { head, body, at: Instant::now() })));
            }
            Ok(Some(_) | None) => {}
        }
        if timeout(IDLE, connection.read_buf(buffer)).await?? == 0 {
            return Ok(None);
        }
    }
}

/// What the head of a request says, as far as it matters here.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Head {
    /// Of the head itself, in bytes.
    length: usize,
    method: String,
    target: String,
    body_length: usize,
    keep_alive: bool,
}

/// Why a request is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refusal {
    Malformed,
    LengthMissing,
    TooLarge,
}

impl Refusal {
    fn status(self) -> &'static str {
        match self {
            Refusal::Malformed => "400 Bad Request",
            Refusal::LengthMissing => "411 Length Required",
            Refusal::TooLarge => "413 Content Too Large",
        }
    }
}

/// The head at the beginning of `bytes`, once it is there as a whole.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, Refusal> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX { Err(Refusal::TooLarge) } else { Ok(None) };
    };
    let text = bytes.get(..end).and_then(|head| std::str::from_utf8(head).ok());
    let mut lines = text.ok_or(Refusal::Malformed)?.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Refusal::Malformed);
    };
    let mut head = Head {
        length: end + 4,
        method: method.to_owned(),
        target: target.to_owned(),
        body_length: 0,
        keep_alive: version == "HTTP/1.1",
    };
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(Refusal::Malformed)?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            head.body_length = value.parse().map_err(|_| Refusal::Malformed)?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Refusal::LengthMissing);
        } else if name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close") {
            head.keep_alive = false;
        }
    }
    if head.body_length > BODY_BYTES_MAX { Err(Refusal::TooLarge) } else { Ok(Some(head)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, want: Result<Option<(&str, &str, usize, bool)>, Refusal>) {
        let head = parse_head(text.as_bytes());
        let got = head.as_ref().map(|head| {
            let of = |head: &'_ Head| {
                (head.method.clone(), head.target.clone(), head.body_length, head.keep_alive)
            };
            head.as_ref().map(of)
        });
        let want = want.as_ref().map(|head| {
            head.map(|(method, target, length, keep)| {
                (method.to_owned(), target.to_owned(), length, keep)
            })
        });
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn heads() {
        check("", Ok(None));
        check("POST /x HTTP/1.1\r\nHost: a\r\n", Ok(None));
        check(
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n{",
            Ok(Some(("POST", "/x", 12, true))),
        );
        check(
            "POST /x HTTP/1.1\r\ncontent-length:0\r\nConnection: Close\r\n\r\n",
            Ok(Some(("POST", "/x", 0, false))),
        );
        check("GET / HTTP/1.0\r\n\r\n", Ok(Some(("GET", "/", 0, false))));
    }

    #[test]
    fn heads_that_are_refused() {
        check("POST /x\r\n\r\n", Err(Refusal::Malformed));
        check("POST /x HTTP/1.1\r\nnonsense\r\n\r\n", Err(Refusal::Malformed));
        check("POST /x HTTP/1.1\r\ncontent-length: -1\r\n\r\n", Err(Refusal::Malformed));
        check(
            "POST /x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
            Err(Refusal::LengthMissing),
        );
        check("POST /x HTTP/1.1\r\ncontent-length: 9999999\r\n\r\n", Err(Refusal::TooLarge));
        check(&"x".repeat(HEAD_BYTES_MAX + 1), Err(Refusal::TooLarge));
    }

    #[test]
    fn a_damaged_head_is_read_or_refused() {
        let head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n";
        for at in 0..head.len() {
            assert_eq!(parse_head(&head[..at]), Ok(None), "a head that is not whole");
            for byte in [0, b' ', b':', b'\r', b'\n', b'9', 0xff] {
                let mut damaged = *head;
                damaged[at] = byte;
                let _ = parse_head(&damaged);
            }
        }
    }

    /// Sends `text` and reads until the receiver closes.
    async fn talk(address: SocketAddr, text: &str) -> String {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(text.as_bytes()).await.unwrap();
        connection.shutdown().await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn takes_what_is_posted_to_its_path() {
        let mut receiver = Receiver::bind("127.0.0.1:0", "/secret".into()).await.unwrap();
        let post = |path: &str, body: &str| {
            format!("POST {path} HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        };
        let two = post("/secret", r#"{"n": 1}"#) + &post("/secret", r#"{"n": 2}"#);
        let answer = talk(receiver.address, &two).await;
        assert_eq!(answer.matches("200 OK").count(), 2, "{answer}");
        assert_eq!(receiver.arrivals.recv().await.unwrap().body, json!({"n": 1}));
        assert_eq!(receiver.arrivals.recv().await.unwrap().body, json!({"n": 2}));

        let answer = talk(receiver.address, &post("/other", "{}")).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        let answer = talk(receiver.address, &post("/secret", "no json")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        let answer = talk(receiver.address, "GET /secret HTTP/1.1\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
        assert!(receiver.arrivals.try_recv().is_err());
    }
}

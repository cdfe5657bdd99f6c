//! A receiver of webhooks on loopback: answers 204 and hands the bodies on, in order.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Bodies that may wait; a test takes them out long before.
const WAITING_MAX: usize = 1000;
/// No notification of a test is longer.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Listens until the process ends.
pub struct WebhookReceiver {
    address: SocketAddr,
    bodies: Receiver<String>,
}

impl WebhookReceiver {
    /// Listens on a free port.
    ///
    /// # Errors
    /// If there is no port or no thread.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (sender, bodies) = sync_channel(WAITING_MAX);
        std::thread::Builder::new().name("webhooks".into()).spawn(move || {
            // One connection at a time: the sender closes what it no longer needs, and tests have
            // one sender.
            for stream in listener.incoming().map_while(Result::ok) {
                // A broken connection is the sender's to notice and to repeat.
                let _ = serve(&stream, &sender);
            }
        })?;
        Ok(WebhookReceiver { address, bodies })
    }

    /// Where to send to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The next body, waiting at most `patience` for it.
    ///
    /// # Errors
    /// `Timeout` if none comes.
    pub fn next(&self, patience: Duration) -> Result<String, RecvTimeoutError> {
        self.bodies.recv_timeout(patience)
    }
}

/// Answers one request and closes the connection.
fn serve(stream: &TcpStream, bodies: &SyncSender<String>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            // The sender died before it had said what it wanted.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    if length > BODY_BYTES_MAX {
        return Err(io::Error::other("a body longer than any notification"));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8(body).map_err(io::Error::other)?;
    bodies.try_send(body).map_err(io::Error::other)?;
    let mut stream = stream;
    stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
}

//! Accepting connections and speaking HTTP/1.1 on them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Front;
use super::write_deadline::WriteDeadline;
use crate::shutdown::stopped;

/// How long a connection may wait for the head of its next request, which is also how long it may
/// be idle.
const HEAD_TIME: Duration = Duration::from_secs(75);
/// How long the handshake of TLS may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long a client may leave its answer unread.
const UNREAD_TIME: Duration = Duration::from_secs(30);
/// How long open requests may take to finish when the server stops.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// How long to wait before accepting again after the system refused, as when files run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the listening task waits for.
enum Event {
    Connected(std::io::Result<(TcpStream, std::net::SocketAddr)>, OwnedSemaphorePermit),
    Ended,
    Stopped,
}

/// Serves connections, `connections_max` at once, until `stop` turns true; then lets open requests
/// finish. When full, further connections wait in the system's queue.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    front: Arc<Front>,
    connections_max: usize,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((listener.accept().await, place))
        };
        let event = tokio::select! {
            () = stopped(&mut stop) => Event::Stopped,
            Some(_) = connections.join_next() => Event::Ended,
            Some((accepted, place)) = accepted => Event::Connected(accepted, place),
        };
        match event {
            Event::Connected(Ok((stream, _)), place) => {
                let connection = accept(stream, tls.clone(), Arc::clone(&front), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Event::Connected(Err(error), _) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            Event::Ended => {}
            Event::Stopped => break,
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIME, drained).await.is_err() {
        tracing::warn!(open = connections.len(), "connections are cut off");
        connections.shutdown().await;
    }
}

/// Serves one connection, if need be after its handshake.
async fn accept(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    front: Arc<Front>,
    mut stop: watch::Receiver<bool>,
) {
    // Answers are small; waiting to fill a packet only delays them. A failure costs time only.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return connection(stream, front, stop).await };
    let handshake = tokio::select! {
        handshake = tokio::time::timeout(HANDSHAKE_TIME, tls.accept(stream)) => handshake,
        () = stopped(&mut stop) => return,
    };
    match handshake {
        Ok(Ok(stream)) => connection(stream, front, stop).await,
        Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
        Err(_) => tracing::debug!("a handshake takes too long"),
    }
}

/// Serves one connection.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    front: Arc<Front>,
    mut stop: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(front.answer(request.map(Body::new)).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    let connection =
        builder.serve_connection(TokioIo::new(WriteDeadline::new(stream, UNREAD_TIME)), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection broke");
    }
}

#[cfg(test)]
mod tests {
    use crate::auth::{Gate, Right};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;
    use crate::http::Route;
    use crate::security::Reach;
    use crate::telemetry::Telemetry;

    const GET: &[u8] = b"GET /now HTTP/1.1\r\nhost: localhost\r\n\r\n";

    /// Reads until `end` has come.
    async fn read_until(stream: &mut TcpStream, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the connection ended after {text}");
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        text
    }

    #[tokio::test]
    async fn connections_are_kept_and_open_requests_finish_at_the_stop() {
        let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let slow = {
            let (entered, go_on) = (Arc::clone(&entered), Arc::clone(&go_on));
            move || async move {
                entered.notify_one();
                go_on.notified().await;
                "slow"
            }
        };
        let routes: Vec<Route<()>> = vec![
            Route::at("/now").get(Right::Open, async || "quick"),
            Route::at("/slow").get(Right::Open, slow),
        ];
        let telemetry = Arc::new(Telemetry::new());
        let front = Front::new(routes, (), Gate::open(), Reach::ThisMachine, 9, telemetry);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, watch) = watch::channel(false);
        let served = tokio::spawn(serve(listener, None, Arc::new(front), 2, watch));

        let mut kept = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            kept.write_all(GET).await.unwrap();
            let answer = read_until(&mut kept, "quick").await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.contains("\r\nx-openstack-request-id: req-"), "{answer}");
        }
        let mut waiting = TcpStream::connect(address).await.unwrap();
        waiting.write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        entered.notified().await;
        // Two connections are open, so this one is not served yet.
        let mut third = TcpStream::connect(address).await.unwrap();
        third.write_all(GET).await.unwrap();

        stop.send_replace(true);
        assert_eq!(kept.read(&mut [0; 8]).await.unwrap(), 0);
        go_on.notify_one();
        assert!(read_until(&mut waiting, "slow").await.contains("connection: close"));
        served.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}

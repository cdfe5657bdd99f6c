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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::Front;
use crate::shutdown::stopped;

/// How long a connection may wait for the head of its next request, which is also how long it may
/// be idle.
const HEAD_TIME: Duration = Duration::from_secs(75);
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
                let connection = connection(stream, Arc::clone(&front), stop.clone());
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

/// Serves one connection.
async fn connection(stream: TcpStream, front: Arc<Front>, mut stop: watch::Receiver<bool>) {
    // Answers are small; waiting to fill a packet only delays them. A failure costs time only.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(front.answer(request.map(Body::new)).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
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

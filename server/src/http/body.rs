//! Request bodies, read within limits of size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::FromRequest;
use axum::http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Services;
use super::encoding::{Accepted, Encoding, Unpacking};
use crate::status::Failure;

/// How long a body may take, besides what its length allows.
const BODY_TIME: Duration = Duration::from_secs(30);
/// The slowest transfer that is waited for, bytes per second.
const BODY_RATE_MIN: u64 = 64 * 1024;
/// How long a body that is refused may take.
const REFUSED_TIME: Duration = Duration::from_secs(10);
/// How long it may pause.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// Longest body that is read as one document. Everything but measurements is written by people or
/// deployment tools, and parsed where it arrives.
const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// The memory of all bodies together: without it, as many bodies of the greatest length as there may
/// be requests would be held at once. When it is used up the request is told to come again.
#[derive(Clone, Debug)]
pub(crate) struct BodyMemory {
    kilobytes: Arc<Semaphore>,
}

/// Memory of bodies, kilobytes.
const MEMORY_KILOBYTES: usize = 256 * 1024;
/// The beginning of each body that is not counted: all of most of them. The limit of requests bounds
/// these.
pub(super) const UNCOUNTED_BYTES: usize = 64 * 1024;

impl BodyMemory {
    /// For bodies of up to `body_bytes_max`, of which at least two fit.
    pub(crate) fn new(body_bytes_max: usize) -> Self {
        let kilobytes = MEMORY_KILOBYTES.max(body_bytes_max / 1024 * 2);
        BodyMemory { kilobytes: Arc::new(Semaphore::new(kilobytes)) }
    }

    /// Adds `bytes` to what is held for a body.
    pub(super) fn take(
        &self,
        bytes: usize,
        held: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<(), Failure> {
        let kilobytes = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.kilobytes).try_acquire_many_owned(kilobytes);
        let more = more.map_err(|_| Failure::busy("too many large request bodies at once"))?;
        match held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }
}

/// A body and what it says it is.
pub(crate) struct Payload {
    /// The bytes.
    pub(crate) bytes: Bytes,
    media: Option<String>,
    /// Given back when the request is done.
    _held: Option<OwnedSemaphorePermit>,
}

impl Payload {
    /// Makes sure that the body says it is JSON. Parameters of the type do not matter.
    pub(crate) fn must_be_json(&self) -> Result<(), Failure> {
        match self.media.as_deref() {
            Some("application/json") => Ok(()),
            Some(_) | None => {
                Err(Failure::bad_request("Bad content type. Must be application/json"))
            }
        }
    }

    /// Makes sure that the body does not say it is something else than JSON.
    pub(crate) fn may_be_json(&self) -> Result<(), Failure> {
        match self.media.as_deref() {
            None => Ok(()),
            Some(media) if media.contains("json") => Ok(()),
            Some(_) => self.must_be_json(),
        }
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<serde_json::Value, Failure> {
        if self.bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(Failure::too_long(DOCUMENT_BYTES_MAX));
        }
        serde_json::from_slice(&self.bytes).map_err(|_| Failure::not_json())
    }
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().unwrap_or("unreadable");
    let media = value.split(';').next().unwrap_or_default().trim();
    Some(media.to_ascii_lowercase())
}

impl FromRequest<Arc<Services>> for Payload {
    type Rejection = Failure;

    async fn from_request(
        request: Request<Body>,
        services: &Arc<Services>,
    ) -> Result<Self, Failure> {
        Payload::receive(request, services, Accepted::OfHttp).await
    }
}

/// A body in an encoding of remote write.
pub(crate) struct RemoteWritePayload(pub(crate) Payload);

impl FromRequest<Arc<Services>> for RemoteWritePayload {
    type Rejection = Failure;

    async fn from_request(
        request: Request<Body>,
        services: &Arc<Services>,
    ) -> Result<Self, Failure> {
        Payload::receive(request, services, Accepted::OfRemoteWrite).await.map(RemoteWritePayload)
    }
}

/// Snappy blocks up to this many bytes are unpacked where they arrive, which takes about as long as to
/// copy them. Everything else goes to a thread of its own.
const SMALL_BLOCK_BYTES: usize = 256 * 1024;

impl Payload {
    /// Reads and unpacks the body of a request.
    async fn receive(
        request: Request<Body>,
        services: &Arc<Services>,
        accepted: Accepted,
    ) -> Result<Self, Failure> {
        let media = media_type(request.headers());
        let encoding = Encoding::of(request.headers(), accepted);
        let bytes_max = services.body_bytes_max;
        let encoding = match encoding {
            Ok(encoding) => encoding,
            Err(failure) => {
                if !request.headers().contains_key(header::EXPECT) {
                    throw_away(request.into_body(), bytes_max.saturating_mul(2)).await;
                }
                return Err(failure);
            }
        };
        let read = read(request, bytes_max, BODY_TIME, &services.bodies);
        let (packed, held) = read.await?;
        let (bytes, held) = match encoding {
            Encoding::Identity => (packed, held),
            Encoding::Snappy if packed.len() <= SMALL_BLOCK_BYTES => {
                unpack(encoding, &packed, bytes_max, &services.bodies)?
            }
            Encoding::Gzip | Encoding::Deflate | Encoding::Zstd | Encoding::Snappy => {
                let worker = Arc::clone(services);
                let call = move || {
                    let _held = held;
                    unpack(encoding, &packed, bytes_max, &worker.bodies)
                };
                services.decoders.run(call).await?
            }
        };
        Ok(Payload { bytes, media, _held: held })
    }
}

fn unpack(
    encoding: Encoding,
    packed: &[u8],
    bytes_max: usize,
    memory: &BodyMemory,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Failure> {
    let (bytes, held) = Unpacking { packed, bytes_max, memory }.run(encoding)?;
    Ok((bytes.into(), held))
}

/// Reads the body of `request`, for `time` and as long as its length allows besides. With it comes
/// the memory it holds.
async fn read(
    request: Request<Body>,
    bytes_max: usize,
    time: Duration,
    memory: &BodyMemory,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Failure> {
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let asks_first = request.headers().contains_key(header::EXPECT);
    if declared.is_some_and(|length| length > bytes_max) {
        if !asks_first {
            throw_away(request.into_body(), bytes_max.saturating_mul(2)).await;
        }
        return Err(Failure::too_long(bytes_max));
    }
    let began = Instant::now();
    let mut received: usize = 0;
    let mut body = request.into_body();
    let mut first = Bytes::new();
    let mut joined: Vec<u8> = Vec::new();
    let mut held = None;
    loop {
        let for_length = Duration::from_secs(received as u64 / BODY_RATE_MIN);
        let deadline = began + time + for_length;
        let frame = tokio::time::timeout_at(deadline, body.frame()).await;
        let frame = frame.map_err(|_| {
            let text = "the request body comes too slowly";
            Failure::new(StatusCode::REQUEST_TIMEOUT, "Request Timeout", text)
        })?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| Failure::bad_request("the request body breaks off"))?;
        let Ok(data) = frame.into_data() else { continue };
        received = received.saturating_add(data.len());
        if received > bytes_max {
            drop((first, joined, held));
            throw_away(body, bytes_max).await;
            return Err(Failure::too_long(bytes_max));
        }
        if received > UNCOUNTED_BYTES {
            memory.take(data.len(), &mut held)?;
        }
        // Most bodies come in one piece and need no copy.
        if first.is_empty() && joined.is_empty() {
            first = data;
        } else {
            if joined.is_empty() {
                // The system gives the memory as it is written to.
                joined.reserve_exact(declared.unwrap_or_default().min(bytes_max));
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&data);
        }
    }
    Ok((if joined.is_empty() { first } else { joined.into() }, held))
}

/// Reads up to `bytes` of a body that is refused. Most clients read no answer before they have sent
/// everything, and take a connection that is closed under them for a failure of the network. One
/// that sends nothing more waits for the answer.
async fn throw_away(mut body: Body, bytes: usize) {
    let mut left = bytes;
    let reading = async {
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(REFUSED_PAUSE, body.frame()).await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            left = match left.checked_sub(length) {
                Some(left) => left,
                None => return,
            };
        }
    };
    // What has not come by then is left unread.
    let _ = tokio::time::timeout(REFUSED_TIME, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &'static str, headers: &[(&'static str, &'static str)]) -> Request<Body> {
        let mut request = Request::new(Body::from(body));
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        request
    }

    #[tokio::test]
    async fn bodies_are_bounded() {
        let check =
            async |body, headers: &[(&'static str, &'static str)], want: Result<&str, u16>| {
                let got = read(request(body, headers), 5, BODY_TIME, &BodyMemory::new(5)).await;
                let got = got.map(|(bytes, _)| bytes);
                assert_eq!(got.as_deref().map_err(|f| f.status.as_u16()), want.map(str::as_bytes));
            };
        check("12345", &[], Ok("12345")).await;
        check("", &[], Ok("")).await;
        check("123456", &[], Err(413)).await;
        check("123456", &[("content-length", "6")], Err(413)).await;
        check("", &[("content-length", "6"), ("expect", "100-continue")], Err(413)).await;
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_is_given_up() {
        let stream = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let request = Request::new(Body::from_stream(stream));
        let got = read(request, 5, Duration::ZERO, &BodyMemory::new(5)).await;
        assert_eq!(got.unwrap_err().status.as_u16(), 408);
    }

    #[tokio::test]
    async fn a_body_that_is_a_little_too_long_is_read_to_its_end() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let check = async |pieces: usize, want: usize| {
            let taken = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&taken);
            let pieces = (0..pieces).map(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
                Ok::<_, std::io::Error>(Bytes::from_static(b"12"))
            });
            let request = Request::new(Body::from_stream(futures_util::stream::iter(pieces)));
            let got = read(request, 5, BODY_TIME, &BodyMemory::new(5)).await;
            assert_eq!(got.unwrap_err().status.as_u16(), 413);
            assert_eq!(taken.load(Ordering::Relaxed), want);
        };
        check(3, 3).await;
        check(5, 5).await;
        check(1000, 6).await;
    }

    #[tokio::test]
    async fn large_bodies_share_their_memory() {
        const LONG: usize = 100 * 1024;
        let memory = BodyMemory { kilobytes: Arc::new(Semaphore::new(150)) };
        let read = async |bytes| {
            let request = Request::new(Body::from(vec![b'x'; bytes]));
            read(request, LONG, BODY_TIME, &memory).await
        };
        let first = read(LONG).await.unwrap();
        let refused = read(LONG).await.unwrap_err();
        assert_eq!(refused.status.as_u16(), 503);
        assert!(refused.header.is_some_and(|header| header.0 == header::RETRY_AFTER));
        // Small ones go on.
        assert!(read(64 * 1024).await.is_ok());
        drop(first);
        assert!(read(LONG).await.is_ok());
    }

    #[test]
    fn documents_are_shorter_than_bodies() {
        let json = |bytes: usize| {
            let bytes = Bytes::from(format!("\"{}\"", "x".repeat(bytes - 2)));
            Payload { bytes, media: None, _held: None }.json().map_err(|f| f.status.as_u16())
        };
        assert!(json(DOCUMENT_BYTES_MAX).is_ok());
        assert_eq!(json(DOCUMENT_BYTES_MAX + 1), Err(413));
    }

    #[test]
    fn media_types_are_compared_without_parameters() {
        let check = |media: Option<&'static str>, must: bool, may: bool| {
            let headers: &[_] = &media.map_or(vec![], |media| vec![("content-type", media)]);
            let media = media_type(request("", headers).headers());
            let payload = Payload { bytes: Bytes::new(), media, _held: None };
            assert_eq!(payload.must_be_json().is_ok(), must);
            assert_eq!(payload.may_be_json().is_ok(), may);
        };
        check(Some("application/json"), true, true);
        check(Some("Application/JSON ; charset=utf-8"), true, true);
        check(Some("application/json-patch+json"), false, true);
        check(Some("text/plain"), false, false);
        check(None, false, true);
    }
}

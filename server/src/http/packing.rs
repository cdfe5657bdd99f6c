//! Answers packed with gzip, for clients that say they take it.
//!
//! A long answer is packed while it is sent, a piece at a time, so that no thread is held for the whole of it
//! and the client has the first piece early.

use std::io::{self, Write};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use http_body_util::BodyExt;

/// What is shorter fits into a packet of the network as it is.
const BYTES_MIN: u64 = 1400;
/// What is packed in one go: less than a millisecond of work.
const PIECE_BYTES: usize = 64 * 1024;

/// Whether the client takes gzip.
pub(super) fn is_welcome(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let items = values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let (mut named, mut any) = (None, None);
    for item in items {
        let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
        let welcome = !is_refused(parameters);
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => named = Some(welcome),
            "*" => any = Some(welcome),
            _ => {}
        }
    }
    named.or(any).unwrap_or(false)
}

/// Whether a weight says never: `q=0`.
fn is_refused(parameters: &str) -> bool {
    let weight = parameters.split(';').find_map(|p| p.trim().strip_prefix("q="));
    weight.is_some_and(|weight| weight.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0))
}

/// Packs an answer if that is worth it, and says that it depends on what the client takes.
pub(super) async fn pack(
    welcome: bool,
    method: &Method,
    response: Response<Body>,
) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let is_whole = |bytes: u64| bytes >= BYTES_MIN;
    let worth_it = body.size_hint().exact().is_some_and(is_whole)
        && *method != Method::HEAD
        && parts.status != StatusCode::PARTIAL_CONTENT
        && !parts.headers.contains_key(header::CONTENT_ENCODING);
    if !worth_it {
        return Response::from_parts(parts, body);
    }
    parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if !welcome {
        return Response::from_parts(parts, body);
    }
    // It is whole in memory, so this waits for nothing.
    let Ok(whole) = body.collect().await else {
        return Response::from_parts(parts, Body::empty());
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    let packing = Packing { rest: whole.to_bytes(), encoder: Some(encoder()) };
    let pieces = stream::unfold(packing, async |mut packing| {
        let piece = packing.next()?;
        Some((piece, packing))
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// An answer of which a part has been sent.
struct Packing {
    rest: Bytes,
    /// Until the last piece.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

/// The quickest level: networks that are slower than it, and no others, gain by packing.
fn encoder() -> GzEncoder<Vec<u8>> {
    GzEncoder::new(Vec::new(), Compression::fast())
}

impl Packing {
    /// The next piece that is not empty; none after the last.
    fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            let mut encoder = self.encoder.take()?;
            let piece = self.rest.split_to(PIECE_BYTES.min(self.rest.len()));
            if piece.is_empty() {
                return Some(encoder.finish().map(Bytes::from));
            }
            if let Err(error) = encoder.write_all(&piece) {
                return Some(Err(error));
            }
            let packed = std::mem::take(encoder.get_mut());
            self.encoder = Some(encoder);
            if !packed.is_empty() {
                return Some(Ok(packed.into()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn clients_say_what_they_take() {
        let check = |values: &[&'static str], want: bool| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(is_welcome(&headers), want, "{values:?}");
        };
        check(&[], false);
        check(&["gzip, deflate"], true);
        check(&["deflate, GZIP;q=0.5"], true);
        check(&["br", "x-gzip"], true);
        check(&["*"], true);
        check(&["*, gzip;q=0"], false);
        check(&["gzip; q=0.000"], false);
        check(&["*;q=0"], false);
        check(&["identity", "deflate"], false);
    }

    async fn packed(welcome: bool, method: Method, body: String) -> (Option<HeaderValue>, Vec<u8>) {
        let response = pack(welcome, &method, Response::new(Body::from(body))).await;
        let encoding = response.headers().get(header::CONTENT_ENCODING).cloned();
        (encoding, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    #[tokio::test]
    async fn what_is_packed_unpacks_to_the_same() {
        for length in [1400, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES - 1] {
            let body: String = (0..).map(|n: u32| n.to_string()).take(length).collect();
            let body = body.get(..length).unwrap().to_owned();
            let (encoding, bytes) = packed(true, Method::GET, body.clone()).await;
            assert_eq!(encoding, Some(HeaderValue::from_static("gzip")));
            assert!(bytes.len() < length, "{} of {length}", bytes.len());
            let mut again = String::new();
            flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut again).unwrap();
            assert_eq!(again, body);
        }
        for (welcome, method, length) in
            [(false, Method::GET, 9000), (true, Method::HEAD, 9000), (true, Method::GET, 1399)]
        {
            let body = "x".repeat(length);
            let (encoding, bytes) = packed(welcome, method, body.clone()).await;
            assert_eq!((encoding, bytes), (None, body.into_bytes()));
        }
    }
}

//! Content encodings of request bodies: gzip, deflate, zstd, and the snappy blocks of remote write.
//!
//! What unpacks is bounded before it is unpacked: by the longest body, by the memory of all bodies, and
//! by how much more it may be than what was sent. Only one encoding is undone: several in a row are how
//! a small body is made into an enormous one, and no client needs them.

use std::io::Read;

use axum::http::{HeaderMap, StatusCode, header};
use tokio::sync::OwnedSemaphorePermit;

use super::body::{BodyMemory, UNCOUNTED_BYTES};
use crate::status::Failure;

/// Bytes that are unpacked between two looks at the limits.
const STEP_BYTES: u64 = 64 * 1024;
/// A body may be this many times as long as what was sent. Metrics of an agent that repeats itself reach
/// 60; a bomb of gzip has 1000, one of zstd far more.
const RATIO_MAX: usize = 250;
/// So much may come out whatever was sent.
const HARMLESS_BYTES: usize = 1024 * 1024;
/// The largest window of zstd, 8 MiB, as RFC 9659 has it. The window is memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// The most that snappy makes of a byte, rounded up: three bytes repeat 64.
const SNAPPY_RATIO_MAX: usize = 22;

/// How a body is packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
    /// One block, as in remote write; not the framed format.
    Snappy,
}

/// Which encodings a resource takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Accepted {
    /// Those that HTTP knows.
    OfHttp,
    /// Those, and snappy blocks: this is how a body is packed that does not say how.
    OfRemoteWrite,
}

impl Encoding {
    /// What the headers of a request say.
    pub(crate) fn of(headers: &HeaderMap, accepted: Accepted) -> Result<Self, Failure> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let (first, second) = (values.next(), values.next());
        let Some(value) = first else {
            return Ok(match accepted {
                Accepted::OfHttp => Encoding::Identity,
                Accepted::OfRemoteWrite => Encoding::Snappy,
            });
        };
        let name = value.to_str().unwrap_or("unreadable").trim().to_ascii_lowercase();
        if second.is_some() || name.contains(',') {
            return Err(unsupported("a body is packed once, with one Content-Encoding".to_owned()));
        }
        match (name.as_str(), accepted) {
            ("identity" | "", _) => Ok(Encoding::Identity),
            ("gzip" | "x-gzip", _) => Ok(Encoding::Gzip),
            ("deflate", _) => Ok(Encoding::Deflate),
            ("zstd", _) => Ok(Encoding::Zstd),
            ("snappy", Accepted::OfRemoteWrite) => Ok(Encoding::Snappy),
            (_, Accepted::OfHttp) => {
                Err(unsupported(format!("{name:?} is not among gzip, deflate, zstd, identity")))
            }
            (_, Accepted::OfRemoteWrite) => {
                let known = "snappy, gzip, deflate, zstd, identity";
                Err(unsupported(format!("{name:?} is not among {known}")))
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
            Encoding::Deflate => "deflate",
            Encoding::Zstd => "zstd",
            Encoding::Snappy => "snappy",
        }
    }
}

fn unsupported(what: String) -> Failure {
    let text = format!("the Content-Encoding is not one this resource takes: {what}");
    Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type", text)
}

/// A body that is being unpacked, and its limits.
pub(crate) struct Unpacking<'a> {
    /// What was sent.
    pub(crate) packed: &'a [u8],
    pub(crate) bytes_max: usize,
    pub(crate) memory: &'a BodyMemory,
}

/// A body with the memory it holds.
type Unpacked = (Vec<u8>, Option<OwnedSemaphorePermit>);

impl Unpacking<'_> {
    /// Unpacks it all.
    pub(crate) fn run(&self, encoding: Encoding) -> Result<Unpacked, Failure> {
        let packed = self.packed;
        match encoding {
            Encoding::Identity => self.unpack(encoding, packed),
            Encoding::Gzip => self.unpack(encoding, flate2::bufread::MultiGzDecoder::new(packed)),
            Encoding::Deflate if is_zlib(packed) => {
                self.unpack(encoding, flate2::bufread::ZlibDecoder::new(packed))
            }
            Encoding::Deflate => {
                self.unpack(encoding, flate2::bufread::DeflateDecoder::new(packed))
            }
            Encoding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)
                    .map_err(|_| not_whole(encoding))?;
                decoder
                    .window_log_max(ZSTD_WINDOW_LOG_MAX)
                    .map_err(|_| Failure::unavailable("zstd cannot be set up"))?;
                self.unpack(encoding, decoder)
            }
            Encoding::Snappy => self.unpack_block(),
        }
    }

    /// Reads `source` to its end, or to a limit.
    fn unpack(&self, encoding: Encoding, mut source: impl Read) -> Result<Unpacked, Failure> {
        let (mut out, mut held) = (Vec::new(), None);
        let ratio_max = self.packed.len().saturating_mul(RATIO_MAX).max(HARMLESS_BYTES);
        loop {
            let before = out.len();
            let step = source.by_ref().take(STEP_BYTES).read_to_end(&mut out);
            step.map_err(|_| not_whole(encoding))?;
            let more = out.len() - before;
            if more == 0 {
                return Ok((out, held));
            }
            if out.len() > self.bytes_max {
                return Err(Failure::too_long(self.bytes_max));
            }
            if out.len() > ratio_max {
                return Err(Failure::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "Request body too large",
                    format!(
                        "the {} body unpacks to over {RATIO_MAX} times its length",
                        encoding.name()
                    ),
                ));
            }
            if out.len() > UNCOUNTED_BYTES {
                self.memory.take(more, &mut held)?;
            }
        }
    }

    /// A snappy block says at once how long it is unpacked.
    fn unpack_block(&self) -> Result<Unpacked, Failure> {
        let wrong = |_| not_whole(Encoding::Snappy);
        let length = snap::raw::decompress_len(self.packed).map_err(wrong)?;
        if length > self.packed.len().saturating_mul(SNAPPY_RATIO_MAX) {
            return Err(not_whole(Encoding::Snappy));
        }
        if length > self.bytes_max {
            return Err(Failure::too_long(self.bytes_max));
        }
        let mut held = None;
        if length > UNCOUNTED_BYTES {
            self.memory.take(length, &mut held)?;
        }
        let out = snap::raw::Decoder::new().decompress_vec(self.packed).map_err(wrong)?;
        Ok((out, held))
    }
}

fn not_whole(encoding: Encoding) -> Failure {
    let name = encoding.name();
    Failure::bad_request(format!("the request body is not {name}, or not whole, as it says it is"))
}

/// Whether a deflate body has the header that HTTP asks for. Many clients leave it away.
fn is_zlib(packed: &[u8]) -> bool {
    match packed {
        [method, flags, ..] => {
            method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;

    use super::*;

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

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::DeflateEncoder::new(Vec::new(), Compression::default());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 3).unwrap()
    }

    fn snappy(bytes: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(bytes).unwrap()
    }

    type Packer = fn(&[u8]) -> Vec<u8>;

    const ALL: [(Encoding, Packer); 5] = [
        (Encoding::Gzip, gzip),
        (Encoding::Deflate, zlib),
        (Encoding::Deflate, deflate),
        (Encoding::Zstd, zstd),
        (Encoding::Snappy, snappy),
    ];

    fn unpack(encoding: Encoding, packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, u16> {
        let memory = BodyMemory::new(bytes_max);
        let unpacked = Unpacking { packed, bytes_max, memory: &memory }.run(encoding);
        unpacked.map(|(bytes, _)| bytes).map_err(|failure| failure.status.as_u16())
    }

    /// Text that does not become much shorter.
    fn text(bytes: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b' ' + u8::try_from(state >> 26).unwrap()
        };
        std::iter::repeat_with(next).take(bytes).collect()
    }

    #[test]
    fn every_encoding_gives_back_what_was_packed() {
        for (encoding, pack) in ALL {
            for length in [0, 1, 1000, 64 * 1024, 300_000] {
                let body = text(length);
                let packed = pack(&body);
                assert_eq!(unpack(encoding, &packed, 300_000), Ok(body), "{encoding:?} {length}");
            }
        }
        let twice = [gzip(b"ab"), gzip(b"cd")].concat();
        assert_eq!(unpack(Encoding::Gzip, &twice, 9), Ok(b"abcd".to_vec()));
    }

    #[test]
    fn what_unpacks_to_more_than_a_body_may_have_is_refused() {
        for (encoding, pack) in ALL {
            let packed = pack(&text(1001));
            assert_eq!(unpack(encoding, &packed, 1000), Err(413), "{encoding:?}");
        }
    }

    #[test]
    fn bombs_are_refused_by_their_ratio() {
        let bomb = vec![b' '; 20 << 20];
        for (encoding, pack) in ALL {
            let packed = pack(&bomb);
            let want = if encoding == Encoding::Snappy { Ok(bomb.clone()) } else { Err(413) };
            assert_eq!(unpack(encoding, &packed, 32 << 20), want, "{encoding:?} {}", packed.len());
        }
        // A length that no snappy block of this length has is not believed.
        assert_eq!(unpack(Encoding::Snappy, &[0x80, 0x80, 0x40, 0, 0], 32 << 20), Err(400));
        // A little that is very regular harms nobody.
        let regular = vec![b' '; HARMLESS_BYTES];
        assert_eq!(unpack(Encoding::Zstd, &zstd(&regular), 32 << 20), Ok(regular));
    }

    #[test]
    fn a_window_that_takes_too_much_memory_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(ZSTD_WINDOW_LOG_MAX + 1).unwrap();
        encoder.write_all(&text(1 << 20)).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(unpack(Encoding::Zstd, &packed, 32 << 20), Err(400));
    }

    #[test]
    fn what_is_wrong_or_cut_off_is_refused() {
        for (encoding, pack) in ALL {
            assert_eq!(unpack(encoding, b"\xff\xffnothing packed", 1000), Err(400), "{encoding:?}");
            let packed = pack(&text(5000));
            let cut = packed.get(..packed.len() / 2).unwrap();
            assert_eq!(unpack(encoding, cut, 10_000), Err(400), "{encoding:?}");
        }
    }

    #[test]
    fn what_unpacks_shares_the_memory_of_bodies() {
        let memory = BodyMemory::new(64 * 1024);
        let body = text(200 << 20 >> 4);
        let packed = zstd(&body);
        let unpack = || {
            Unpacking { packed: &packed, bytes_max: body.len(), memory: &memory }
                .run(Encoding::Zstd)
        };
        let mut held = Vec::new();
        let refused = loop {
            match unpack() {
                Ok((_, permit)) => held.push(permit),
                Err(failure) => break failure,
            }
            assert!(held.len() < 1000);
        };
        assert_eq!(refused.status.as_u16(), 503);
        drop(held);
        assert!(unpack().is_ok());
    }

    #[test]
    fn encodings_are_named_by_one_header() {
        let check = |values: &[&str], accepted: Accepted, want: Result<Encoding, u16>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, value.parse().unwrap());
            }
            let got = Encoding::of(&headers, accepted).map_err(|failure| failure.status.as_u16());
            assert_eq!(got, want, "{values:?}");
        };
        use Accepted::{OfHttp, OfRemoteWrite};
        check(&[], OfHttp, Ok(Encoding::Identity));
        check(&[], OfRemoteWrite, Ok(Encoding::Snappy));
        for accepted in [OfHttp, OfRemoteWrite] {
            check(&["identity"], accepted, Ok(Encoding::Identity));
            check(&["GZip"], accepted, Ok(Encoding::Gzip));
            check(&["x-gzip"], accepted, Ok(Encoding::Gzip));
            check(&["deflate"], accepted, Ok(Encoding::Deflate));
            check(&[" zstd "], accepted, Ok(Encoding::Zstd));
            check(&["br"], accepted, Err(415));
            check(&["gzip, gzip"], accepted, Err(415));
            check(&["gzip", "identity"], accepted, Err(415));
        }
        check(&["snappy"], OfRemoteWrite, Ok(Encoding::Snappy));
        check(&["snappy"], OfHttp, Err(415));
        let mut headers = HeaderMap::new();
        headers.append(header::CONTENT_ENCODING, "br".parse().unwrap());
        let failure = Encoding::of(&headers, OfHttp).unwrap_err();
        assert!(failure.description.contains("gzip, deflate, zstd"), "{}", failure.description);
    }
}

//! Columns as `pco` chunks: values in quantile bins, the bins entropy-coded.
//!
//! A column is one chunk of one page of `pco`'s wrapped format, without its two-byte file header:
//! the version is fixed here, and the number of values is known to whoever reads the block.
//!
//! `pco` reads hostile bytes without harm but allocates what a chunk's first bytes ask for, up to
//! some 256 MB. [`affordable`] looks at those bits first.

use pco::ChunkConfig;
use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};

use super::input::Malformed;

/// The file header this format leaves out.
const FORMAT: [u8; 2] = [4, 1];

/// `pco`'s window of earlier values that may be repeated: its encoder never asks for more.
const WINDOW_LOG_MAX: u64 = 15;

/// `pco`'s level. On cloud metrics, 8 is 0.1 % smaller and takes a third longer; 6 is 0.8 % larger.
const LEVEL: usize = 7;

/// How long the parts of a chunk are.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkLen {
    /// What a chunk of any number of like values costs.
    meta: usize,
    /// What grows with the values.
    page: usize,
}

impl ChunkLen {
    /// Bytes of a chunk of `count` values like the `sampled` ones of this one.
    pub(super) fn scaled(self, sampled: usize, count: usize) -> usize {
        self.meta + self.page * count / sampled.max(1)
    }
}

/// Appends the chunk, or nothing when `pco` refuses the column.
pub(super) fn compress<T: Number>(column: &[T], out: &mut Vec<u8>) -> Option<ChunkLen> {
    let start = out.len();
    let lens = try_compress(column, out);
    if lens.is_none() {
        out.truncate(start);
    }
    lens
}

fn try_compress<T: Number>(column: &[T], out: &mut Vec<u8>) -> Option<ChunkLen> {
    let start = out.len();
    let file = FileCompressor::default();
    let config = ChunkConfig::default().with_compression_level(LEVEL);
    let mut chunk = file.chunk_compressor(column, &config).ok()?;
    chunk.write_meta(&mut *out).ok()?;
    let meta = out.len() - start;
    chunk.write_page(0, &mut *out).ok()?;
    Some(ChunkLen { meta, page: out.len() - start - meta })
}

/// Appends the `count` values of a chunk.
pub(super) fn decompress<T: Number>(
    bytes: &[u8],
    count: usize,
    out: &mut Vec<T>,
) -> Result<(), Malformed> {
    if !affordable(bytes) {
        return Err(Malformed);
    }
    let (file, _) = FileDecompressor::new(FORMAT.as_slice()).map_err(|_| Malformed)?;
    let (mut chunk, bytes) = file.chunk_decompressor::<T, _>(bytes).map_err(|_| Malformed)?;
    let mut page = chunk.page_decompressor(bytes, count).map_err(|_| Malformed)?;
    let start = out.len();
    out.resize(start + count, T::default());
    let progress = page.read(out.get_mut(start..).ok_or(Malformed)?).map_err(|_| Malformed)?;
    if progress.finished && page.into_src().is_empty() { Ok(()) } else { Err(Malformed) }
}

/// Whether a chunk asks for no more memory than our own chunks do: no dictionary, which we never
/// write, and a small window.
fn affordable(bytes: &[u8]) -> bool {
    let mode = bits(bytes, 0, 4);
    let delta = match mode {
        0 => 4,
        1 | 2 => 4 + 64,
        3 => 4 + 8,
        _ => return false,
    };
    match bits(bytes, delta, 4) {
        0 | 1 => true,
        2 => bits(bytes, delta + 4, 5) < WINDOW_LOG_MAX,
        _ => false,
    }
}

/// `count` bits at bit `from`, lowest first; zero past the end, where `pco` itself objects.
fn bits(bytes: &[u8], from: usize, count: usize) -> u64 {
    (0..count).fold(0, |value, place| {
        let bit = from + place;
        let byte = bytes.get(bit / 8).copied().unwrap_or(0);
        value | u64::from(byte >> (bit % 8) & 1) << place
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new `pco` that writes another format must not change ours unnoticed.
    #[test]
    fn pco_writes_the_format_this_file_names() {
        let header = FileCompressor::default().write_header(Vec::new()).unwrap();
        assert_eq!(header, FORMAT);
    }

    /// A dictionary or a window of 2²⁴ values is a quarter of a gigabyte for a few bytes.
    #[test]
    fn a_chunk_that_asks_for_much_is_refused() {
        let cases: [(&str, [u8; 3], bool); 7] = [
            ("classic, no deltas", [0x00, 0, 0], true),
            ("classic, first order", [0x10, 0x01, 0], true),
            ("classic, a window of 2^15", [0x20, 14, 0], true),
            ("classic, a window of 2^16", [0x20, 15, 0], false),
            ("classic, a convolution", [0x30, 0, 0], false),
            ("quantised, a window of 2^32", [0x03, 0x20, 31], false),
            ("a dictionary", [0x04, 0, 0], false),
        ];
        for (case, bytes, want) in cases {
            assert_eq!(affordable(&bytes), want, "{case}");
            if !want {
                assert_eq!(
                    decompress::<f64>(&bytes, 10, &mut Vec::new()),
                    Err(Malformed),
                    "{case}"
                );
            }
        }
    }

    /// The largest window that `pco` writes, which a column that repeats itself may get, is read.
    #[test]
    fn the_largest_window_of_pco_is_read() {
        let column: Vec<i64> =
            (0..65_536).map(|place| place * place % 40_009 * 1_000_003).collect();
        let config = ChunkConfig::default()
            .with_mode_spec(pco::ModeSpec::Classic)
            .with_delta_spec(pco::DeltaSpec::TryLookback);
        let file = FileCompressor::default();
        let mut chunk = file.chunk_compressor(&column, &config).unwrap();
        let mut bytes = chunk.write_meta(Vec::new()).unwrap();
        chunk.write_page(0, &mut bytes).unwrap();
        assert_eq!(bits(&bytes, 4, 4), 2, "looks back");
        assert_eq!(bits(&bytes, 8, 5) + 1, WINDOW_LOG_MAX);
        let mut out = Vec::<i64>::new();
        decompress(&bytes, column.len(), &mut out).unwrap();
        assert!(out == column);
    }
}

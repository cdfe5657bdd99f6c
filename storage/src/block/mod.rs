//! Blocks: sealed, checksummed columns, the unit of decoding. A [`row`] block holds consecutive rows
//! of many series, a [`series`] block holds samples of one.

mod metas;
pub(crate) mod row;
pub(crate) mod series;

/// Most rows in a row block.
pub(crate) const ROW_BLOCK_ROWS_MAX: usize = 8192;
/// Fewer samples of a series than this stay in row blocks when segments are merged.
pub(crate) const SERIES_BLOCK_SAMPLES_MIN: usize = 128;
/// Most samples in a series block.
pub(crate) const SERIES_BLOCK_SAMPLES_MAX: usize = 16_384;
/// Samples in a series block where a series has more: long enough for the codecs to reach their best
/// ratio, short enough that decoding one block for a small window stays cheap.
pub(crate) const SERIES_BLOCK_SAMPLES: usize = 4096;
const _: () = assert!(SERIES_BLOCK_SAMPLES + SERIES_BLOCK_SAMPLES_MIN <= SERIES_BLOCK_SAMPLES_MAX);

/// A block is closed when its `value_meta` have so many bytes: far below what a reader accepts.
pub(crate) const BLOCK_META_BYTES: usize = 8 << 20;

/// Length of the checksum that ends every part.
pub(crate) const CRC_LEN: usize = 4;

/// Appends the CRC-32 of everything from `start` on.
pub(crate) fn seal(out: &mut Vec<u8>, start: usize) {
    let crc = crc32fast::hash(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_le_bytes());
}

/// The bytes before the checksum, if it is right.
pub(crate) fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (body, crc) = bytes.split_last_chunk::<CRC_LEN>()?;
    (u32::from_le_bytes(*crc) == crc32fast::hash(body)).then_some(body)
}

/// Splits the first `N` length-prefixed parts off: `N` lengths (u32, little-endian), then the parts,
/// and nothing after them.
pub(crate) fn split_parts<const N: usize>(bytes: &[u8]) -> Option<[&[u8]; N]> {
    let (lengths, mut rest) = bytes.split_at_checked(N * size_of::<u32>())?;
    let mut parts = [&[][..]; N];
    for (part, length) in parts.iter_mut().zip(lengths.as_chunks::<4>().0) {
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        (*part, rest) = rest.split_at_checked(length)?;
    }
    rest.is_empty().then_some(parts)
}

/// Appends `parts` as [`split_parts`] reads them.
pub(crate) fn join_parts(parts: &[&[u8]], out: &mut Vec<u8>) {
    for part in parts {
        let length = u32::try_from(part.len()).expect("a part is far below 4 GiB");
        out.extend_from_slice(&length.to_le_bytes());
    }
    for part in parts {
        out.extend_from_slice(part);
    }
}

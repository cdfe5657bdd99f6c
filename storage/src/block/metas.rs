//! `value_meta` of a block's samples: rare, so a block without any spends nothing on it.
//!
//! Layout: form u8 (0 plain, 1 zstd), then the body: count u32, count × index u32, count × length
//! u32, the texts. Compressed bodies are preceded by their plain length, u32.

use super::BLOCK_META_BYTES;
use crate::model::ValueMeta;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// Bodies below this are not worth compressing.
const ZSTD_BYTES_MIN: usize = 256;
const ZSTD_LEVEL: i32 = 3;
/// Longest body that is read back. A writer closes a block at half of it, and one more text and the
/// indexes of a whole block are far less than the other half.
const BODY_BYTES_MAX: usize = 2 * BLOCK_META_BYTES;

pub(crate) fn encode(metas: &[(u32, ValueMeta)], out: &mut Vec<u8>) {
    if metas.is_empty() {
        return;
    }
    let count = |n: usize| u32::try_from(n).expect("a block is far below 4 GiB").to_le_bytes();
    let mut body = Vec::new();
    body.extend_from_slice(&count(metas.len()));
    for (index, _) in metas {
        body.extend_from_slice(&index.to_le_bytes());
    }
    for (_, meta) in metas {
        body.extend_from_slice(&count(meta.text().len()));
    }
    for (_, meta) in metas {
        body.extend_from_slice(meta.text().as_bytes());
    }
    if body.len() >= ZSTD_BYTES_MIN
        && let Ok(packed) = zstd::bulk::compress(&body, ZSTD_LEVEL)
        && packed.len() + 4 < body.len()
    {
        out.push(ZSTD);
        out.extend_from_slice(&count(body.len()));
        out.extend_from_slice(&packed);
    } else {
        out.push(PLAIN);
        out.extend_from_slice(&body);
    }
}

/// Reads what [`encode`] wrote; `None` if the bytes are not that, or an index is not below `rows`.
pub(crate) fn decode(bytes: &[u8], rows: usize) -> Option<Vec<(u32, ValueMeta)>> {
    let Some((&form, body)) = bytes.split_first() else { return Some(Vec::new()) };
    match form {
        PLAIN => decode_body(body, rows),
        ZSTD => {
            let (length, packed) = body.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            if length > BODY_BYTES_MAX {
                return None;
            }
            decode_body(&zstd::bulk::decompress(packed, length).ok()?, rows)
        }
        _ => None,
    }
}

fn decode_body(body: &[u8], rows: usize) -> Option<Vec<(u32, ValueMeta)>> {
    let (count, body) = body.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    if count > rows {
        return None;
    }
    let (indexes, body) = body.split_at_checked(count * 4)?;
    let (lengths, mut texts) = body.split_at_checked(count * 4)?;
    let mut metas = Vec::with_capacity(count);
    for (index, length) in indexes.as_chunks::<4>().0.iter().zip(lengths.as_chunks::<4>().0) {
        let index = u32::from_le_bytes(*index);
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (text, rest) = texts.split_at_checked(length)?;
        texts = rest;
        let ascending = metas.last().is_none_or(|(before, _)| *before < index);
        if !ascending || usize::try_from(index).ok()? >= rows {
            return None;
        }
        metas.push((index, ValueMeta::new(std::str::from_utf8(text).ok()?)?));
    }
    texts.is_empty().then_some(metas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metas_round_trip_plain_and_compressed() {
        for copies in [0, 1, 50] {
            let metas: Vec<(u32, ValueMeta)> =
                (0..copies).map(|i| (i * 2, ValueMeta::new("{\"rc\":\"404\"}").unwrap())).collect();
            let mut bytes = Vec::new();
            encode(&metas, &mut bytes);
            assert_eq!(decode(&bytes, 100), Some(metas));
            assert!(copies == 0 || decode(&bytes, 1).is_none() || copies == 1);
        }
    }
}

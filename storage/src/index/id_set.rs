//! Sets of series ids as RocksDB stores them: posting lists and activity.
//!
//! A stored value is a kind byte and its body. Writers only ever add operands, small sorted lists or
//! bitmaps; RocksDB unites them, when it reads and in the background, into one bitmap.

use roaring::RoaringBitmap;

use crate::error::Error;

/// The ids as little-endian u32, one after the other.
const KIND_LIST: u8 = 1;
/// A roaring bitmap in the portable format.
const KIND_BITMAP: u8 = 2;
/// Sets of up to so many ids are stored as a list.
const LIST_IDS_MAX: u64 = 64;

pub(crate) fn encode_list(ids: &[u32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + ids.len() * 4);
    out.push(KIND_LIST);
    for id in ids {
        out.extend_from_slice(&id.to_le_bytes());
    }
    out
}

pub(crate) fn encode_bitmap(ids: &RoaringBitmap) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + ids.serialized_size());
    out.push(KIND_BITMAP);
    ids.serialize_into(&mut out).expect("writing to memory does not fail");
    out
}

pub(crate) fn decode(bytes: &[u8]) -> Result<RoaringBitmap, Error> {
    union([bytes]).ok_or_else(|| Error::corrupt("set of series ids", "posting"))
}

fn unite(ids: &mut RoaringBitmap, bytes: &[u8]) -> Option<()> {
    let (&kind, body) = bytes.split_first()?;
    match kind {
        KIND_LIST => {
            let (list, rest) = body.as_chunks::<4>();
            if !rest.is_empty() {
                return None;
            }
            ids.extend(list.iter().map(|id| u32::from_le_bytes(*id)));
        }
        KIND_BITMAP => *ids |= RoaringBitmap::deserialize_from(body).ok()?,
        _ => return None,
    }
    Some(())
}

/// The union of several stored sets; `None` if one of them does not decode.
pub(crate) fn union<'a>(sets: impl IntoIterator<Item = &'a [u8]>) -> Option<RoaringBitmap> {
    let mut ids = RoaringBitmap::new();
    for bytes in sets {
        unite(&mut ids, bytes)?;
    }
    Some(ids)
}

/// How many ids a stored set holds.
pub(crate) fn count(bytes: &[u8]) -> Result<u64, Error> {
    match bytes.split_first() {
        // The operator that unites operands leaves no id twice, nor does a single operand have one.
        Some((&KIND_LIST, body)) if body.len() % 4 == 0 => {
            Ok(u64::try_from(body.len() / 4).unwrap_or(u64::MAX))
        }
        _ => Ok(decode(bytes)?.len()),
    }
}

/// Many stored sets, gathered into one. Ids of short lists are sorted together at the end: a bitmap
/// that takes scattered ids one by one searches its containers for each.
#[derive(Default)]
pub(crate) struct Gathered {
    loose: Vec<u32>,
    sets: RoaringBitmap,
}

impl Gathered {
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match bytes.split_first() {
            Some((&KIND_LIST, body)) if body.len() % 4 == 0 => {
                let (list, _) = body.as_chunks::<4>();
                self.loose.extend(list.iter().map(|id| u32::from_le_bytes(*id)));
            }
            _ => self.sets |= decode(bytes)?,
        }
        Ok(())
    }

    pub(crate) fn into_set(mut self) -> RoaringBitmap {
        self.loose.sort_unstable();
        self.loose.dedup();
        let loose = RoaringBitmap::from_sorted_iter(self.loose).unwrap_or_default();
        self.sets | loose
    }
}

/// The shorter of the two forms.
pub(crate) fn encode(ids: &RoaringBitmap) -> Vec<u8> {
    if ids.len() <= LIST_IDS_MAX {
        encode_list(&ids.iter().collect::<Vec<_>>())
    } else {
        encode_bitmap(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_bitmaps_decode_to_the_same_set_and_garbage_does_not() {
        let ids = [1, 5, 70_000];
        let set: RoaringBitmap = ids.into_iter().collect();
        assert_eq!(decode(&encode_list(&ids)).unwrap(), set);
        assert_eq!(decode(&encode_bitmap(&set)).unwrap(), set);
        for garbage in [&b""[..], b"\x07", b"\x01abc", b"\x02abc"] {
            assert!(decode(garbage).is_err(), "{garbage:?}");
        }
    }
}

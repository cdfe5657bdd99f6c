//! The form in which RocksDB writes its log and its list of files: blocks of 32 KiB with records,
//! each with a checksum, its length and its type. Read here only to name the place of a damage, which
//! RocksDB's own recovery does not.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::Error;

const BLOCK: usize = 32 << 10;
/// Checksum u32, length u16, type u8.
const HEADER: usize = 7;
/// Recyclable records have a log number (u32) more.
const RECYCLABLE: std::ops::RangeInclusive<u8> = 5..=8;
const RECYCLABLE_PREDECESSOR: u8 = 131;
const LOG_NUMBER: usize = 4;

/// A record that does not verify.
pub(crate) struct Damage {
    /// Where it begins.
    pub(crate) at: u64,
    pub(crate) what: &'static str,
}

/// The first damage in a file, if there is one.
pub(crate) fn first_damage(path: &Path) -> Result<Option<Damage>, Error> {
    let mut file = File::open(path).map_err(|source| Error::io(path, &source))?;
    let mut block = Vec::with_capacity(BLOCK);
    let mut start = 0_u64;
    loop {
        block.clear();
        let mut part = file.by_ref().take(BLOCK as u64);
        part.read_to_end(&mut block).map_err(|source| Error::io(path, &source))?;
        if let Some((at, what)) = in_block(&block) {
            let at = start.saturating_add(u64::try_from(at).unwrap_or(u64::MAX));
            return Ok(Some(Damage { at, what }));
        }
        if block.len() < BLOCK {
            return Ok(None);
        }
        start += BLOCK as u64;
    }
}

fn in_block(block: &[u8]) -> Option<(usize, &'static str)> {
    let mut rest = block;
    // A header does not fit in the last bytes of a whole block; they are zeros.
    while rest.len() >= HEADER || (block.len() < BLOCK && !rest.is_empty()) {
        let at = block.len() - rest.len();
        let Some((header, tail)) = rest.split_first_chunk::<HEADER>() else {
            return Some((at, "the file ends within a record"));
        };
        let [c0, c1, c2, c3, l0, l1, kind] = *header;
        let length = usize::from(u16::from_le_bytes([l0, l1]));
        if kind == 0 && length == 0 {
            // The rest of a block that was given its space beforehand.
            return None;
        }
        let recyclable = RECYCLABLE.contains(&kind) || kind == RECYCLABLE_PREDECESSOR;
        let more = if recyclable { LOG_NUMBER } else { 0 };
        let Some((body, tail)) = tail.split_at_checked(length + more) else {
            return Some((at, "the file ends within a record, or its length is bad"));
        };
        let mut sum = Crc::default();
        sum.update(&[kind]);
        sum.update(body);
        if sum.masked() != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Some((at, "bad checksum of a record"));
        }
        rest = tail;
    }
    None
}

/// CRC-32C as RocksDB stores it.
struct Crc(u32);

impl Default for Crc {
    fn default() -> Self {
        Crc(u32::MAX)
    }
}

impl Crc {
    fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 ^= u32::from(byte);
            for _ in 0..8 {
                let low = 0_u32.wrapping_sub(self.0 & 1);
                self.0 = (self.0 >> 1) ^ (0x82F6_3B78 & low);
            }
        }
    }

    fn masked(&self) -> u32 {
        (!self.0).rotate_right(15).wrapping_add(0xA282_EAD8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut sum = Crc::default();
        sum.update(&[kind]);
        sum.update(body);
        let mut out = sum.masked().to_le_bytes().to_vec();
        out.extend_from_slice(&u16::try_from(body.len()).unwrap().to_le_bytes());
        out.push(kind);
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn the_checksum_is_crc_32c() {
        let mut sum = Crc::default();
        sum.update(b"123456789");
        assert_eq!(!sum.0, 0xE306_9283);
    }

    #[test]
    fn the_first_damage_is_found() {
        let first = record(1, b"abc");
        let mut both = first.clone();
        both.extend(record(1, b"defg"));
        assert!(in_block(&both).is_none());
        for at in 0..both.len() {
            let mut damaged = both.clone();
            damaged[at] ^= 1;
            let found = in_block(&damaged).map(|damage| damage.0);
            assert_eq!(found, Some(if at < first.len() { 0 } else { first.len() }), "byte {at}");
        }
        let short = &both[..both.len() - 1];
        assert_eq!(in_block(short).map(|damage| damage.0), Some(first.len()));
    }
}

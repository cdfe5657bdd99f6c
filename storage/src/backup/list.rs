//! The list of files of a snapshot or of a backup: text that people can read as well, with a checksum
//! of itself at its end.
//!
//! ```text
//! moneta backup 1
//! id 3
//! taken 1764000000000
//! newest 4711
//! program 0.1.0
//! format 1
//! file 52428800 5d1f0c… 1311 1764000000123456789 segments/tier-0/day+20416/000000000012.seg
//! missing segments/tier-0/day+20416/000000000011.seg
//! end 1 9ae2b30c
//! ```

use std::fmt::Write as _;
use std::path::{Component, Path};

use crate::model::{Sequence, Timestamp};
use crate::offline::QUARANTINE;
use crate::segment::SegmentAddress;

/// First line, before the version.
pub(crate) const TITLE: &str = "moneta backup ";
/// Version of the list.
pub(crate) const VERSION: u32 = 1;
/// Longest list that is read: far above a million files.
pub(crate) const LIST_BYTES_MAX: u64 = 256 << 20;

/// What a snapshot or a backup holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileList {
    /// Number of the backup in its repository; 0 for a snapshot.
    pub id: u64,
    /// When it was taken.
    pub taken: Timestamp,
    /// Newest write that was acknowledged before; all up to it are inside.
    pub newest: Sequence,
    /// Version of the program that took it.
    pub program: String,
    /// Format version of the data directory.
    pub format: u32,
    pub(crate) files: Vec<FileEntry>,
    /// Paths of segments that belong to the store and were gone.
    pub(crate) missing: Vec<String>,
}

/// A file of a snapshot or a backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FileEntry {
    /// Below the data directory, with `/`.
    pub(crate) path: String,
    /// Length.
    pub(crate) bytes: u64,
    /// XXH3-128 of all bytes. A snapshot has read none and knows none.
    pub(crate) checksum: Option<u128>,
    /// What the file system said of the file that was copied.
    pub(crate) origin: Origin,
}

/// Tells whether a file is the very one that was copied before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Origin {
    /// Number of the inode.
    pub(crate) inode: u64,
    /// Time of the last change, nanoseconds.
    pub(crate) modified_ns: i64,
}

impl FileList {
    /// How many files there are.
    #[must_use]
    pub fn files(&self) -> u64 {
        u64::try_from(self.files.len()).unwrap_or(u64::MAX)
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Segments that belong to the store and are in quarantine, or gone.
    #[must_use]
    pub fn without(&self) -> Vec<String> {
        let aside = |file: &&FileEntry| file.path.starts_with(QUARANTINE);
        let quarantined = self.files.iter().filter(aside).map(|file| file.path.clone());
        quarantined.chain(self.missing.iter().cloned()).collect()
    }

    /// Whether a segment was in quarantine, or gone.
    pub(crate) fn is_without(&self, address: &SegmentAddress) -> bool {
        let aside = Path::new(QUARANTINE).join(address.below());
        self.files.iter().any(|file| Path::new(&file.path) == aside)
            || self.missing.iter().any(|path| Path::new(path) == address.path())
    }

    pub(crate) fn encode(&self) -> String {
        let mut text = format!(
            "{TITLE}{VERSION}\nid {}\ntaken {}\nnewest {}\nprogram {}\nformat {}\n",
            self.id,
            self.taken.millis(),
            self.newest.number(),
            self.program,
            self.format
        );
        for file in &self.files {
            let checksum = file.checksum.map_or("-".to_owned(), |sum| format!("{sum:032x}"));
            let Origin { inode, modified_ns } = file.origin;
            let (bytes, path) = (file.bytes, &file.path);
            assert!(is_inside(path), "every file lies below the data directory: {path}");
            // Writing to a string cannot fail.
            let _ = writeln!(text, "file {bytes} {checksum} {inode} {modified_ns} {path}");
        }
        for path in &self.missing {
            assert!(is_inside(path), "every segment lies below the data directory: {path}");
            let _ = writeln!(text, "missing {path}");
        }
        let _ = write!(text, "end {} ", self.files.len());
        let crc = crc32fast::hash(text.as_bytes());
        let _ = writeln!(text, "{crc:08x}");
        text
    }

    /// `None` if a byte is not as it was written.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let sealed = text.strip_suffix('\n')?;
        let at = sealed.len().checked_sub(8)?;
        let (body, crc) = sealed.split_at_checked(at)?;
        if format!("{:08x}", crc32fast::hash(body.as_bytes())) != crc {
            return None;
        }
        let mut lines = body.lines();
        let version: u32 = lines.next()?.strip_prefix(TITLE)?.parse().ok()?;
        if version != VERSION {
            return None;
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let id = field("id")?.parse().ok()?;
        let taken = Timestamp::from_millis(field("taken")?.parse().ok()?);
        let newest = Sequence::new(field("newest")?.parse().ok()?);
        let program = field("program")?.to_owned();
        let format = field("format")?.parse().ok()?;
        let (mut files, mut missing) = (Vec::new(), Vec::new());
        loop {
            let line = lines.next()?;
            if let Some(count) = line.strip_prefix("end ") {
                let whole = lines.next().is_none() && count.trim_end().parse() == Ok(files.len());
                let list = FileList { id, taken, newest, program, format, files, missing };
                return whole.then_some(list);
            }
            if let Some(path) = line.strip_prefix("missing ") {
                missing.push(is_inside(path).then(|| path.to_owned())?);
                continue;
            }
            files.push(FileEntry::decode(line.strip_prefix("file ")?)?);
        }
    }
}

impl FileEntry {
    fn decode(line: &str) -> Option<Self> {
        let mut fields = line.splitn(5, ' ');
        let bytes = fields.next()?.parse().ok()?;
        let checksum = match fields.next()? {
            "-" => None,
            checksum => Some(u128::from_str_radix(checksum, 16).ok()?),
        };
        let inode = fields.next()?.parse().ok()?;
        let modified_ns = fields.next()?.parse().ok()?;
        let path = fields.next()?.to_owned();
        let origin = Origin { inode, modified_ns };
        is_inside(&path).then_some(FileEntry { path, bytes, checksum, origin })
    }

    /// Name of the copy in a repository: that of the file, its checksum, its ending. Files of the
    /// same name and content are the same file; others never meet.
    pub(crate) fn object(&self) -> Option<String> {
        let checksum = self.checksum?;
        let name = self.path.rsplit('/').next()?;
        Some(match name.rsplit_once('.') {
            Some((stem, ending)) => format!("{stem}-{checksum:032x}.{ending}"),
            None => format!("{name}-{checksum:032x}"),
        })
    }
}

/// Whether a path leads to a file below the folder it is joined to, and can stand on a line.
fn is_inside(path: &str) -> bool {
    let normal = |part| matches!(part, Component::Normal(_));
    !path.is_empty()
        && !path.contains('\n')
        && !path.ends_with('/')
        && Path::new(path).components().all(normal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list() -> FileList {
        let origin = Origin { inode: 7, modified_ns: -1 };
        let file = |path: &str, bytes, checksum| FileEntry {
            path: path.to_owned(),
            bytes,
            checksum,
            origin,
        };
        FileList {
            id: 3,
            taken: Timestamp::from_millis(1_764_000_000_000),
            newest: Sequence::new(4711),
            program: "0.1.0".to_owned(),
            format: 1,
            files: vec![
                file("acknowledged", 12, None),
                file("rocksdb/000012.sst", 1 << 40, Some(u128::MAX)),
                file("a name with blanks", 0, Some(0)),
            ],
            missing: vec!["segments/tier-0/day+20416/000000000012.seg".to_owned()],
        }
    }

    #[test]
    fn lists_round_trip() {
        let list = list();
        let text = list.encode();
        assert_eq!(FileList::decode(&text), Some(list));
        let empty = FileList { files: Vec::new(), ..self::list() };
        assert_eq!(FileList::decode(&empty.encode()), Some(empty));
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let text = list().encode();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(FileList::decode(&changed), None, "byte {at}");
            assert_eq!(FileList::decode(&text[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn objects_keep_name_and_ending() {
        let objects: Vec<_> = list().files.iter().map(FileEntry::object).collect();
        let sst = format!("000012-{}.sst", "f".repeat(32));
        let plain = format!("a name with blanks-{}", "0".repeat(32));
        assert_eq!(objects, [None, Some(sst), Some(plain)]);
    }

    #[test]
    fn paths_lead_nowhere_else() {
        for path in ["", "/etc/passwd", "../x", "a/../../x", "a\nb", "a/"] {
            assert!(!is_inside(path), "{path:?}");
        }
        assert!(is_inside("segments/tier-0/day+20416/000000000012.seg"));
    }

    proptest! {
        #[test]
        fn any_text_decodes_or_fails(text in "\\PC*") {
            let crc = format!("{:08x}", crc32fast::hash(text.as_bytes()));
            let _ = FileList::decode(&format!("{text}{crc}\n"));
        }
    }
}

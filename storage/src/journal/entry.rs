//! An entry of a journal, and its place.

use crate::error::Error;
use crate::key;
use crate::model::Moment;

/// Where an entry stands: journals are ordered by time, then by id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// When it happened.
    pub time: Moment,
    /// The entry's id. Of a place between entries it may be empty: before all of its time.
    pub id: Vec<u8>,
}

impl Place {
    /// Bytes that sort as places do; the end of keys.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.id.len());
        key::put_place(&mut out, self.time, &self.id);
        out
    }

    /// Reads [`bytes`](Self::bytes).
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let corrupt = || Error::corrupt("key", "a journal");
        let (time, id) = bytes.split_first_chunk::<8>().ok_or_else(corrupt)?;
        let time = Moment::from_micros(i64::from_be_bytes(*time) ^ i64::MIN);
        Ok(Place { time, id: id.to_vec() })
    }
}

/// Something an entry can be found by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Term {
    /// What is looked for, 1 to [`Entry::TERM_BYTES_MAX`] bytes.
    pub term: Vec<u8>,
    /// What listings of terms may need to know of the entry; mostly empty.
    pub note: Vec<u8>,
}

/// An entry as it is appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// When it happened.
    pub time: Moment,
    /// Its id, 1 to [`ID_BYTES_MAX`](Self::ID_BYTES_MAX) bytes.
    pub id: Vec<u8>,
    /// What it says, at most [`VALUE_BYTES_MAX`](Self::VALUE_BYTES_MAX) bytes. By convention the first
    /// byte is the version of the encoding.
    pub value: Vec<u8>,
    /// What it is found by, at most [`TERMS_MAX`](Self::TERMS_MAX), each once.
    pub terms: Vec<Term>,
    /// What it adds to the words of its partition. Words are few and shared by many entries.
    pub words: Vec<Vec<u8>>,
}

impl Entry {
    /// Longest id.
    pub const ID_BYTES_MAX: usize = 1024;
    /// Longest term or word.
    pub const TERM_BYTES_MAX: usize = 4096;
    /// Longest value.
    pub const VALUE_BYTES_MAX: usize = 64 << 20;
    /// Most terms, and most words.
    pub const TERMS_MAX: usize = 1024;

    /// Holds when nothing is too long.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let limits = [
            (self.id.len(), "the bytes of an entry's id", Self::ID_BYTES_MAX),
            (self.value.len(), "the bytes of an entry", Self::VALUE_BYTES_MAX),
            (self.terms.len(), "the terms of an entry", Self::TERMS_MAX),
            (self.words.len(), "the words of an entry", Self::TERMS_MAX),
        ];
        let terms = self.terms.iter().map(|term| &term.term).chain(&self.words);
        let terms = terms.map(|term| (term.len(), "the bytes of a term", Self::TERM_BYTES_MAX));
        for (length, limit, max) in limits.into_iter().chain(terms) {
            if length > max {
                return Err(Error::Limit { limit, max: u64::try_from(max).unwrap_or(u64::MAX) });
            }
        }
        // Empty ones stand in keys for what is before all others.
        if self.id.is_empty() || self.terms.iter().any(|term| term.term.is_empty()) {
            return Err(Error::Invalid("an entry's id and terms must not be empty".into()));
        }
        Ok(())
    }
}

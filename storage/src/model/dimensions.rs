//! What identifies a series: region, metric name and dimensions, and their one canonical encoding.

use std::fmt;

use crate::error::Error;

/// Name–value pairs, sorted by name (byte order), each name once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Dimensions(Vec<(String, String)>);

impl Dimensions {
    /// No dimensions.
    #[must_use]
    pub const fn none() -> Self {
        Dimensions(Vec::new())
    }

    /// Sorts the pairs. Of a name given twice the last value counts.
    #[must_use]
    pub fn from_pairs(mut pairs: Vec<(String, String)>) -> Self {
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        // `dedup_by` keeps the first of equal neighbours, so move the later value into it.
        pairs.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                std::mem::swap(&mut later.1, &mut kept.1);
            }
            same
        });
        Dimensions(pairs)
    }

    /// The value of the dimension called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(have, _)| have.as_str().cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| value.as_str())
    }

    /// The pairs in order of name.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every pair of `other` is in this set.
    #[must_use]
    pub fn contains_all(&self, other: &Dimensions) -> bool {
        other.iter().all(|(name, value)| self.get(name) == Some(value))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Dimensions {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Dimensions::from_pairs(pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect())
    }
}

impl fmt::Display for Dimensions {
    /// `{a=1, b=2}`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (name, value)) in self.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{name}={value}")?;
        }
        f.write_str("}")
    }
}

/// The identity of a series inside its tenant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SeriesKey {
    /// Metric name, verbatim.
    pub metric: String,
    /// Dimensions.
    pub dimensions: Dimensions,
    /// Region; one per server, empty when regions are not used.
    pub region: String,
}

/// Longest canonical encoding of a series key, in bytes.
pub const SERIES_KEY_BYTES_MAX: usize = 256 * 1024;

impl SeriesKey {
    /// The canonical encoding: equal keys and only equal keys have equal bytes. Each text is its
    /// length (u32, little-endian) and its UTF-8 bytes: metric, region, then name and value of each
    /// dimension in order.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let mut text = |text: &str| {
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        };
        text(&self.metric);
        text(&self.region);
        for (name, value) in self.dimensions.iter() {
            text(name);
            text(value);
        }
        out
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are not such an encoding.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut rest = bytes;
        let corrupt = || Error::corrupt("series definition", "series");
        let mut text = || -> Result<String, Error> {
            let (length, tail) = rest.split_first_chunk::<4>().ok_or_else(corrupt)?;
            let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| corrupt())?;
            let (text, tail) = tail.split_at_checked(length).ok_or_else(corrupt)?;
            rest = tail;
            String::from_utf8(text.to_vec()).map_err(|_| corrupt())
        };
        let metric = text()?;
        let region = text()?;
        let mut pairs = Vec::new();
        while let Ok(name) = text() {
            pairs.push((name, text()?));
        }
        if !rest.is_empty() {
            return Err(corrupt());
        }
        Ok(SeriesKey { metric, dimensions: Dimensions::from_pairs(pairs), region })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_names_counts() {
        let dimensions: Dimensions = [("b", "1"), ("a", "2"), ("b", "3")].into_iter().collect();
        assert_eq!(dimensions.to_string(), "{a=2, b=3}");
        assert_eq!(dimensions.get("b"), Some("3"));
    }

    #[test]
    fn keys_round_trip_and_differ_when_texts_are_split_differently() {
        let key = |metric: &str, pairs: &[(&str, &str)]| SeriesKey {
            metric: metric.into(),
            dimensions: pairs.iter().copied().collect(),
            region: "r".into(),
        };
        let a = key("cpu", &[("host", "h1"), ("zone", "")]);
        assert_eq!(SeriesKey::decode(&a.encode()).unwrap(), a);
        assert_ne!(key("cpu", &[("ab", "c")]).encode(), key("cpu", &[("a", "bc")]).encode());
        let mut torn = a.encode();
        torn.pop();
        assert!(SeriesKey::decode(&torn).is_err());
    }
}

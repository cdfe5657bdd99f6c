//! Query parameters: decoded once, in order, repeated ones kept.

use crate::ingest::python;
use crate::status::Failure;

/// The decoded parameters of a request. One without a value is kept, but counts as absent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Parameters {
    pairs: Vec<(String, String)>,
}

/// Largest page, and the default.
pub(crate) const PAGE_MAX: usize = 10_000;

impl Parameters {
    /// Decodes a query string.
    pub(crate) fn parse(query: &str) -> Self {
        let parts = query.split('&').filter(|part| !part.is_empty());
        let pairs = parts.map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        });
        Parameters { pairs: pairs.collect() }
    }

    /// All parameters, in the order of the request.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The values of a parameter that are not empty.
    pub(crate) fn all<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.iter().filter(move |(have, value)| *have == name && !value.is_empty()).map(|(_, v)| v)
    }

    /// The value of a parameter that may be given once.
    pub(crate) fn one(&self, name: &str) -> Result<Option<&str>, Failure> {
        let mut all = self.all(name);
        let first = all.next();
        if all.next().is_some() {
            return Err(Failure::unprocessable(format!("{name} must be given only once")));
        }
        Ok(first)
    }

    /// The values of a parameter that is a list: joined by commas, repeated, or both. Joined.
    pub(crate) fn list(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self.all(name).collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    /// `limit`: how many elements a page may have.
    pub(crate) fn limit(&self) -> Result<usize, Failure> {
        let Some(text) = self.one("limit")? else {
            return Ok(PAGE_MAX);
        };
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        // More digits than a number holds mean a large page, too.
        let limit = if digits { text.parse().unwrap_or(PAGE_MAX) } else { 0 };
        if limit == 0 {
            let text = "Limit parameter must be a positive integer";
            return Err(Failure::titled("Invalid limit", text));
        }
        Ok(limit.min(PAGE_MAX))
    }

    /// The values of a repeated parameter as the reference prints them: `['a', 'b']`.
    pub(crate) fn printed_list(&self, name: &str) -> String {
        let values: Vec<String> = self.all(name).map(python::quoted).collect();
        format!("[{}]", values.join(", "))
    }
}

/// Undoes percent-encoding, and takes `+` for a space. What is no UTF-8 is replaced.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    loop {
        bytes = match bytes {
            [] => break,
            [b'+', rest @ ..] => {
                out.push(b' ');
                rest
            }
            [b'%', high, low, rest @ ..] if hex(*high).is_some() && hex(*low).is_some() => {
                out.push(hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0));
                rest
            }
            [byte, rest @ ..] => {
                out.push(*byte);
                rest
            }
        };
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Percent-encodes everything but letters, digits, `-`, `.`, `_` and `~`.
pub(crate) fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_decoded_once() {
        let parameters = Parameters::parse("a=1%2B1+x&a=b%25&c=&foo&=z&d=%zz%4&&e=a=b");
        let all: Vec<(&str, &str)> = parameters.iter().collect();
        let want = [
            ("a", "1+1 x"),
            ("a", "b%"),
            ("c", ""),
            ("foo", ""),
            ("", "z"),
            ("d", "%zz%4"),
            ("e", "a=b"),
        ];
        assert_eq!(all, want);
        assert_eq!(parameters.one("c").unwrap(), None);
        assert_eq!(parameters.one("e").unwrap(), Some("a=b"));
        assert!(parameters.one("a").is_err());
        assert_eq!(parameters.printed_list("a"), "['1+1 x', 'b%']");
        assert_eq!(parameters.list("a").as_deref(), Some("1+1 x,b%"));
        assert_eq!(parameters.list("c"), None);
    }

    #[test]
    fn limits_are_positive_and_capped() {
        let check = |query: &str, want: Option<usize>| {
            assert_eq!(Parameters::parse(query).limit().ok(), want, "{query}");
        };
        check("", Some(10_000));
        check("limit=5", Some(5));
        check("limit=10001", Some(10_000));
        check("limit=99999999999999999999999", Some(10_000));
        for query in ["limit=0", "limit=-1", "limit=x", "limit=1.5", "limit=+1", "limit=1&limit=2"]
        {
            check(query, None);
        }
    }

    proptest! {
        #[test]
        fn encoding_round_trips(text in any::<String>()) {
            let mut out = String::new();
            encode(&text, &mut out);
            prop_assert_eq!(decode(&out), text);
        }
    }
}

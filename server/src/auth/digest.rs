//! The digest of a token: what is kept in its place. A token has enough randomness of its own, so it
//! needs neither salt nor a slow hash.

use std::fmt;

/// SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(secret: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, secret);
        // SHA-256 has 32 bytes.
        Digest(digest.as_ref().try_into().unwrap_or([0; 32]))
    }

    /// A number made of it.
    pub(crate) fn number(&self) -> usize {
        self.0.iter().take(4).fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    /// From the form that [`Display`](fmt::Display) gives.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.is_ascii())?;
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Vec<u8> = pairs.iter().map(byte).collect::<Option<_>>()?;
        let bytes = bytes.try_into().ok().filter(|_| rest.is_empty())?;
        Some(Digest(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_written_and_read() {
        let digest = Digest::of(b"abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(Digest::parse(text), Some(digest));
        for wrong in ["", "sha256:", &text[1..], &text[..70], &format!("{text}0"), "sha256:é"] {
            assert_eq!(Digest::parse(wrong), None, "{wrong}");
        }
    }
}

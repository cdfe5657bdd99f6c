//! What of a body was not taken, and why: counted in full, told in the words of the first few.

/// Complaints whose words are kept.
const TEXTS_MAX: usize = 5;
/// Bytes that are repeated of what a client sent.
const SHOWN_BYTES_MAX: usize = 200;

/// Complaints of one kind about the parts of a body.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Complaints {
    texts: Vec<String>,
    count: usize,
}

impl Complaints {
    /// One more part that was not taken. The words are asked for only if they are kept.
    pub(crate) fn add(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.texts.len() < TEXTS_MAX {
            self.texts.push(text());
        }
    }

    /// How many parts were not taken.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The words, a line each.
    pub(crate) fn text(&self) -> String {
        let mut text = self.texts.join("\n");
        if self.count > self.texts.len() {
            text.push_str(&format!("\n… and {} more", self.count - self.texts.len()));
        }
        text
    }
}

/// The beginning of what a client sent, as it may be repeated.
pub(crate) fn shown(sent: &[u8]) -> String {
    let cut = sent.len() > SHOWN_BYTES_MAX;
    let mut text =
        String::from_utf8_lossy(sent.get(..SHOWN_BYTES_MAX).unwrap_or(sent)).into_owned();
    if cut {
        // What was cut through shows as a replacement.
        text.truncate(text.trim_end_matches('\u{fffd}').len());
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_few_are_told_and_all_are_counted() {
        let mut complaints = Complaints::default();
        for n in 0..4 {
            complaints.add(|| format!("n{n}"));
        }
        assert_eq!((complaints.count(), complaints.text().as_str()), (4, "n0\nn1\nn2\nn3"));
        for n in 4..100 {
            complaints.add(|| format!("n{n}"));
        }
        let text = "n0\nn1\nn2\nn3\nn4\n… and 95 more";
        assert_eq!((complaints.count(), complaints.text().as_str()), (100, text));
    }

    #[test]
    fn little_is_repeated() {
        assert_eq!(shown(b"a\xffb"), "a\u{fffd}b");
        let shown = shown("é".repeat(500).as_bytes());
        assert!(shown.len() < 210 && shown.ends_with("é…"), "{shown}");
        assert_eq!(super::shown(&[b'x'; 200]).len(), 200);
        assert!(super::shown(format!("x{}", "é".repeat(500)).as_bytes()).ends_with("é…"));
    }
}

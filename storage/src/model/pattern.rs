//! A regular expression over a dimension's value or a metric name, with what can be known of it
//! without running it: the literals it stands for, or what its matches begin with.
//!
//! Anchored at both ends, as in Prometheus: it matches the whole value or nothing, and `.` matches a
//! line break too. Matching takes time linear in the value, whatever the expression.

use std::fmt;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Hir, HirKind, Look};

use crate::error::Error;

/// Longest expression, bytes.
pub const PATTERN_BYTES_MAX: usize = 4096;
/// Most memory an expression may be compiled to, bytes.
pub const PATTERN_COMPILED_BYTES_MAX: usize = 1 << 20;
/// An expression that stands for more literals is run instead of looked up.
const LITERALS_MAX: usize = 1000;
/// Deepest nesting of groups.
const DEPTH_MAX: u32 = 100;

/// A checked regular expression. Cheap to clone; equal if the texts are.
#[derive(Clone)]
pub struct Pattern {
    compiled: Arc<Compiled>,
}

struct Compiled {
    text: String,
    regex: Regex,
    literals: Option<Vec<String>>,
    prefix: String,
}

impl Pattern {
    /// Checks and compiles an expression.
    ///
    /// # Errors
    /// `Invalid` says what is wrong with it; `Limit` if it is too long or compiles to too much.
    pub fn new(text: &str) -> Result<Self, Error> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(Error::Limit {
                limit: "bytes of a regular expression",
                max: PATTERN_BYTES_MAX as u64,
            });
        }
        let invalid = |source: regex_syntax::Error| {
            Error::Invalid(format!("{text:?} is no regular expression: {source}"))
        };
        // By itself first: `a)(b` must not become right by what is put around it.
        let hir = ParserBuilder::new()
            .dot_matches_new_line(true)
            .nest_limit(DEPTH_MAX)
            .build()
            .parse(text)
            .map_err(invalid)?;
        let regex = RegexBuilder::new(&format!("^(?:{text})$"))
            .dot_matches_new_line(true)
            .nest_limit(DEPTH_MAX + 2)
            .size_limit(PATTERN_COMPILED_BYTES_MAX)
            .dfa_size_limit(PATTERN_COMPILED_BYTES_MAX)
            .build()
            .map_err(|source| {
                // The enum may grow; whatever is not about the size is about the text.
                if matches!(source, regex::Error::CompiledTooBig(_)) {
                    return Error::Limit {
                        limit: "compiled bytes of a regular expression",
                        max: PATTERN_COMPILED_BYTES_MAX as u64,
                    };
                }
                Error::Invalid(format!("{text:?} is no regular expression: {source}"))
            })?;
        let hir = without_outer_anchors(hir);
        let literals = literals(&hir);
        let prefix = prefix(&hir);
        Ok(Pattern {
            compiled: Arc::new(Compiled { text: text.to_owned(), regex, literals, prefix }),
        })
    }

    /// The expression as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.compiled.text
    }

    /// Whether the whole of `value` matches.
    #[must_use]
    pub fn is_match(&self, value: &str) -> bool {
        self.compiled.regex.is_match(value)
    }

    /// The values it matches, if they can be counted: `a|b` is `a` and `b`.
    #[must_use]
    pub fn literals(&self) -> Option<&[String]> {
        self.compiled.literals.as_deref()
    }

    /// What every value it matches begins with; often empty.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.compiled.prefix
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.compiled.text == other.compiled.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.compiled.text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.compiled.text)
    }
}

/// People write `^a.*$` although it is anchored anyway.
fn without_outer_anchors(hir: Hir) -> Hir {
    let HirKind::Concat(parts) = hir.kind() else { return hir };
    let mut parts = parts.as_slice();
    if let Some((first, rest)) = parts.split_first()
        && *first.kind() == HirKind::Look(Look::Start)
    {
        parts = rest;
    }
    if let Some((last, rest)) = parts.split_last()
        && *last.kind() == HirKind::Look(Look::End)
    {
        parts = rest;
    }
    Hir::concat(parts.to_vec())
}

fn extractor() -> Extractor {
    let mut extractor = Extractor::new();
    extractor.limit_total(LITERALS_MAX).limit_class(16).limit_repeat(16);
    extractor
}

fn literals(hir: &Hir) -> Option<Vec<String>> {
    // A condition inside, as a word boundary is one, counts as the empty literal to the extractor.
    if !hir.properties().look_set().is_empty() {
        return None;
    }
    let found = extractor().extract(hir);
    if !found.is_exact() {
        return None;
    }
    let mut texts: Vec<String> = found
        .literals()?
        .iter()
        .map(|literal| String::from_utf8(literal.as_bytes().to_vec()).ok())
        .collect::<Option<_>>()?;
    texts.sort_unstable();
    texts.dedup();
    Some(texts)
}

fn prefix(hir: &Hir) -> String {
    let found = extractor().extract(hir);
    let bytes = found.longest_common_prefix().unwrap_or_default();
    // The common bytes of two literals may end inside a character.
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(error) => {
            let (whole, _) = bytes.split_at(error.valid_up_to());
            String::from_utf8_lossy(whole).into_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_prefixes_are_found() {
        let check = |text: &str, literals: Option<&[&str]>, prefix: &str| {
            let pattern = Pattern::new(text).unwrap();
            let got = pattern.literals().map(|all| all.iter().map(String::as_str).collect());
            assert_eq!(got, literals.map(<[&str]>::to_vec), "{text}");
            assert_eq!(pattern.prefix(), prefix, "{text}");
        };
        check("web-1", Some(&["web-1"]), "web-1");
        check("web-1|db-2", Some(&["db-2", "web-1"]), "");
        check("web-(1|2)", Some(&["web-1", "web-2"]), "web-");
        check("web-[ab]", Some(&["web-a", "web-b"]), "web-");
        check("^web$", Some(&["web"]), "web");
        check("web-.*", None, "web-");
        check("^web-.*$", None, "web-");
        check("(?i)a", Some(&["A", "a"]), "");
        check(".*", None, "");
        check(".+x", None, "");
        check("", Some(&[""]), "");
        check("a|", Some(&["", "a"]), "");
        check("a\\b", None, "a");
        // é and è share their first byte.
        check("é|è", Some(&["è", "é"]), "");
    }

    #[test]
    fn the_whole_value_matches_or_nothing() {
        let check = |text: &str, value: &str, want: bool| {
            assert_eq!(Pattern::new(text).unwrap().is_match(value), want, "{text} on {value:?}");
        };
        check("web", "web-1", false);
        check("a|b", "ab", false);
        check("a|b", "b", true);
        check("a.*", "a\nb", true);
        check(".*", "", true);
        check(".+", "", false);
    }

    #[test]
    fn what_is_wrong_or_too_large_is_refused_by_name() {
        let check = |text: &str, want: &str| {
            let error = Pattern::new(text).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        };
        check("a)(b", "is no regular expression");
        check("[", "is no regular expression");
        check(
            &"a".repeat(PATTERN_BYTES_MAX + 1),
            "bytes of a regular expression is limited to 4096",
        );
        check("(?:a{1000}){1000}", "compiled bytes of a regular expression is limited to");
        check(&"(".repeat(500), "is no regular expression");
    }
}

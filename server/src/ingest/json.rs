//! JSON text, in one pass: skipping over what is not needed, or reading it as a tree.
//!
//! Both go through the same [`Cursor`], so what one accepts the other accepts. Accepted is RFC 8259
//! and, as Python's reader does, the words `NaN`, `Infinity` and `-Infinity` for numbers. A string
//! that is no Unicode text (a lone surrogate) is refused. Nesting is bounded by [`DEPTH_MAX`].

use std::borrow::Cow;
use std::collections::HashMap;

/// Deepest nesting of lists and objects.
pub(crate) const DEPTH_MAX: usize = 64;

/// Why a text is not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Malformed {
    /// Not JSON.
    Syntax,
    /// Nested deeper than [`DEPTH_MAX`].
    Depth,
}

/// A JSON value. Numbers are kept as written.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Json<'a> {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// The number's text.
    Number(&'a str),
    /// A string, escapes resolved.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Json<'a>>),
    /// An object; of equal keys the last one's value, at the first one's place.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Reads a whole text.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(text);
        cursor.space();
        let value = cursor.value(0)?;
        cursor.end()?;
        Ok(value)
    }

    /// Writes the value without spaces.
    pub(crate) fn write_compact(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(true) => out.push_str("true"),
            Json::Bool(false) => out.push_str("false"),
            // Python would write these words; no other reader takes them.
            Json::Number("NaN" | "Infinity" | "-Infinity") => out.push_str("null"),
            Json::Number(text) => out.push_str(text),
            Json::Text(text) => write_text(text, out),
            Json::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write_compact(out);
                }
                out.push(']');
            }
            Json::Object(pairs) => {
                out.push('{');
                for (at, (key, value)) in pairs.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    write_text(key, out);
                    out.push(':');
                    value.write_compact(out);
                }
                out.push('}');
            }
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The inside of a string as it stands in the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RawText<'a> {
    /// Between the quotes.
    pub(crate) inside: &'a str,
    /// Whether it holds escapes.
    pub(crate) escaped: bool,
}

impl<'a> RawText<'a> {
    /// The text meant.
    pub(crate) fn unescape(self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(self.inside);
        }
        let mut out = String::with_capacity(self.inside.len());
        let mut rest = self.inside;
        while let Some((plain, tail)) = rest.split_once('\\') {
            out.push_str(plain);
            let mut chars = tail.chars();
            match chars.next() {
                Some('b') => out.push('\u{8}'),
                Some('f') => out.push('\u{c}'),
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some('u') => {
                    let (c, tail) = unicode_escape(chars.as_str()).unwrap_or(('\u{fffd}', ""));
                    out.push(c);
                    rest = tail;
                    continue;
                }
                Some(c) => out.push(c),
                None => {}
            }
            rest = chars.as_str();
        }
        out.push_str(rest);
        Cow::Owned(out)
    }
}

/// The character of an escape and what follows it; `text` begins after `\u`.
fn unicode_escape(text: &str) -> Option<(char, &str)> {
    let (first, rest) = hex4(text)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, rest));
    }
    let (second, rest) = hex4(rest.strip_prefix("\\u")?)?;
    if !(0xdc00..0xe000).contains(&second) {
        return None;
    }
    let c = char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))?;
    Some((c, rest))
}

fn hex4(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten().map(|number| (number, rest))
}

/// A place in a JSON text.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The beginning of `text`.
    pub(crate) fn new(text: &'a str) -> Self {
        Cursor { text, at: 0 }
    }

    /// The next byte, unless the text ends here.
    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Goes over the next byte.
    #[inline]
    fn step(&mut self) {
        self.at += 1;
    }

    /// Goes over white space.
    #[inline]
    pub(crate) fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.step();
        }
    }

    /// Goes over `byte` if it comes next.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.step();
        }
        found
    }

    /// Goes over `text` if it comes next just as it is.
    #[inline]
    pub(crate) fn take_text(&mut self, text: &str) -> bool {
        let found = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(text));
        self.at += if found { text.len() } else { 0 };
        found
    }

    /// Goes over `byte`, which must come next, and over the white space around it.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        self.space();
        if !self.take(byte) {
            return Err(Malformed::Syntax);
        }
        self.space();
        Ok(())
    }

    /// Makes sure that only white space follows.
    pub(crate) fn end(&mut self) -> Result<(), Malformed> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(Malformed::Syntax) }
    }

    /// The text from `start` to here.
    fn since(&self, start: usize) -> Result<&'a str, Malformed> {
        self.text.get(start..self.at).ok_or(Malformed::Syntax)
    }

    /// Goes over a string.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<RawText<'a>, Malformed> {
        if !self.take(b'"') {
            return Err(Malformed::Syntax);
        }
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            self.at += special_byte(rest).ok_or(Malformed::Syntax)?;
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(Malformed::Syntax),
            }
        }
        let inside = self.since(start)?;
        self.step();
        Ok(RawText { inside, escaped })
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        self.step();
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.step();
                Ok(())
            }
            Some(b'u') => {
                let tail = self.text.get(self.at + 1..).unwrap_or_default();
                let (_, rest) = unicode_escape(tail).ok_or(Malformed::Syntax)?;
                self.at = self.text.len() - rest.len();
                Ok(())
            }
            Some(_) | None => Err(Malformed::Syntax),
        }
    }

    /// Goes over a number.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<&'a str, Malformed> {
        let start = self.at;
        self.take(b'-');
        match self.peek() {
            Some(b'0') => self.step(),
            Some(b'1'..=b'9') => self.digits()?,
            // Nothing of a number may follow a word.
            Some(b'I') => return self.word("Infinity").and_then(|()| self.since(start)),
            Some(b'N') if self.at == start => {
                return self.word("NaN").and_then(|()| self.since(start));
            }
            Some(_) | None => return Err(Malformed::Syntax),
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.step();
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        self.since(start)
    }

    /// Goes over one digit or more.
    #[inline]
    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.step();
        }
        if self.at == start { Err(Malformed::Syntax) } else { Ok(()) }
    }

    fn word(&mut self, word: &str) -> Result<(), Malformed> {
        if self.take_text(word) { Ok(()) } else { Err(Malformed::Syntax) }
    }

    /// Goes over a value and gives its text. `depth` is how many lists and objects are open.
    pub(crate) fn skip(&mut self, depth: usize) -> Result<&'a str, Malformed> {
        let start = self.at;
        self.skip_value(depth)?;
        self.since(start)
    }

    fn skip_value(&mut self, depth: usize) -> Result<(), Malformed> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'{') => {
                deeper(depth)?;
                self.step();
                self.space();
                if self.take(b'}') {
                    return Ok(());
                }
                loop {
                    self.string()?;
                    self.expect(b':')?;
                    self.skip_value(depth + 1)?;
                    if !self.more(b'}')? {
                        return Ok(());
                    }
                }
            }
            Some(b'[') => {
                deeper(depth)?;
                self.step();
                self.space();
                if self.take(b']') {
                    return Ok(());
                }
                loop {
                    self.skip_value(depth + 1)?;
                    if !self.more(b']')? {
                        return Ok(());
                    }
                }
            }
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(_) => self.number().map(|_| ()),
            None => Err(Malformed::Syntax),
        }
    }

    /// After an element: whether a comma announces another one, or `close` ends the list.
    #[inline]
    pub(crate) fn more(&mut self, close: u8) -> Result<bool, Malformed> {
        self.space();
        if self.take(b',') {
            self.space();
            return Ok(true);
        }
        if self.take(close) { Ok(false) } else { Err(Malformed::Syntax) }
    }

    /// Reads a value. `depth` is how many lists and objects are open.
    pub(crate) fn value(&mut self, depth: usize) -> Result<Json<'a>, Malformed> {
        Ok(match self.peek() {
            Some(b'"') => Json::Text(self.string()?.unescape()),
            Some(b'{') => Json::Object(self.object(depth)?),
            Some(b'[') => Json::List(self.list(depth)?),
            Some(b't') => self.word("true").map(|()| Json::Bool(true))?,
            Some(b'f') => self.word("false").map(|()| Json::Bool(false))?,
            Some(b'n') => self.word("null").map(|()| Json::Null)?,
            Some(_) => Json::Number(self.number()?),
            None => return Err(Malformed::Syntax),
        })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Json<'a>>, Malformed> {
        deeper(depth)?;
        self.step();
        self.space();
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(items);
        }
        loop {
            items.push(self.value(depth + 1)?);
            if !self.more(b']')? {
                return Ok(items);
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Vec<(Cow<'a, str>, Json<'a>)>, Malformed> {
        deeper(depth)?;
        self.step();
        self.space();
        let mut pairs = Vec::new();
        if self.take(b'}') {
            return Ok(pairs);
        }
        loop {
            let key = self.string()?.unescape();
            self.expect(b':')?;
            pairs.push((key, self.value(depth + 1)?));
            if !self.more(b'}')? {
                return Ok(last_of_equal_keys(pairs));
            }
        }
    }
}

/// Where the first quote, backslash or control character stands. Strings are most of a body, so this
/// looks at eight bytes at a time.
#[inline]
fn special_byte(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    let mut passed = 0;
    while let Some((word, tail)) = rest.split_first_chunk::<8>() {
        let found = special_bits(u64::from_le_bytes(*word));
        if found != 0 {
            // At most 7, as a byte of the word is marked.
            return usize::try_from(found.trailing_zeros() / 8).ok().map(|at| passed + at);
        }
        passed += 8;
        rest = tail;
    }
    let at = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f))?;
    Some(passed + at)
}

/// The top bit of the first special byte of a word, the lowest byte counting as first. Bytes above
/// it may be marked wrongly by the borrow of the subtractions; those below are right.
#[inline]
fn special_bits(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let zero_in = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    let control = word.wrapping_sub(ONES * 0x20) & !word & TOPS;
    control | zero_in(word ^ (ONES * 0x22)) | zero_in(word ^ (ONES * 0x5c))
}

fn deeper(depth: usize) -> Result<(), Malformed> {
    if depth < DEPTH_MAX { Ok(()) } else { Err(Malformed::Depth) }
}

fn last_of_equal_keys<'a>(pairs: Vec<(Cow<'a, str>, Json<'a>)>) -> Vec<(Cow<'a, str>, Json<'a>)> {
    let mut places: HashMap<Cow<'a, str>, usize> = HashMap::with_capacity(pairs.len());
    let mut kept: Vec<(Cow<'a, str>, Json<'a>)> = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let place = places.entry(key.clone()).or_insert(kept.len());
        match kept.get_mut(*place) {
            Some((_, old)) => *old = value,
            None => kept.push((key, value)),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(text: &str) -> bool {
        let tree = Json::parse(text);
        let mut cursor = Cursor::new(text);
        cursor.space();
        let skipped = cursor.skip(0).and_then(|_| cursor.end());
        assert_eq!(tree.as_ref().map(|_| ()), skipped.as_ref().map(|_| ()), "{text}");
        tree.is_ok()
    }

    #[test]
    fn the_grammar_is_that_of_json() {
        let check = |text: &str, want: bool| assert_eq!(accepts(text), want, "{text}");
        for text in ["0", "-0", "1.5", "1e3", "1E+3", "-1.25e-3", "12345678901234567890123", "NaN"]
        {
            check(text, true);
        }
        for text in
            ["", "01", "1.", ".5", "+1", "1e", "-", "- 1", "-NaN", "Infinity1", "0x1", "1_0"]
        {
            check(text, false);
        }
        for text in
            [r#""""#, r#""a\"b""#, r#""\u00e9\ud83d\ude00""#, "\"é\"", r#""\/\b\f\n\r\t\\""#]
        {
            check(text, true);
        }
        for text in ["\"", "\"a\nb\"", r#""\x""#, r#""\u12""#, r#""\ud800""#, r#""\ud800\u0041""#] {
            check(text, false);
        }
        for text in ["[]", "[1, 2]", "{}", r#"{"a": [null, true, false]} "#, "\r\n[ ]\t"] {
            check(text, true);
        }
        for text in ["[1,]", "[", "[1 2]", "{,}", r#"{"a"}"#, r#"{"a":1,}"#, "{a:1}", "nul", "[]]"]
        {
            check(text, false);
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(accepts(&nested(DEPTH_MAX)));
        assert!(!accepts(&nested(DEPTH_MAX + 1)));
        assert_eq!(Json::parse(&nested(100_000)), Err(Malformed::Depth));
    }

    #[test]
    fn escapes_are_resolved_and_the_last_of_equal_keys_counts() {
        let check = |text: &str, want: &str| {
            let mut out = String::new();
            Json::parse(text).unwrap().write_compact(&mut out);
            assert_eq!(out, want);
        };
        check(
            r#" { "a" : 1 , "b" : [ 1.50 , null ] , "\u0061" : "x\ty\u0001" } "#,
            r#"{"a":"x\ty\u0001","b":[1.50,null]}"#,
        );
        check(r#""\ud83d\ude00\/""#, "\"😀/\"");
    }

    /// A JSON text, or something near it.
    fn texts() -> impl Strategy<Value = String> {
        let token = prop_oneof![
            Just("{"),
            Just("}"),
            Just("["),
            Just("]"),
            Just(","),
            Just(":"),
            Just(" "),
            Just("\"a\""),
            Just("\"\\u00e9\""),
            Just("\"\\n\""),
            Just("1"),
            Just("-2.5e1"),
            Just("true"),
            Just("null"),
            Just("0"),
            Just("."),
            Just("\\"),
            Just("\""),
            Just("é"),
        ];
        prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
    }

    fn as_serde(json: &Json<'_>) -> serde_json::Value {
        match json {
            Json::Null => serde_json::Value::Null,
            Json::Bool(b) => (*b).into(),
            Json::Number(text) => serde_json::from_str(text).unwrap(),
            Json::Text(text) => text.to_string().into(),
            Json::List(items) => items.iter().map(as_serde).collect(),
            Json::Object(pairs) => {
                pairs.iter().map(|(key, value)| (key.to_string(), as_serde(value))).collect()
            }
        }
    }

    proptest! {
        #[test]
        fn reads_what_another_reader_reads(text in texts()) {
            let theirs: Option<serde_json::Value> = serde_json::from_str(&text).ok();
            prop_assert_eq!(accepts(&text), theirs.is_some());
            prop_assert_eq!(Json::parse(&text).ok().map(|json| as_serde(&json)), theirs);
        }

        #[test]
        fn any_text_reads_or_fails(text in "\\PC{0,40}") {
            accepts(&text);
        }

        #[test]
        fn special_bytes_are_found_where_they_are(
            bytes in prop::collection::vec(
                prop_oneof![Just(b'a'), Just(b'"'), Just(b'\\'), 0x1d_u8..0x24, any::<u8>()],
                0..40,
            )
        ) {
            let slow = bytes.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f));
            prop_assert_eq!(special_byte(&bytes), slow);
        }

        #[test]
        fn strings_round_trip(text in any::<String>()) {
            let mut out = String::new();
            Json::Text(text.as_str().into()).write_compact(&mut out);
            prop_assert_eq!(Json::parse(&out).unwrap(), Json::Text(text.into()));
        }
    }
}

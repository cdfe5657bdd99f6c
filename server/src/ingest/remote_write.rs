//! Prometheus remote write 1.0 and 2.0: the samples of a body, into a write request.
//!
//! ```text
//! 1.0  WriteRequest { timeseries = 1 }  TimeSeries { labels = 1 { name = 1, value = 2 }, samples = 2,
//!                                                    exemplars = 3, histograms = 4 }
//! 2.0  Request { symbols = 4, timeseries = 5 }  TimeSeries { labels_refs = 1, samples = 2,
//!                                                            histograms = 3, exemplars = 4 }
//! both Sample { value = 1, timestamp = 2 }, milliseconds
//! ```
//!
//! A series is looked up by the bytes of its labels as they stand (1.0), or by the texts that its numbers
//! stand for (2.0), and parsed only if these have not been seen lately. Of a label every text is taken that
//! Prometheus takes. Values are kept bit for bit, also NaN and the marker of a series that has ended;
//! queries see finite values alone.

use std::rc::Rc;

use moneta_storage::model::{Dimensions, SeriesKey, Timestamp};
use moneta_storage::write::WriteRequest;

use super::complaints::{Complaints, shown};
use super::gather::{Allowance, Fault, Gather};
use super::protobuf::{Content, Message, NotProtobuf};

/// The label that is the metric.
const NAME: &str = "__name__";
/// Other labels that begin so are a sender's own business, and no dimensions.
const INTERNAL: &str = "__";
/// Texts that a body may hold.
const SYMBOLS_MAX: usize = 1 << 20;
/// Bytes of a sample in a body with its labels, more or less: room is made for so many at once.
const SAMPLE_BYTES: usize = 128;
/// Labels that a message shows of a series.
const LABELS_SHOWN: usize = 8;
/// What the bytes begin with by which a series is looked up. No UTF-8 text does, so that no other dialect
/// has the same.
const OF_LABELS: u8 = 0xfd;
const OF_SYMBOLS: u8 = 0xfc;
/// Stands behind each text, and in none.
const TEXT_END: u8 = 0xff;

/// The two versions of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Version {
    One,
    Two,
}

/// Why nothing of a body is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// It is not what it says it is.
    Malformed(&'static str),
    /// It says more than a request may hold.
    TooMuch,
}

impl From<NotProtobuf> for Refusal {
    fn from(_: NotProtobuf) -> Self {
        Refusal::Malformed("the body is not protobuf")
    }
}

/// What a body says, ready to be committed.
pub(crate) struct Batch {
    pub(crate) request: WriteRequest,
    /// Samples that are not taken.
    pub(crate) refused: Complaints,
    /// Series with native histograms, which are not stored.
    pub(crate) histograms: Complaints,
    /// Exemplars, which are not stored.
    pub(crate) exemplars: usize,
}

/// Reads a body into `request`. Series are of `region`; the names of new ones may take `new_bytes`.
pub(crate) fn decode(
    version: Version,
    request: WriteRequest,
    region: &str,
    new_bytes: usize,
    body: &[u8],
) -> Result<Batch, Refusal> {
    let symbols = match version {
        Version::One => Vec::new(),
        Version::Two => symbols(body)?,
    };
    let mut reading = Reading {
        version,
        symbols,
        region,
        gather: Gather::new(request, body.len() / SAMPLE_BYTES),
        allowance: Allowance::new(new_bytes),
        samples: Vec::new(),
        raw: Vec::new(),
        refused: Complaints::default(),
        histograms: Complaints::default(),
        exemplars: 0,
    };
    let list = match version {
        Version::One => 1,
        Version::Two => 5,
    };
    let mut message = Message::new(body);
    while let Some((number, content)) = message.field()? {
        if number == list {
            reading.series(of_bytes(content)?)?;
        }
    }
    reading.settle()?;
    let Reading { gather, refused, histograms, exemplars, .. } = reading;
    Ok(Batch { request: gather.into_request(), refused, histograms, exemplars })
}

/// The texts of a body of version 2.0, which may stand anywhere in it.
fn symbols(body: &[u8]) -> Result<Vec<&str>, Refusal> {
    let mut symbols = Vec::new();
    let mut message = Message::new(body);
    while let Some((number, content)) = message.field()? {
        if number == 4 {
            if symbols.len() >= SYMBOLS_MAX {
                return Err(Refusal::TooMuch);
            }
            let text = std::str::from_utf8(of_bytes(content)?);
            symbols.push(text.map_err(|_| Refusal::Malformed("a symbol is not UTF-8"))?);
        }
    }
    match symbols.first() {
        None | Some(&"") => Ok(symbols),
        Some(_) => Err(Refusal::Malformed("the first symbol must be empty")),
    }
}

fn of_bytes(content: Content<'_>) -> Result<&[u8], Refusal> {
    match content {
        Content::Bytes(bytes) => Ok(bytes),
        Content::Varint(_) | Content::Fixed64(_) | Content::Fixed32 => Err(NotProtobuf.into()),
    }
}

/// A body that is being read.
struct Reading<'a, 'r> {
    version: Version,
    symbols: Vec<&'a str>,
    region: &'r str,
    /// A series is the bytes of its labels, or of their numbers.
    gather: Gather<Labels<'a>>,
    allowance: Allowance,
    samples: Vec<(i64, f64)>,
    raw: Vec<u8>,
    refused: Complaints,
    histograms: Complaints,
    exemplars: usize,
}

impl<'a> Reading<'a, '_> {
    fn series(&mut self, bytes: &'a [u8]) -> Result<(), Refusal> {
        self.samples.clear();
        let mut labels = Labels::Lent(&[], 0);
        let mut histograms = false;
        let mut message = Message::new(bytes);
        loop {
            let before = message.rest();
            let Some((number, content)) = message.field()? else { break };
            match (number, self.version) {
                (1, Version::One) => {
                    of_bytes(content)?;
                    labels.add(before, message.rest());
                }
                (1, Version::Two) => labels.add_numbers(content)?,
                (2, Version::One | Version::Two) => {
                    // Each is counted before it takes memory.
                    self.allowance.sample(0).map_err(|_| Refusal::TooMuch)?;
                    self.samples.push(sample(of_bytes(content)?)?);
                }
                (3, Version::One) | (4, Version::Two) => self.exemplars += 1,
                (4, Version::One) | (3, Version::Two) => histograms = true,
                (_, Version::One | Version::Two) => {}
            }
        }
        if histograms {
            let (version, symbols) = (self.version, &self.symbols);
            self.histograms.add(|| described(version, symbols, labels.bytes()));
        }
        if self.samples.is_empty() {
            return Ok(());
        }
        self.name(labels.bytes())?;
        let sought = self.gather.seek(&self.raw);
        self.allowance.named(self.raw.len()).map_err(|_| Refusal::TooMuch)?;
        let samples = std::mem::take(&mut self.samples);
        for &(time, value) in &samples {
            let time = Timestamp::from_millis(time);
            self.gather.add(sought, labels.clone(), time, value, None);
            if self.gather.is_full() {
                self.settle()?;
            }
        }
        self.samples = samples;
        Ok(())
    }

    /// Puts what the labels are looked up by into `raw`.
    fn name(&mut self, labels: &[u8]) -> Result<(), Refusal> {
        self.raw.clear();
        match self.version {
            Version::One => {
                self.raw.push(OF_LABELS);
                self.raw.extend_from_slice(labels);
            }
            Version::Two => {
                self.raw.push(OF_SYMBOLS);
                let mut numbers = Message::new(labels);
                while !numbers.rest().is_empty() {
                    let text = symbol(&self.symbols, &mut numbers).map_err(Refusal::Malformed)?;
                    self.raw.extend_from_slice(text.as_bytes());
                    self.raw.push(TEXT_END);
                    // No series has such a name; what is looked up is bounded before it is copied.
                    if self.raw.len() > moneta_storage::model::SERIES_KEY_BYTES_MAX * 2 {
                        return Err(Refusal::TooMuch);
                    }
                }
            }
        }
        Ok(())
    }

    /// Finds the series of what was read, and takes it in.
    fn settle(&mut self) -> Result<(), Refusal> {
        let (version, symbols, region) = (self.version, &self.symbols, self.region);
        let refused = &mut self.refused;
        let settled = self.gather.settle(
            &mut self.allowance,
            |labels| {
                let pairs = pairs(version, symbols, labels.bytes()).map_err(Fault::Unreadable)?;
                key(pairs, region)
            },
            |labels, fault| {
                refused.add(|| {
                    let series = described(version, symbols, labels.bytes());
                    format!("{series}: {}", shown(fault.text().as_bytes()))
                });
            },
        );
        settled.map_err(|_| Refusal::TooMuch)
    }
}

/// The labels of a series: the fields that hold them, or the numbers of their texts.
#[derive(Clone)]
enum Labels<'a> {
    /// All in one place: so many bytes from the beginning of these on.
    Lent(&'a [u8], usize),
    /// From several places. Shared, as many samples may have them.
    Own(Rc<Vec<u8>>),
}

impl<'a> Labels<'a> {
    fn bytes(&self) -> &[u8] {
        match self {
            Labels::Lent(begins, length) => begins.get(..*length).unwrap_or_default(),
            Labels::Own(bytes) => bytes,
        }
    }

    /// Adds the field between two places in the message. Fields that follow each other need no copy.
    #[inline]
    fn add(&mut self, before: &'a [u8], after: &[u8]) {
        match self {
            Labels::Lent(_, 0) => *self = Labels::Lent(before, before.len() - after.len()),
            Labels::Lent(begins, length) if begins.len() - *length == before.len() => {
                *length = begins.len() - after.len();
            }
            Labels::Lent(..) | Labels::Own(_) => {
                self.copy(before.get(..before.len() - after.len()).unwrap_or_default());
            }
        }
    }

    /// Adds numbers: all that a series has, in one list, or single ones.
    fn add_numbers(&mut self, content: Content<'a>) -> Result<(), Refusal> {
        match (content, &mut *self) {
            (Content::Bytes(numbers), Labels::Lent(_, 0)) => {
                *self = Labels::Lent(numbers, numbers.len());
            }
            (Content::Bytes(numbers), _) => self.copy(numbers),
            (Content::Varint(mut number), _) => {
                while number >= 0x80 {
                    self.copy(&[number.to_le_bytes()[0] | 0x80]);
                    number >>= 7;
                }
                self.copy(&[number.to_le_bytes()[0]]);
            }
            (Content::Fixed64(_) | Content::Fixed32, _) => return Err(NotProtobuf.into()),
        }
        Ok(())
    }

    fn copy(&mut self, more: &[u8]) {
        if let Labels::Lent(..) = self {
            *self = Labels::Own(Rc::new(self.bytes().to_vec()));
        }
        if let Labels::Own(bytes) = self {
            Rc::make_mut(bytes).extend_from_slice(more);
        }
    }
}

/// The next text that a list of numbers names.
fn symbol<'a>(symbols: &[&'a str], numbers: &mut Message<'_>) -> Result<&'a str, &'static str> {
    let number = numbers.varint().map_err(|_| "labels_refs is not a list of numbers")?;
    let text = usize::try_from(number).ok().and_then(|at| symbols.get(at));
    text.copied().ok_or("a label names a symbol that is not there")
}

/// Names and values of labels, as they stand.
fn pairs<'a>(
    version: Version,
    symbols: &[&'a str],
    labels: &'a [u8],
) -> Result<Vec<(&'a str, &'a str)>, &'static str> {
    let mut pairs = Vec::new();
    let mut message = Message::new(labels);
    match version {
        Version::One => {
            while let Some((_, content)) = message.field().map_err(|_| "a label is no message")? {
                let Content::Bytes(label) = content else { return Err("a label is no message") };
                pairs.push(label_texts(label)?);
            }
        }
        Version::Two => {
            while !message.rest().is_empty() {
                let name = symbol(symbols, &mut message)?;
                if message.rest().is_empty() {
                    return Err("the last label has no value");
                }
                pairs.push((name, symbol(symbols, &mut message)?));
            }
        }
    }
    Ok(pairs)
}

fn label_texts(label: &[u8]) -> Result<(&str, &str), &'static str> {
    let (mut name, mut value) = ("", "");
    let mut message = Message::new(label);
    while let Some((number, content)) = message.field().map_err(|_| "a label is no message")? {
        let text = match number {
            1 => &mut name,
            2 => &mut value,
            _ => continue,
        };
        let Content::Bytes(bytes) = content else { return Err("a label is not of texts") };
        *text = std::str::from_utf8(bytes).map_err(|_| "a label is not UTF-8")?;
    }
    Ok((name, value))
}

/// The series with these labels.
fn key(mut labels: Vec<(&str, &str)>, region: &str) -> Result<SeriesKey, Fault> {
    labels.sort_unstable();
    let twice = labels.windows(2).find_map(|pair| match pair {
        [one, two] if one.0 == two.0 => Some(one.0),
        _ => None,
    });
    if let Some(name) = twice {
        return Err(Fault::Rule(format!("the label {name} is given twice")));
    }
    if labels.first().is_some_and(|(name, _)| name.is_empty()) {
        return Err(Fault::Rule("a label has no name".to_owned()));
    }
    let metric = labels.iter().find(|(name, _)| *name == NAME).map_or("", |(_, metric)| metric);
    if metric.is_empty() {
        return Err(Fault::Rule("the label __name__ is missing".to_owned()));
    }
    // A label without a value is the same as none.
    let kept =
        labels.iter().filter(|(name, value)| !name.starts_with(INTERNAL) && !value.is_empty());
    let dimensions: Dimensions = kept.copied().collect();
    Ok(SeriesKey { metric: metric.to_owned(), dimensions, region: region.to_owned() })
}

/// A series as a message shows it.
fn described(version: Version, symbols: &[&str], labels: &[u8]) -> String {
    let Ok(pairs) = pairs(version, symbols, labels) else {
        return "a series".to_owned();
    };
    let name = pairs.iter().find(|(name, _)| *name == NAME).map_or("", |(_, metric)| metric);
    let others = pairs.iter().filter(|(name, _)| *name != NAME).take(LABELS_SHOWN);
    let others: Vec<String> = others
        .map(|(name, value)| format!("{}={:?}", shown(name.as_bytes()), shown(value.as_bytes())))
        .collect();
    shown(format!("{}{{{}}}", shown(name.as_bytes()), others.join(",")).as_bytes())
}

#[inline]
fn sample(bytes: &[u8]) -> Result<(i64, f64), Refusal> {
    let (mut time, mut value) = (0, 0.0);
    let mut message = Message::new(bytes);
    while let Some((number, content)) = message.field()? {
        match (number, content) {
            (1, Content::Fixed64(bits)) => value = f64::from_bits(bits),
            (2, Content::Varint(number)) => time = number.cast_signed(),
            (1 | 2, _) => return Err(NotProtobuf.into()),
            _ => {}
        }
    }
    Ok((time, value))
}

#[cfg(test)]
#[path = "remote_write_tests.rs"]
mod tests;

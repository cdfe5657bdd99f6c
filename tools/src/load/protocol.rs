//! The bodies that carry samples, in the words of the protocols that time-series databases take.
//!
//! The names of a series are encoded once, when the series begins; a sample adds its time and value.

use std::io::Write as _;

use clap::ValueEnum;

use super::shape::Sample;

/// The longest literal of a snappy block that a length of two bytes can say.
const LITERAL_BYTES_MAX: usize = 1 << 16;
/// The tag of a snappy literal whose length less one follows in two bytes.
const LITERAL_TAG: u8 = 61 << 2;

/// How samples are written to the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Protocol {
    /// JSON to /v2.0/metrics, an object a sample.
    Monasca,
    /// Lines to /write, a line a host and time, with a field for each metric.
    Influx,
    /// Prometheus remote write 1.0 to /api/v1/write; its snappy block is not made smaller.
    RemoteWrite,
}

/// What a series is called, before a protocol has encoded it.
pub(super) struct Names<'a> {
    /// What the metrics that are measured together are called.
    pub(super) group: &'a str,
    /// The metric.
    pub(super) metric: &'a str,
    /// Sorted by name.
    pub(super) dimensions: &'a [(&'a str, String)],
    /// Whether its values have no decimals.
    pub(super) integers: bool,
}

/// The names of a series as they stand in a body.
pub(super) struct Identity {
    /// All that stands before time and value; for lines all that stands before the fields.
    prefix: Vec<u8>,
    /// The field of a line.
    field: Vec<u8>,
    integers: bool,
}

impl Protocol {
    /// Where bodies go when the URL that was given names a server alone.
    pub(super) fn path(self) -> (&'static [&'static str], Option<&'static str>) {
        match self {
            Protocol::Monasca => (&["v2.0", "metrics"], None),
            Protocol::Influx => (&["write"], Some("precision=ms")),
            Protocol::RemoteWrite => (&["api", "v1", "write"], None),
        }
    }

    /// What a request says of its body.
    pub(super) fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Protocol::Monasca => &[("Content-Type", "application/json")],
            Protocol::Influx => &[("Content-Type", "text/plain; charset=utf-8")],
            Protocol::RemoteWrite => &[
                ("Content-Type", "application/x-protobuf"),
                ("Content-Encoding", "snappy"),
                ("X-Prometheus-Remote-Write-Version", "0.1.0"),
            ],
        }
    }

    /// The names of a series, encoded.
    pub(super) fn identity(self, names: &Names<'_>) -> Identity {
        let mut prefix = Vec::new();
        match self {
            Protocol::Monasca => {
                let dimensions: Vec<String> = (names.dimensions.iter())
                    .map(|(name, value)| format!(r#""{name}":"{value}""#))
                    .collect();
                let (metric, dimensions) = (names.metric, dimensions.join(","));
                let text = format!(r#"{{"name":"{metric}","dimensions":{{{dimensions}}}"#);
                prefix.extend_from_slice(text.as_bytes());
            }
            Protocol::Influx => {
                prefix.extend_from_slice(names.group.as_bytes());
                for (name, value) in names.dimensions {
                    prefix.extend_from_slice(format!(",{name}={value}").as_bytes());
                }
            }
            Protocol::RemoteWrite => {
                let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
                let metric: String = names.metric.chars().map(word).collect();
                // Labels are sorted, and `_` comes before every letter that is used here.
                put_label(&mut prefix, "__name__", &metric);
                for (name, value) in names.dimensions {
                    put_label(&mut prefix, name, value);
                }
            }
        }
        // What a line groups is not said again in its fields.
        let own = names.metric.strip_prefix(names.group).and_then(|rest| rest.strip_prefix('.'));
        let field = own.unwrap_or(names.metric).as_bytes().to_vec();
        Identity { prefix, field, integers: names.integers }
    }
}

#[cfg(test)]
impl Identity {
    /// What the series measures; with its group left away.
    pub(super) fn metric(&self) -> &[u8] {
        &self.field
    }
}

/// A body that is being filled.
pub(super) struct Body {
    protocol: Protocol,
    bytes: Vec<u8>,
    samples: usize,
    /// The line that is open: where its prefix lies in `bytes`, and its time.
    line: Option<(std::ops::Range<usize>, i64)>,
}

impl Body {
    pub(super) fn new(protocol: Protocol, samples: usize) -> Self {
        let bytes_each = match protocol {
            Protocol::Monasca => 170,
            Protocol::Influx => 40,
            Protocol::RemoteWrite => 140,
        };
        Body { protocol, bytes: Vec::with_capacity(samples * bytes_each), samples: 0, line: None }
    }

    pub(super) fn samples(&self) -> usize {
        self.samples
    }

    /// Whether the sample belongs to the line that is open.
    pub(super) fn continues(&self, sample: &Sample) -> bool {
        self.line.as_ref().is_some_and(|(prefix, time)| {
            *time == sample.time
                && self.bytes.get(prefix.clone()) == Some(&sample.series.identity.prefix)
        })
    }

    pub(super) fn push(&mut self, sample: &Sample) {
        let identity = &sample.series.identity;
        match self.protocol {
            Protocol::Monasca => {
                self.bytes.push(if self.samples == 0 { b'[' } else { b',' });
                self.bytes.extend_from_slice(&identity.prefix);
                let (time, value) = (sample.time, sample.value);
                self.text(format_args!(r#","timestamp":{time},"value":{value}}}"#));
            }
            Protocol::Influx => {
                if self.continues(sample) {
                    self.bytes.push(b',');
                } else {
                    self.end_line();
                    let start = self.bytes.len();
                    self.bytes.extend_from_slice(&identity.prefix);
                    self.line = Some((start..self.bytes.len(), sample.time));
                    self.bytes.push(b' ');
                }
                self.bytes.extend_from_slice(&identity.field);
                let kind = if identity.integers { "i" } else { "" };
                self.text(format_args!("={}{kind}", sample.value));
            }
            Protocol::RemoteWrite => {
                let mut point = vec![0x09];
                point.extend_from_slice(&sample.value.to_le_bytes());
                point.push(0x10);
                put_varint(&mut point, sample.time.cast_unsigned());
                let mut series = identity.prefix.clone();
                put_field(&mut series, 2, &point);
                put_field(&mut self.bytes, 1, &series);
            }
        }
        self.samples += 1;
    }

    /// The bytes to send.
    pub(super) fn finish(mut self) -> Vec<u8> {
        match self.protocol {
            Protocol::Monasca => self.bytes.push(b']'),
            Protocol::Influx => self.end_line(),
            Protocol::RemoteWrite => return snappy_literals(&self.bytes),
        }
        self.bytes
    }

    fn end_line(&mut self) {
        if let Some((_, time)) = self.line.take() {
            self.text(format_args!(" {time}\n"));
        }
    }

    fn text(&mut self, text: std::fmt::Arguments<'_>) {
        self.bytes.write_fmt(text).expect("writing to memory does not fail");
    }
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7F) as u8);
}

/// A field of protobuf whose content has a length: text, bytes or a message.
fn put_field(out: &mut Vec<u8>, number: u8, content: &[u8]) {
    out.push(number << 3 | 2);
    put_varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn put_label(out: &mut Vec<u8>, name: &str, value: &str) {
    let mut label = Vec::with_capacity(name.len() + value.len() + 4);
    put_field(&mut label, 1, name.as_bytes());
    put_field(&mut label, 2, value.as_bytes());
    put_field(out, 1, &label);
}

/// A snappy block that holds the bytes as they are: remote write wants snappy, and a server
/// unpacks literals by copying them.
fn snappy_literals(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / LITERAL_BYTES_MAX * 3 + 16);
    put_varint(&mut out, bytes.len() as u64);
    for literal in bytes.chunks(LITERAL_BYTES_MAX) {
        let length = u16::try_from(literal.len() - 1).expect("a chunk has 1 to 65536 bytes");
        out.push(LITERAL_TAG);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(literal);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::shape::{Shape, samples};

    fn body(shape: Shape, protocol: Protocol, count: usize) -> Vec<u8> {
        let mut body = Body::new(protocol, count);
        for sample in samples(shape, protocol, 2, 1_000_000, 10).take(count) {
            body.push(&sample);
        }
        body.finish()
    }

    #[test]
    fn a_host_and_time_is_one_line() {
        let text = String::from_utf8(body(Shape::Cpu, Protocol::Influx, 21)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        let tags = "cpu,datacenter=dc-0,hostname=host-00000,service=compute";
        let (prefix, rest) = lines[0].split_once(' ').unwrap();
        let (fields, time) = rest.split_once(' ').unwrap();
        assert_eq!((prefix, time), (tags, "1000000"));
        assert_eq!(fields.split(',').count(), 10);
        assert!(fields.starts_with("usage_user="), "{fields}");
        assert!(fields.split(',').all(|field| field.ends_with('i')), "{fields}");
        assert!(lines[2].ends_with(" 1010000"), "{text}");
    }

    #[test]
    fn a_short_lived_series_has_a_line_of_its_own() {
        let text = String::from_utf8(body(Shape::Mixed, Protocol::Influx, 13)).unwrap();
        let tags: Vec<&str> = text.lines().map(|line| line.split_once(' ').unwrap().0).collect();
        assert!(tags[0].ends_with("hostname=host-00000,service=compute"), "{text}");
        assert!(tags[1].contains(",process_id=1000,"), "{text}");
    }

    /// Reads what it must of protobuf: fields with a length, 64-bit numbers and varints.
    fn fields(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>, u64)> {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let (mut number, mut shift) = (0, 0);
            loop {
                let byte = bytes[0];
                *bytes = &bytes[1..];
                number |= u64::from(byte & 0x7F) << shift;
                shift += 7;
                if byte < 0x80 {
                    return number;
                }
            }
        }
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let (content, number) = match tag & 7 {
                0 => (Vec::new(), varint(&mut bytes)),
                1 => {
                    let (content, rest) = bytes.split_at(8);
                    bytes = rest;
                    (content.to_vec(), 0)
                }
                2 => {
                    let length = usize::try_from(varint(&mut bytes)).unwrap();
                    let (content, rest) = bytes.split_at(length);
                    bytes = rest;
                    (content.to_vec(), 0)
                }
                other => panic!("wire type {other}"),
            };
            fields.push((u8::try_from(tag >> 3).unwrap(), content, number));
        }
        fields
    }

    #[test]
    fn remote_write_is_protobuf_in_a_snappy_block() {
        let body = body(Shape::Cpu, Protocol::RemoteWrite, 1000);
        // The length of the whole in three bytes, then literals with their own.
        let whole = body[..3].iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7F));
        let (mut unpacked, mut rest) = (Vec::new(), &body[3..]);
        while let [LITERAL_TAG, low, high, tail @ ..] = rest {
            let length = usize::from(u16::from_le_bytes([*low, *high])) + 1;
            unpacked.extend_from_slice(&tail[..length]);
            rest = &tail[length..];
        }
        assert_eq!((unpacked.len(), rest.len()), (whole, 0));
        let request = fields(&unpacked);
        assert_eq!(request.len(), 1000);
        let series = fields(&request[0].1);
        let names: Vec<String> = (series.iter().filter(|field| field.0 == 1))
            .map(|label| String::from_utf8(fields(&label.1)[0].1.clone()).unwrap())
            .collect();
        assert_eq!(names, ["__name__", "datacenter", "hostname", "service"]);
        assert_eq!(fields(&series[0].1)[1].1, b"cpu_usage_user");
        let sample = fields(&series[4].1);
        let value = f64::from_le_bytes(sample[0].1.clone().try_into().unwrap());
        assert!((0.0..=100.0).contains(&value));
        assert_eq!(sample[1].2, 1_000_000);
    }
}

//! `moneta write`: sends measurements, one from the command line or many from a file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::client::{Client, Connection};
use crate::{pair, time};

/// Measurements per request.
const BATCH: usize = 1000;

#[derive(Args)]
#[command(after_help = "\
A file holds either measurements as the Monasca API takes them (an object, an array of objects, or
several of those one after the other):
  [{\"name\": \"cpu.idle\", \"dimensions\": {\"hostname\": \"a\"}, \"timestamp\": 1795166675045, \"value\": 0.5}]
or lines of timestamp,value (needs --name); a timestamp is in milliseconds since the epoch, or a time
such as 2026-11-20T09:00:00Z, -1h or now. A header line and empty lines are skipped.

The whole file is sent in batches of 1000 until one is refused.")]
pub(crate) struct Write {
    /// Name of the metric
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    name: Option<String>,
    /// Its value
    #[arg(requires = "name", required_unless_present = "from", allow_hyphen_values = true)]
    value: Option<f64>,
    /// A dimension: NAME=VALUE. May be repeated
    #[arg(short, long = "dimension", value_name = "NAME=VALUE", value_parser = pair::parse)]
    dimensions: Vec<(String, String)>,
    /// When it was measured: now, -30m, or ISO 8601
    #[arg(
        long,
        default_value = "now",
        allow_hyphen_values = true,
        value_name = "TIME",
        conflicts_with = "from"
    )]
    time: String,
    /// An extra fact of the measurement (value_meta): NAME=VALUE. May be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair::parse, conflicts_with = "from")]
    meta: Vec<(String, String)>,
    /// Send the measurements in this file; - is standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Name of the metric of the lines of timestamp,value
    #[arg(long = "name", value_name = "NAME", requires = "from", id = "csv_name")]
    csv_name: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

impl Write {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut batches = Batches::to(self.connection.client()?);
        let now = time::now();
        match &self.from {
            Some(file) => self.send_file(file, now, &mut batches).await?,
            None => batches.push(self.single(now)?).await?,
        }
        batches.flush().await?;
        println!("{} written", batches.written);
        Ok(ExitCode::SUCCESS)
    }

    fn single(&self, now: i64) -> anyhow::Result<Value> {
        let value = self.value.context("a value is missing")?;
        if !value.is_finite() {
            bail!("the value {value} is not a finite number");
        }
        let mut measurement = json!({
            "name": self.name,
            "dimensions": object(&self.dimensions),
            "timestamp": time::parse(&self.time, now)?,
            "value": value,
        });
        if let (false, Some(fields)) = (self.meta.is_empty(), measurement.as_object_mut()) {
            fields.insert("value_meta".to_owned(), object(&self.meta));
        }
        Ok(measurement)
    }

    async fn send_file(&self, file: &Path, now: i64, to: &mut Batches) -> anyhow::Result<()> {
        let mut input = open(file)?;
        if first_byte(&mut input)?.is_none_or(|byte| matches!(byte, b'[' | b'{')) {
            return send_json(input, to).await;
        }
        let name = self.csv_name.as_deref();
        let name = name.context("lines of timestamp,value need --name")?;
        let dimensions = object(&self.dimensions);
        for (number, line) in (1_usize..).zip(input.lines()) {
            let line = line.context("the input cannot be read")?;
            let row = csv_row(&line, number == 1, now);
            let Some((timestamp, value)) = row.with_context(|| format!("line {number}"))? else {
                continue;
            };
            let measurement = json!({
                "name": name, "dimensions": dimensions, "timestamp": timestamp, "value": value,
            });
            to.push(measurement).await?;
        }
        Ok(())
    }
}

async fn send_json(input: impl Read, to: &mut Batches) -> anyhow::Result<()> {
    for document in serde_json::Deserializer::from_reader(input).into_iter::<Value>() {
        match document.context("the input is not JSON")? {
            Value::Array(measurements) => {
                for measurement in measurements {
                    to.push(measurement).await?;
                }
            }
            measurement @ Value::Object(_) => to.push(measurement).await?,
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                bail!("{other} is no measurement");
            }
        }
    }
    Ok(())
}

/// Collects measurements and sends them a thousand at a time.
struct Batches {
    client: Client,
    waiting: Vec<Value>,
    written: usize,
}

impl Batches {
    fn to(client: Client) -> Self {
        Batches { client, waiting: Vec::new(), written: 0 }
    }

    async fn push(&mut self, measurement: Value) -> anyhow::Result<()> {
        self.waiting.push(measurement);
        if self.waiting.len() >= BATCH { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        let batch = std::mem::take(&mut self.waiting);
        if batch.is_empty() {
            return Ok(());
        }
        let (count, body) = (batch.len(), Value::Array(batch));
        let sent = self.client.post(&["v2.0", "metrics"], &body).await;
        sent.with_context(|| {
            let first = self.written + 1;
            format!(
                "{} written; measurements {first} to {} not",
                self.written,
                self.written + count
            )
        })?;
        self.written += count;
        Ok(())
    }
}

fn open(file: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(stdin())));
    }
    let opened = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// The first byte that is not white space, without taking it.
fn first_byte(input: &mut dyn BufRead) -> anyhow::Result<Option<u8>> {
    loop {
        let buffer = input.fill_buf().context("the input cannot be read")?;
        if buffer.is_empty() {
            return Ok(None);
        }
        match buffer.iter().position(|byte| !byte.is_ascii_whitespace()) {
            Some(at) => return Ok(buffer.get(at).copied()),
            None => {
                let length = buffer.len();
                input.consume(length);
            }
        }
    }
}

/// `timestamp,value` of a line; `None` for an empty one and for a header.
fn csv_row(line: &str, first: bool, now: i64) -> anyhow::Result<Option<(i64, f64)>> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(None);
    }
    let (timestamp, value) = line.split_once(',').context("no comma in it")?;
    let (timestamp, value) = (unquoted(timestamp), unquoted(value));
    let Ok(number) = value.parse::<f64>() else {
        if first && value.chars().all(|c| c.is_alphabetic() || c == '_') {
            return Ok(None);
        }
        bail!("{value:?} is no number");
    };
    if !number.is_finite() {
        bail!("{value:?} is not a finite number");
    }
    let timestamp = match timestamp.parse::<i64>() {
        Ok(ms) => ms,
        Err(_) => time::parse(timestamp, now)?,
    };
    Ok(Some((timestamp, number)))
}

fn unquoted(field: &str) -> &str {
    let field = field.trim();
    field.strip_prefix('"').and_then(|field| field.strip_suffix('"')).unwrap_or(field)
}

fn object(pairs: &[(String, String)]) -> Value {
    let pairs = pairs.iter().map(|(name, value)| (name.clone(), Value::String(value.clone())));
    Value::Object(pairs.collect::<Map<String, Value>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, first: bool, want: Result<Option<(i64, f64)>, ()>) {
        assert_eq!(csv_row(line, first, 5000).map_err(drop), want, "{line}");
    }

    #[test]
    fn lines_of_timestamp_and_value() {
        check("1000,0.5", false, Ok(Some((1000, 0.5))));
        check("-1, 2 ", true, Ok(Some((-1, 2.0))));
        check("\"1970-01-01T00:00:01Z\",\"1e3\"\r", false, Ok(Some((1000, 1000.0))));
        check("now,7", false, Ok(Some((5000, 7.0))));
        check("", false, Ok(None));
        check("timestamp,value", true, Ok(None));
    }

    #[test]
    fn lines_that_are_none() {
        check("timestamp,value", false, Err(()));
        check("1000", true, Err(()));
        check("1000,1,2", false, Err(()));
        check("soon,1", false, Err(()));
        check("1000,NaN", true, Err(()));
    }

    #[test]
    fn the_first_byte_decides_the_form() {
        let first = |text: &str| first_byte(&mut text.as_bytes()).unwrap();
        assert_eq!(first(" \n [1]"), Some(b'['));
        assert_eq!(first("  "), None);
    }

    #[test]
    fn one_measurement_from_arguments() {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            write: Write,
        }
        let single = |line: &str| {
            let write = Line::try_parse_from(line.split(' ')).ok()?.write;
            Some(write.single(7000).unwrap().to_string())
        };
        assert_eq!(
            single("w cpu -1.5 -d host=a --time -2s --meta why=x").as_deref(),
            Some(concat!(
                r#"{"dimensions":{"host":"a"},"name":"cpu","timestamp":5000,"#,
                r#""value":-1.5,"value_meta":{"why":"x"}}"#
            ))
        );
        assert_eq!(single("w cpu"), None, "a value is missing");
        assert_eq!(single("w cpu 1 --from x"), None, "one or many");
    }
}

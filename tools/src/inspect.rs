//! `moneta inspect`: what a data directory holds and where its bytes go.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use moneta_storage::inspect::{self, Amount, Contents, Depth, Inspection};
use serde_json::{Value, json};

use crate::output::{Format, Table};

/// Says what is stored.
#[derive(Args)]
pub(crate) struct Inspect {
    /// Folder that holds all data; no server may have it open
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Read the blocks of this segment
    #[arg(long, value_name = "N", conflicts_with = "blocks")]
    segment: Option<u64>,
    /// Read the blocks of all segments
    #[arg(long)]
    blocks: bool,
    /// Form of the output
    #[arg(short, long, alias = "format", value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Inspect {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let depth = match (self.segment, self.blocks) {
            (Some(number), _) => Depth::Segment(number),
            (None, true) => Depth::Blocks,
            (None, false) => Depth::Manifest,
        };
        let found = inspect::inspect(&self.data, depth)?;
        if self.output == Format::Json {
            println!("{:#}", whole(&found));
            return Ok(ExitCode::SUCCESS);
        }
        let tables = [segments(&found), families(&found), log(&found)];
        let blocks = [parts(&found.contents), codecs(&found.contents)];
        let read = found.contents.segments > 0;
        for table in tables.iter().chain(blocks.iter().filter(|_| read)) {
            table.print(self.output)?;
            println!();
        }
        for path in &found.quarantine {
            println!("in quarantine: {}", path.display());
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn table(columns: &[&str], rows: Vec<Vec<Value>>) -> Table {
    let mut table = Table::new(columns.iter().map(ToString::to_string).collect());
    table.rows = rows;
    table
}

fn per_sample(bytes: u64, samples: u64) -> f64 {
    let bytes = bytes as f64 / samples.max(1) as f64;
    (bytes * 1000.0).round() / 1000.0
}

fn time(millis: i64) -> Value {
    let time = jiff::Timestamp::from_millisecond(millis);
    time.map_or_else(|_| json!(millis), |time| json!(time.to_string()))
}

fn segments(found: &Inspection) -> Table {
    let columns = [
        "segment",
        "tier",
        "day",
        "level",
        "samples",
        "bytes",
        "bytes/sample",
        "first sequence",
        "last sequence",
        "from",
        "to",
        "error",
    ];
    let row = |segment: &inspect::SegmentReport| {
        vec![
            json!(segment.number),
            json!(segment.tier),
            json!(segment.day),
            json!(segment.level),
            json!(segment.samples),
            json!(segment.bytes),
            json!(per_sample(segment.bytes, segment.samples)),
            json!(segment.sequences.0.number()),
            json!(segment.sequences.1.number()),
            time(segment.times.start.millis()),
            time(segment.times.end.millis()),
            json!(segment.error),
        ]
    };
    table(&columns, found.segments.iter().map(row).collect())
}

fn families(found: &Inspection) -> Table {
    let row = |family: &inspect::FamilyReport| {
        let (entries, plain) = (json!(family.entries), json!(family.plain_bytes));
        vec![json!(family.name), json!(family.files), json!(family.bytes), entries, plain]
    };
    let columns = ["family", "files", "bytes of files", "entries", "bytes of entries"];
    table(&columns, found.families.iter().map(row).collect())
}

fn log(found: &Inspection) -> Table {
    let log = &found.log;
    let columns =
        ["log records", "requests", "rows", "bytes", "bytes/row", "after", "up to", "unreadable"];
    let row = vec![
        json!(log.records),
        json!(log.requests),
        json!(log.rows),
        json!(log.bytes),
        json!(per_sample(log.bytes, log.rows)),
        json!(log.trimmed),
        json!(log.newest),
        json!(log.unreadable),
    ];
    table(&columns, vec![row])
}

fn parts(contents: &Contents) -> Table {
    let samples = contents.row_samples + contents.series_samples;
    let mut rows: Vec<Vec<Value>> = contents
        .parts
        .iter()
        .map(|(name, Amount { count, bytes })| {
            vec![json!(name), json!(count), json!(bytes), json!(per_sample(*bytes, samples))]
        })
        .collect();
    let blocks = contents.row_blocks + contents.series_blocks;
    let bytes = contents.parts.values().map(|amount| amount.bytes).sum::<u64>();
    let all = vec![json!("all"), json!(blocks), json!(bytes), json!(per_sample(bytes, samples))];
    rows.push(all);
    table(&["part", "count", "bytes", "bytes/sample"], rows)
}

fn codecs(contents: &Contents) -> Table {
    let row = |((column, codec), amount): (&(&str, &str), &Amount)| {
        vec![json!(column), json!(codec), json!(amount.count), json!(amount.bytes)]
    };
    let rows = contents.codecs.iter().map(row).collect();
    table(&["column", "codec", "count", "bytes"], rows)
}

fn whole(found: &Inspection) -> Value {
    let rows = |table: Table| -> Value {
        serde_json::from_str(&table.render(Format::Json)).unwrap_or(Value::Null)
    };
    let contents = &found.contents;
    let mut answer = json!({
        "segments": rows(segments(found)),
        "families": rows(families(found)),
        "log": rows(log(found)),
        "quarantine":
            found.quarantine.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
    });
    if contents.segments > 0 {
        let blocks = json!({
            "row_blocks": contents.row_blocks,
            "row_samples": contents.row_samples,
            "series_blocks": contents.series_blocks,
            "series_samples": contents.series_samples,
            "shared_times": contents.shared_times,
            "table_entries": contents.table_entries,
            "parts": rows(parts(contents)),
            "codecs": rows(codecs(contents)),
        });
        if let Some(answer) = answer.as_object_mut() {
            answer.insert("blocks".to_owned(), blocks);
        }
    }
    answer
}

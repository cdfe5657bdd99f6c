//! Tables on standard output, as a table for people, JSON or CSV.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{CellAlignment, Table as Drawing, presets};
use serde_json::{Map, Value};

/// The form of an output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    Table,
    /// A JSON array with an object per row
    Json,
    /// Comma-separated values with a header line
    Csv,
}

/// Rows of values under named columns.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Value>>,
}

impl Table {
    pub(crate) fn new(columns: Vec<String>) -> Self {
        Table { columns, rows: Vec::new() }
    }

    /// The fields `columns` of JSON objects.
    pub(crate) fn of(rows: &[Value], columns: &[&str]) -> Self {
        let cells = |row: &Value| {
            columns.iter().map(|name| row.get(*name).cloned().unwrap_or_default()).collect()
        };
        Table {
            columns: columns.iter().map(ToString::to_string).collect(),
            rows: rows.iter().map(cells).collect(),
        }
    }

    /// Writes the table to standard output.
    pub(crate) fn print(&self, format: Format) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(self.render(format).as_bytes())?;
        out.flush()
    }

    /// The table as text that ends with a line break.
    pub(crate) fn render(&self, format: Format) -> String {
        match format {
            Format::Table => self.drawn(),
            Format::Json => self.json(),
            Format::Csv => self.csv(),
        }
    }

    fn drawn(&self) -> String {
        let mut drawing = Drawing::new();
        drawing.load_style(presets::ASCII_MARKDOWN).set_header(&self.columns);
        for row in &self.rows {
            drawing.add_row(row.iter().map(text));
        }
        for at in 0..self.columns.len() {
            let numbers = self.rows.iter().all(|row| row.get(at).is_some_and(Value::is_number));
            if let (Some(column), true) = (drawing.column_mut(at), numbers) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        format!("{}\n", drawing.trim_fmt())
    }

    fn json(&self) -> String {
        let object = |row: &Vec<Value>| -> Value {
            let pairs = self.columns.iter().cloned().zip(row.iter().cloned());
            Value::Object(pairs.collect::<Map<String, Value>>())
        };
        let rows: Vec<Value> = self.rows.iter().map(object).collect();
        format!("{:#}\n", Value::Array(rows))
    }

    fn csv(&self) -> String {
        let line = |fields: Vec<String>| fields.join(",") + "\n";
        let header = line(self.columns.iter().map(|name| csv_field(name)).collect());
        let rows =
            self.rows.iter().map(|row| line(row.iter().map(|v| csv_field(&text(v))).collect()));
        std::iter::once(header).chain(rows).collect()
    }
}

/// A value for people: texts bare, `a=1,b=2` for an object of dimensions, nothing for null.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(pairs) => {
            let pairs = pairs.iter().map(|(name, value)| format!("{name}={}", text(value)));
            pairs.collect::<Vec<_>>().join(",")
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    }
}

/// A field as RFC 4180 wants it.
fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn empty(columns: &[&str]) -> Table {
        Table::new(columns.iter().map(ToString::to_string).collect())
    }

    fn table() -> Table {
        let mut table = empty(&["timestamp", "dimensions", "value"]);
        let first = vec![json!("t1"), json!({"host": "a", "zone": "1"}), json!(0.5)];
        let second = vec![json!("t2"), json!({"say": "\"hi\""}), json!(12)];
        table.rows = vec![first, second];
        table
    }

    #[track_caller]
    fn check(table: &Table, format: Format, want: &str) {
        assert_eq!(table.render(format), want);
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        check(
            &table(),
            Format::Csv,
            "timestamp,dimensions,value\nt1,\"host=a,zone=1\",0.5\nt2,\"say=\"\"hi\"\"\",12\n",
        );
        check(&empty(&["a", "b"]), Format::Csv, "a,b\n");
    }

    #[test]
    fn json_is_an_object_per_row() {
        let parsed: Value = serde_json::from_str(&table().render(Format::Json)).unwrap();
        assert_eq!(
            parsed[0],
            json!({"timestamp": "t1", "dimensions": {"host": "a", "zone": "1"}, "value": 0.5})
        );
        assert_eq!(parsed.as_array().unwrap().len(), 2);
        check(&empty(&["a"]), Format::Json, "[]\n");
    }

    #[test]
    fn tables_align_numbers_to_the_right() {
        check(
            &table(),
            Format::Table,
            "| timestamp | dimensions    | value |\n\
             |-----------|---------------|-------|\n\
             | t1        | host=a,zone=1 |   0.5 |\n\
             | t2        | say=\"hi\"      |    12 |\n",
        );
    }
}

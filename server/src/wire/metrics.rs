//! Answers of the metrics resources.

use moneta_query::lang::monasca::Measurement;
use moneta_storage::model::{Dimensions, Timestamp};
use serde::ser::{SerializeMap, SerializeSeq, SerializeTuple};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::links::Link;
use super::time::{format_ms, format_short};

/// A page of elements.
#[derive(Debug, Serialize)]
pub(crate) struct Listing<T> {
    /// `self`, and `next` if there may be more.
    pub(crate) links: Vec<Link>,
    /// The elements.
    pub(crate) elements: Vec<T>,
}

/// Dimensions as a JSON object.
#[derive(Clone, Debug)]
pub(crate) struct DimensionMap(pub(crate) Vec<(String, String)>);

impl From<&Dimensions> for DimensionMap {
    fn from(dimensions: &Dimensions) -> Self {
        DimensionMap(dimensions.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect())
    }
}

impl Serialize for DimensionMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A series in a list.
#[derive(Debug, Serialize)]
pub(crate) struct MetricElement {
    /// Stable: the series' number.
    pub(crate) id: String,
    /// Metric name.
    pub(crate) name: String,
    /// All dimensions.
    pub(crate) dimensions: DimensionMap,
}

/// A metric name in a list.
#[derive(Debug, Serialize)]
pub(crate) struct NameElement {
    /// The name.
    pub(crate) name: String,
}

/// A dimension name in a list.
#[derive(Debug, Serialize)]
pub(crate) struct DimensionNameElement {
    /// The name.
    pub(crate) dimension_name: String,
}

/// A dimension value in a list.
#[derive(Debug, Serialize)]
pub(crate) struct DimensionValueElement {
    /// The value.
    pub(crate) dimension_value: String,
}

/// Measurements of one group.
#[derive(Debug, Serialize)]
pub(crate) struct MeasurementsElement {
    /// The group's id.
    pub(crate) id: String,
    /// Metric name.
    pub(crate) name: String,
    /// What the group has in common.
    pub(crate) dimensions: DimensionMap,
    /// Names of the columns.
    pub(crate) columns: [&'static str; 3],
    /// Rows.
    pub(crate) measurements: Vec<MeasurementRow>,
}

/// `[time, value, value_meta]`
#[derive(Debug)]
pub(crate) struct MeasurementRow(pub(crate) Measurement);

impl Serialize for MeasurementRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (time, value, meta) = &self.0;
        let mut row = serializer.serialize_tuple(3)?;
        row.serialize_element(&format_ms(*time))?;
        row.serialize_element(value)?;
        // Other writers than this API may have stored a text that is no JSON object.
        let text = meta.as_ref().map_or("{}", |meta| meta.text());
        let raw = serde_json::from_str::<&RawValue>(text).ok();
        match raw.filter(|raw| raw.get().starts_with('{')) {
            Some(raw) => row.serialize_element(raw)?,
            None => {
                row.serialize_element(&[("text", text)].into_iter().collect::<TextMap<'_>>())?
            }
        }
        row.end()
    }
}

/// A map of texts, small.
type TextMap<'a> = std::collections::BTreeMap<&'a str, &'a str>;

/// Statistics of one group.
#[derive(Debug, Serialize)]
pub(crate) struct StatisticsElement {
    /// The group's id.
    pub(crate) id: String,
    /// Metric name.
    pub(crate) name: String,
    /// What the group has in common.
    pub(crate) dimensions: DimensionMap,
    /// `timestamp` and the statistics in the order asked for.
    pub(crate) columns: Vec<&'static str>,
    /// Rows.
    pub(crate) statistics: Vec<StatisticsRow>,
}

/// `[time, figure…]`
#[derive(Debug)]
pub(crate) struct StatisticsRow {
    /// Start of the period.
    pub(crate) start: Timestamp,
    /// In the order asked for.
    pub(crate) figures: Vec<Figure>,
}

/// A statistic: counts are printed without a fraction, all else with one.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Figure {
    /// Of samples.
    Count(u64),
    /// In the unit of the samples.
    Value(f64),
}

impl Serialize for StatisticsRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_seq(Some(self.figures.len() + 1))?;
        row.serialize_element(&format_short(self.start))?;
        for figure in &self.figures {
            row.serialize_element(figure)?;
        }
        row.end()
    }
}

#[cfg(test)]
mod tests {
    use moneta_storage::model::ValueMeta;

    use super::*;

    #[test]
    fn rows_look_as_clients_expect() {
        let measurement = |value: f64, meta: Option<&str>| {
            let meta = meta.and_then(ValueMeta::new);
            let row = MeasurementRow((Timestamp::from_millis(1500), value, meta));
            serde_json::to_string(&row).unwrap()
        };
        assert_eq!(measurement(0.5, None), r#"["1970-01-01T00:00:01.500Z",0.5,{}]"#);
        assert_eq!(
            measurement(2.0, Some(r#"{"k":"v"}"#)),
            r#"["1970-01-01T00:00:01.500Z",2.0,{"k":"v"}]"#
        );
        assert_eq!(
            measurement(f64::NAN, Some("free text")),
            r#"["1970-01-01T00:00:01.500Z",null,{"text":"free text"}]"#
        );
        let values = [3.5, 2.0, -0.0, 1e300].map(Figure::Value);
        let figures = values.into_iter().chain([Figure::Count(7)]).collect();
        let row = StatisticsRow { start: Timestamp::from_millis(60_000), figures };
        let text = serde_json::to_string(&row).unwrap();
        assert_eq!(text, r#"["1970-01-01T00:01:00Z",3.5,2.0,-0.0,1e+300,7]"#);
    }
}

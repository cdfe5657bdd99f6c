//! Tests of remote write: both versions say the same, what is not stored is told, nothing is believed.

use std::cell::{Cell, RefCell};
use std::sync::mpsc;

use moneta_storage::Store;
use moneta_storage::StoreConfig;
use moneta_storage::clock::ManualClock;
use moneta_storage::model::{Selector, TimeRange};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const NOW: i64 = 1_795_166_675_000;
/// A series ends here.
const STALE: u64 = 0x7ff0_0000_0000_0002;

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// A field that holds bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    put_varint(&mut out, content.len() as u64);
    out.extend_from_slice(content);
    out
}

fn label(name: &str, value: &str) -> Vec<u8> {
    field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
}

fn point(time: i64, value: f64) -> Vec<u8> {
    let mut out = vec![0x09];
    out.extend_from_slice(&value.to_le_bytes());
    out.push(0x10);
    put_varint(&mut out, time.cast_unsigned());
    out
}

/// Labels and samples of a series, before a version has encoded them.
type Series<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

type OwnedSeries<'a> = (Vec<(&'a str, &'a str)>, Vec<(i64, f64)>);

fn body_of_one(all: &[Series<'_>]) -> Vec<u8> {
    let series = all.iter().map(|(labels, samples)| {
        let labels = labels.iter().flat_map(|(name, value)| label(name, value));
        let samples = samples.iter().flat_map(|(time, value)| field(2, &point(*time, *value)));
        field(1, &labels.chain(samples).collect::<Vec<u8>>())
    });
    series.collect::<Vec<_>>().concat()
}

fn body_of_two(all: &[Series<'_>]) -> Vec<u8> {
    let mut symbols = vec![""];
    let mut out = Vec::new();
    for (labels, samples) in all {
        let mut numbers = Vec::new();
        for text in labels.iter().flat_map(|(name, value)| [*name, *value]) {
            let at = symbols.iter().position(|have| *have == text).unwrap_or_else(|| {
                symbols.push(text);
                symbols.len() - 1
            });
            put_varint(&mut numbers, at as u64);
        }
        let samples = samples.iter().flat_map(|(time, value)| field(2, &point(*time, *value)));
        out.extend(field(5, &[field(1, &numbers), samples.collect()].concat()));
    }
    // Symbols come first as a rule, and may come last.
    symbols.iter().for_each(|text| out.extend(field(4, text.as_bytes())));
    out
}

struct Stored {
    store: Store,
    tenant: RefCell<String>,
    _folder: TempDir,
}

impl Stored {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(NOW));
        let store = Store::open(folder.path(), StoreConfig::default(), clock).unwrap();
        Stored { store, tenant: RefCell::new("t".to_owned()), _folder: folder }
    }

    fn decode(&self, version: Version, body: &[u8]) -> Result<Batch, Refusal> {
        let tenant = self.store.tenant(&self.tenant.borrow()).unwrap();
        decode(version, self.store.request(tenant), "r", 1 << 20, body)
    }

    /// Stores what a body says; gives what was not taken.
    fn write(&self, version: Version, body: &[u8]) -> (String, String, usize) {
        let batch = self.decode(version, body).unwrap();
        let (done, wait) = mpsc::sync_channel(1);
        self.store.submit(batch.request, move |result| done.send(result).unwrap()).unwrap();
        wait.recv().unwrap().unwrap();
        (batch.refused.text(), batch.histograms.text(), batch.exemplars)
    }

    /// Everything there is: series, how long ago, value.
    fn rows(&self) -> Vec<String> {
        let tenant = self.store.tenant(&self.tenant.borrow()).unwrap();
        let series = self.store.select(tenant, &Selector::default()).unwrap();
        let mut rows = Vec::new();
        let read = self.store.view(tenant).read(&series, TimeRange::ALL, 1000, |id, samples| {
            let key = self.store.series(tenant, id)?.unwrap();
            for (time, value) in samples.times.iter().zip(&samples.values) {
                let value =
                    if value.to_bits() == STALE { "stale".to_owned() } else { value.to_string() };
                rows.push(format!("{}{} {} {value}", key.metric, key.dimensions, NOW - time));
            }
            Ok::<_, moneta_storage::Error>(())
        });
        read.unwrap();
        rows.sort();
        rows
    }
}

fn nothing() -> (String, String, usize) {
    (String::new(), String::new(), 0)
}

#[test]
fn both_versions_say_the_same() {
    let all: &[Series<'_>] = &[
        (
            &[("__name__", "up"), ("instance", "a:9100"), ("job", "node")],
            &[(NOW, 1.0), (NOW - 5, 0.0)],
        ),
        (&[("__name__", "up"), ("instance", "b:9100"), ("job", "node")], &[(NOW, 1.5)]),
        (&[("__name__", "http:rate5m"), ("path", "/a/{id}?x=1&y=\"2\"")], &[(NOW, f64::INFINITY)]),
        (
            &[("__name__", "q"), ("quantile", "0.5")],
            &[(NOW, f64::NAN), (NOW - 1, f64::from_bits(STALE))],
        ),
        (&[("__name__", "e"), ("__tmp", "x"), ("empty", ""), ("_a", "ö")], &[(NOW, -0.0)]),
        (&[("job", "x"), ("__name__", "unsorted")], &[(NOW, 7.0)]),
        (&[("__name__", "without_samples")], &[]),
    ];
    for (version, body) in [(Version::One, body_of_one(all)), (Version::Two, body_of_two(all))] {
        let stored = Stored::new();
        // The second time, the series are known.
        for _ in 0..2 {
            assert_eq!(stored.write(version, &body), nothing());
            let want = [
                "e{_a=ö} 0 -0",
                "http:rate5m{path=/a/{id}?x=1&y=\"2\"} 0 inf",
                "q{quantile=0.5} 0 NaN",
                "q{quantile=0.5} 1 stale",
                "unsorted{job=x} 0 7",
                "up{instance=a:9100, job=node} 0 1",
                "up{instance=a:9100, job=node} 5 0",
                "up{instance=b:9100, job=node} 0 1.5",
            ];
            assert_eq!(stored.rows(), want, "{version:?}");
        }
        stored.store.close().unwrap();
    }
}

#[test]
fn labels_may_stand_anywhere() {
    let stored = Stored::new();
    let parts = [
        field(2, &point(NOW, 1.0)),
        label("__name__", "m"),
        field(2, &point(NOW - 1, 2.0)),
        label("a", "1"),
        label("b", "2"),
    ];
    assert_eq!(stored.write(Version::One, &field(1, &parts.concat())), nothing());
    // Numbers one by one, and in two lists.
    let symbols: Vec<u8> =
        ["", "__name__", "m", "a", "3"].iter().flat_map(|text| field(4, text.as_bytes())).collect();
    let samples = field(2, &point(NOW, 3.0));
    let single = [&[0x08, 1, 0x08, 2][..], &samples, &[0x08, 3, 0x08, 4]].concat();
    assert_eq!(
        stored.write(Version::Two, &[symbols.clone(), field(5, &single)].concat()),
        nothing()
    );
    let lists = [field(1, &[1, 2]), field(1, &[3, 4]), field(2, &point(NOW - 1, 4.0))].concat();
    assert_eq!(stored.write(Version::Two, &[symbols, field(5, &lists)].concat()), nothing());
    assert_eq!(stored.rows(), ["m{a=1, b=2} 0 1", "m{a=1, b=2} 1 2", "m{a=3} 0 3", "m{a=3} 1 4"]);
    stored.store.close().unwrap();
}

#[test]
fn what_is_not_stored_is_told_and_the_rest_is_stored() {
    let stored = Stored::new();
    let check = |labels: &[(&str, &str)], time: i64, want: &str| {
        let all: &[Series<'_>] =
            &[(labels, &[(time, 1.0)]), (&[("__name__", "good")], &[(NOW, 1.0)])];
        for (version, body) in [(Version::One, body_of_one(all)), (Version::Two, body_of_two(all))]
        {
            let (refused, ..) = stored.write(version, &body);
            assert_eq!(refused, want, "{version:?}");
            assert_eq!(stored.rows(), ["good{} 0 1"]);
        }
    };
    check(&[("a", "1")], NOW, "{a=\"1\"}: the label __name__ is missing");
    check(&[("__name__", "")], NOW, "{}: the label __name__ is missing");
    check(
        &[("__name__", "m"), ("a", "1"), ("a", "2")],
        NOW,
        "m{a=\"1\",a=\"2\"}: the label a is given twice",
    );
    check(&[("__name__", "m"), ("", "1")], NOW, "m{=\"1\"}: a label has no name");
    let ahead = NOW + 90_000_000;
    let late = "m{}: timestamp 1795256675000 lies more than a day ahead";
    check(&[("__name__", "m")], ahead, late);
    stored.store.close().unwrap();
}

#[test]
fn histograms_are_told_and_exemplars_counted() {
    let stored = Stored::new();
    let name = label("__name__", "h");
    let one = [name, field(3, b""), field(4, b"\x08\x01"), field(2, &point(NOW, 1.0))].concat();
    let want = (String::new(), "h{}".to_owned(), 1);
    assert_eq!(stored.write(Version::One, &field(1, &one)), want);
    let symbols: Vec<u8> =
        ["", "__name__", "h"].iter().flat_map(|text| field(4, text.as_bytes())).collect();
    let two = [field(1, &[1, 2]), field(3, b"\x08\x01"), field(4, b""), field(5, b"")].concat();
    assert_eq!(stored.write(Version::Two, &[symbols, field(5, &two)].concat()), want);
    assert_eq!(stored.rows(), ["h{} 0 1"]);
    // Descriptions of metrics are passed over.
    assert_eq!(stored.write(Version::One, &field(3, b"\x08\x01")), nothing());
    stored.store.close().unwrap();
}

#[test]
fn what_is_no_message_is_refused_whole() {
    let stored = Stored::new();
    let check = |version: Version, body: &[u8], want: Refusal| {
        assert_eq!(stored.decode(version, body).err(), Some(want), "{body:?}");
    };
    let malformed = Refusal::Malformed;
    for version in [Version::One, Version::Two] {
        check(version, b"\xff", malformed("the body is not protobuf"));
    }
    check(Version::One, b"\x08\x01", malformed("the body is not protobuf"));
    check(Version::One, &field(1, b"\x12"), malformed("the body is not protobuf"));
    check(Version::One, &field(1, &field(2, b"\x08\x01")), malformed("the body is not protobuf"));
    check(Version::Two, &field(4, b"a"), malformed("the first symbol must be empty"));
    let symbols = [field(4, b""), field(4, b"\xff")].concat();
    check(Version::Two, &symbols, malformed("a symbol is not UTF-8"));
    let missing = [field(1, &[1, 2]), field(2, &point(NOW, 1.0))].concat();
    let missing = [field(4, b""), field(5, &missing)].concat();
    check(Version::Two, &missing, malformed("a label names a symbol that is not there"));
    let odd = [field(1, &[0]), field(2, &point(NOW, 1.0))].concat();
    let (refused, ..) = stored.write(Version::Two, &[field(4, b""), field(5, &odd)].concat());
    assert_eq!(refused, "a series: the last label has no value");
    let lone = field(1, &[field(1, &field(1, b"\xff")), field(2, &point(NOW, 1.0))].concat());
    let (refused, ..) = stored.write(Version::One, &lone);
    assert_eq!(refused, "a series: a label is not UTF-8");
    assert_eq!(stored.rows().len(), 0);
    stored.store.close().unwrap();
}

#[test]
fn a_body_says_no_more_than_a_request_holds() {
    let stored = Stored::new();
    let empty = field(2, b"").repeat(moneta_storage::write::REQUEST_SAMPLES_MAX + 1);
    assert_eq!(stored.decode(Version::One, &field(1, &empty)).err(), Some(Refusal::TooMuch));
    // One long text, named again and again.
    let long = [field(4, b""), field(4, "x".repeat(60_000).as_bytes())].concat();
    let numbers = field(1, &[1; 10]);
    let series = field(5, &[numbers, field(2, &point(NOW, 1.0))].concat());
    let body = [long, series.repeat(10_000)].concat();
    assert_eq!(stored.decode(Version::Two, &body).err(), Some(Refusal::TooMuch));
    stored.store.close().unwrap();
}

#[test]
fn any_series_are_read_the_same_in_both_versions() {
    let stored = Stored::new();
    let cases = Cell::new(0);
    let labels = prop::collection::vec(("[a-c]{0,2}", "[x-z]{0,2}"), 0..4);
    let samples = prop::collection::vec((0..1000_i64, -5..5_i8), 0..3);
    let all = prop::collection::vec((labels, samples), 0..6);
    proptest!(ProptestConfig::with_cases(100), |(all in all)| {
        let owned: Vec<OwnedSeries<'_>> = all
            .iter()
            .map(|(labels, samples)| {
                let mut labels: Vec<(&str, &str)> =
                    labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                labels.insert(0, ("__name__", "m"));
                let sample = |(ago, value): &(i64, i8)| (NOW - ago, f64::from(*value));
                (labels, samples.iter().map(sample).collect())
            })
            .collect();
        let all: Vec<Series<'_>> =
            owned.iter().map(|(labels, samples)| (labels.as_slice(), samples.as_slice())).collect();
        cases.set(cases.get() + 1);
        stored.tenant.replace(format!("one {}", cases.get()));
        let one = (stored.write(Version::One, &body_of_one(&all)), stored.rows());
        stored.tenant.replace(format!("two {}", cases.get()));
        let two = (stored.write(Version::Two, &body_of_two(&all)), stored.rows());
        prop_assert_eq!(one, two);
    });
    stored.store.close().unwrap();
}

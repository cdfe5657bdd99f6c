//! The index against a naive filter: whatever the conditions, the span and the page, it gives the
//! series, names and values that looking at each series would give. And what limits refuse.

use std::collections::BTreeSet;
use std::sync::Arc;

use moneta_storage::clock::{Clock, ManualClock};
use moneta_storage::model::{
    DimensionMatcher, Pattern, Selector, SeriesId, SeriesKey, TimeRange, Timestamp, ValueMatcher,
};
use moneta_storage::{Error, LimitKind, Limits, Store, StoreConfig};
use moneta_tests::{key, open, write};
use proptest::prelude::*;

const DAY: i64 = 24 * 3600 * 1000;
const NOW: i64 = 20_400 * DAY + DAY / 2;

const METRICS: [&str; 4] = ["cpu.idle", "cpu.user", "disk", "z"];
const NAMES: [&str; 3] = ["host", "zone", "a"];
const VALUES: [&str; 8] = ["", "web-1", "web-2", "web-10", "db-1", "WEB-1", "é", "a|b"];
const PATTERNS: [&str; 18] = [
    ".*",
    ".+",
    "",
    "web-1",
    "web-1|db-1",
    "web-1|",
    "web-.*",
    "web-.+",
    "w.*1",
    "(?i)web-1",
    "[^w].*",
    "^web-\\d$",
    "web-(1|2)0?",
    "é|a\\|b",
    "(web|db)-.",
    "cpu\\..*",
    ".*s.*|z",
    "x*",
];

fn matcher() -> impl Strategy<Value = ValueMatcher> {
    let value = || prop::sample::select(&VALUES[..]).prop_map(str::to_owned);
    let pattern =
        || prop::sample::select(&PATTERNS[..]).prop_map(|text| Pattern::new(text).unwrap());
    prop_oneof![
        1 => value().prop_map(ValueMatcher::Equals),
        1 => prop::collection::vec(value(), 0..4).prop_map(ValueMatcher::OneOf),
        1 => Just(ValueMatcher::Present),
        1 => Just(ValueMatcher::Absent),
        1 => value().prop_map(ValueMatcher::NotEquals),
        1 => prop::collection::vec(value(), 0..4).prop_map(ValueMatcher::NoneOf),
        3 => pattern().prop_map(ValueMatcher::Matches),
        3 => pattern().prop_map(ValueMatcher::NotMatches),
    ]
}

fn selector() -> impl Strategy<Value = Selector> {
    let on_metric = matcher().prop_map(DimensionMatcher::on_metric);
    let on_name = (prop::sample::select(&["host", "zone", "a", "none"][..]), matcher())
        .prop_map(|(name, value)| DimensionMatcher { name: name.to_owned(), value });
    let metric = prop::option::weighted(0.3, prop::sample::select(&METRICS[..]));
    let span = (0_i64..40, 0_i64..30).prop_map(|(from, length)| {
        let start = NOW - DAY * 3 + from * 2 * 3_600_000;
        TimeRange::new(
            Timestamp::from_millis(start),
            Timestamp::from_millis(start + length * 3_600_000),
        )
    });
    let conditions = prop::collection::vec(prop_oneof![1 => on_metric, 3 => on_name], 0..4);
    (metric, conditions, prop::option::weighted(0.5, span)).prop_map(
        |(metric, dimensions, active)| Selector {
            metric: metric.map(str::to_owned),
            dimensions,
            active,
        },
    )
}

/// A series and the hours before now at which it has samples.
fn series() -> impl Strategy<Value = (SeriesKey, Vec<i64>)> {
    let dimension = prop::option::weighted(0.7, prop::sample::select(&VALUES[..]));
    let dimensions = prop::collection::vec(dimension, NAMES.len()..=NAMES.len());
    let hours = prop::collection::vec(0_i64..80, 1..4);
    (prop::sample::select(&METRICS[..]), dimensions, hours).prop_map(|(metric, values, hours)| {
        let pairs: Vec<(&str, &str)> = NAMES
            .into_iter()
            .zip(values)
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        (key(metric, &pairs), hours)
    })
}

struct Known {
    key: SeriesKey,
    id: SeriesId,
    times: Vec<i64>,
}

fn expected<'a>(all: &'a [Known], selector: &Selector) -> Vec<&'a Known> {
    let is_active = |known: &Known| {
        let has = |range: TimeRange| {
            known.times.iter().any(|time| range.contains(Timestamp::from_millis(*time)))
        };
        selector.active.is_none_or(has)
    };
    all.iter().filter(|known| selector.accepts(&known.key) && is_active(known)).collect()
}

fn compare(store: &Store, all: &[Known], selector: &Selector, page: usize) {
    let tenant = store.find_tenant("t").unwrap();
    let mut want = expected(all, selector);
    let got: BTreeSet<SeriesId> = store.select(tenant, selector).unwrap().into_iter().collect();
    assert_eq!(got, want.iter().map(|known| known.id).collect(), "{selector:?}");

    want.sort_by_key(|known| (known.key.metric.clone(), known.id));
    let mut pages: Vec<SeriesId> = Vec::new();
    loop {
        let after = pages.last().map(|id| all.iter().find(|known| known.id == *id).unwrap());
        let after = after.map(|known| (known.key.metric.as_str(), known.id));
        let some = store.select_page(tenant, selector, after, page).unwrap();
        assert!(some.len() <= page);
        if some.is_empty() {
            break;
        }
        pages.extend(some);
    }
    let want_ids: Vec<SeriesId> = want.iter().map(|known| known.id).collect();
    assert_eq!(pages, want_ids, "{selector:?}");

    let texts = |each: &dyn Fn(&Known) -> Vec<String>| -> Vec<String> {
        let all: BTreeSet<String> = want.iter().flat_map(|known| each(known)).collect();
        all.into_iter().collect()
    };
    let paged = |read: &dyn Fn(Option<&str>) -> Vec<String>| {
        let mut all: Vec<String> = Vec::new();
        loop {
            let some = read(all.last().map(String::as_str));
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    };
    assert_eq!(
        paged(&|after| store.metric_names(tenant, selector, after, page).unwrap()),
        texts(&|known| vec![known.key.metric.clone()]),
        "{selector:?}"
    );
    assert_eq!(
        paged(&|after| store.dimension_names(tenant, selector, after, page).unwrap()),
        texts(&|known| known.key.dimensions.iter().map(|(name, _)| name.to_owned()).collect()),
        "{selector:?}"
    );
    assert_eq!(
        paged(&|after| store.dimension_values(tenant, "host", selector, after, page).unwrap()),
        texts(&|known| known.key.dimensions.get("host").map(str::to_owned).into_iter().collect()),
        "{selector:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn selecting_is_the_same_as_looking_at_each_series(
        series in prop::collection::vec(series(), 1..60),
        flush_at in any::<prop::sample::Index>(),
        selectors in prop::collection::vec(selector(), 30),
        page in 1_usize..20,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (store, _clock) = open(directory.path(), NOW).unwrap();
        let tenant = store.tenant("t").unwrap();
        // Another tenant has all of them, too.
        let other = store.tenant("other").unwrap();
        let flush_at = flush_at.index(series.len());
        let mut all: Vec<Known> = Vec::new();
        for (at, (key, hours)) in series.iter().enumerate() {
            let times: Vec<i64> = hours.iter().map(|hour| NOW - hour * 3_600_000).collect();
            for &time in &times {
                write(&store, tenant, &[(key, time, 1.0, None)]).unwrap();
            }
            write(&store, other, &[(key, NOW, 1.0, None)]).unwrap();
            let id = store.find_series(tenant, key).unwrap().unwrap();
            match all.iter_mut().find(|known| known.id == id) {
                Some(known) => known.times.extend(times),
                None => all.push(Known { key: key.clone(), id, times }),
            }
            if at == flush_at {
                store.flush().unwrap();
            }
        }
        for selector in &selectors {
            compare(&store, &all, selector, page);
        }
        drop(store);
        let (store, _clock) = open(directory.path(), NOW).unwrap();
        for selector in &selectors {
            compare(&store, &all, selector, page);
        }
    }
}

/// More series than are put in order together, and more than patterns are run over one by one.
#[test]
fn pages_and_patterns_are_right_among_many_series() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _clock) = open(directory.path(), NOW).unwrap();
    let tenant = store.tenant("t").unwrap();
    let keys: Vec<SeriesKey> = (0..6000)
        .map(|n| {
            let metric = ["b", "a", "c"][n % 3];
            key(metric, &[("host", &format!("h{n}")), ("rack", &format!("r{}", n % 7))])
        })
        .collect();
    let samples: Vec<_> =
        (0_i64..).zip(&keys).map(|(n, key)| (key, NOW - n % 40 * 3_600_000, 1.0, None)).collect();
    write(&store, tenant, &samples).unwrap();
    let all: Vec<Known> = samples
        .iter()
        .map(|(key, time, ..)| Known {
            key: (*key).clone(),
            id: store.find_series(tenant, key).unwrap().unwrap(),
            times: vec![*time],
        })
        .collect();
    let with = |name: &str, value| DimensionMatcher { name: name.into(), value };
    let matches = |text: &str| ValueMatcher::Matches(Pattern::new(text).unwrap());
    let not = |text: &str| ValueMatcher::NotMatches(Pattern::new(text).unwrap());
    let span = |from: i64, to: i64| {
        Some(TimeRange::new(
            Timestamp::from_millis(NOW - from * 3_600_000),
            Timestamp::from_millis(NOW - to * 3_600_000),
        ))
    };
    for (dimensions, active) in [
        (vec![], None),
        (vec![], span(10, 2)),
        (vec![], span(39, 3)),
        (vec![with("host", matches("h1.*7"))], None),
        (vec![with("host", not("h[1-5].*"))], span(30, 1)),
        (vec![with("host", matches(".*9")), with("rack", matches("r[34]"))], None),
        (vec![with("rack", matches("r[0-9]")), with("host", matches("h.*0"))], span(5, 0)),
    ] {
        let selector = Selector { metric: None, dimensions, active };
        compare(&store, &all, &selector, 1700);
    }
    store.flush().unwrap();
    compare(&store, &all, &Selector { active: span(10, 2), ..Selector::default() }, 2500);
}

fn advance(clock: &ManualClock, seconds: i64) {
    clock.set(clock.now().plus_millis(seconds * 1000));
}

fn limited(limits: Limits) -> (tempfile::TempDir, Store, Arc<ManualClock>) {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Timestamp::from_millis(NOW));
    let config = StoreConfig { limits, ..StoreConfig::default() };
    let store = Store::open(directory.path(), config, clock.clone()).unwrap();
    (directory, store, clock)
}

fn write_series(
    store: &Store,
    tenant: &str,
    series: std::ops::Range<u32>,
    time: i64,
) -> Result<(), Error> {
    let tenant = store.tenant(tenant).unwrap();
    let keys: Vec<SeriesKey> = series.map(|n| key("m", &[("host", &format!("h{n}"))])).collect();
    let samples: Vec<_> = keys.iter().map(|key| (key, time, 1.0, None)).collect();
    write(store, tenant, &samples)
}

fn refusals(store: &Store, kind: LimitKind) -> u64 {
    store.refused().into_iter().find(|(have, _)| *have == kind).unwrap().1
}

#[test]
fn a_request_over_the_limit_of_active_series_is_refused_whole() {
    let (_directory, store, clock) = limited(Limits { active_series: 10, ..Limits::default() });
    write_series(&store, "t", 0..8, NOW).unwrap();
    // Two would fit, the third would not: none is created.
    let error = write_series(&store, "t", 8..11, NOW).unwrap_err();
    assert!(matches!(error, Error::Limit { max: 10, .. }), "{error}");
    assert!(error.to_string().contains("active_series"), "{error}");
    assert_eq!(store.stats().series, 8);
    assert_eq!(refusals(&store, LimitKind::ActiveSeries), 1);
    // Those that are active already go on, samples of long ago do not count, other tenants neither.
    write_series(&store, "t", 0..8, NOW + 1000).unwrap();
    write_series(&store, "t", 100..120, NOW - 5 * DAY).unwrap();
    write_series(&store, "u", 0..10, NOW).unwrap();
    write_series(&store, "t", 8..10, NOW).unwrap();
    // A known series becomes active.
    assert!(write_series(&store, "t", 100..101, NOW).is_err());
    // Two days later nothing of that is active any more.
    advance(&clock, 2 * 24 * 3600);
    write_series(&store, "t", 200..210, NOW + 2 * DAY).unwrap();
    assert!(write_series(&store, "t", 0..1, NOW + 2 * DAY).is_err());
}

#[test]
fn the_limit_of_active_series_holds_after_a_restart() {
    let limits = Limits { active_series: 10, ..Limits::default() };
    let (directory, store, clock) = limited(limits);
    write_series(&store, "t", 0..8, NOW).unwrap();
    store.flush().unwrap();
    write_series(&store, "t", 8..9, NOW).unwrap();
    drop(store);
    let config = StoreConfig { limits, ..StoreConfig::default() };
    let store = Store::open(directory.path(), config, clock).unwrap();
    assert!(write_series(&store, "t", 9..11, NOW).is_err());
    write_series(&store, "t", 9..10, NOW).unwrap();
}

#[test]
fn rates_say_when_to_come_again() {
    let limits = Limits { new_series_per_minute: 60, samples_per_second: 100, ..Limits::default() };
    let (_directory, store, clock) = limited(limits);
    write_series(&store, "t", 0..60, NOW).unwrap();
    let error = write_series(&store, "t", 60..65, NOW).unwrap_err();
    assert!(matches!(error, Error::Rate { max: 60, wait_ms: 5000, .. }), "{error}");
    assert_eq!(store.stats().series, 60);
    // Known series are no new ones.
    write_series(&store, "t", 0..60, NOW).unwrap();
    advance(&clock, 5);
    write_series(&store, "t", 60..65, NOW).unwrap();
    let error = write_series(&store, "t", 100..161, NOW).unwrap_err();
    assert!(matches!(error, Error::Limit { max: 60, .. }), "can never pass: {error}");
    // Samples: 1000 at once, 100 a second; of these, 125 have been sent and 5 seconds have passed.
    advance(&clock, 600);
    for _ in 0..20 {
        write_series(&store, "t", 0..50, NOW).unwrap();
    }
    let error = write_series(&store, "t", 0..50, NOW).unwrap_err();
    assert!(matches!(error, Error::Rate { max: 100, wait_ms: 500, .. }), "{error}");
    assert_eq!(refusals(&store, LimitKind::Samples), 1);
    assert_eq!(refusals(&store, LimitKind::NewSeries), 2);
}

#[test]
fn a_series_has_so_many_dimensions() {
    let (_directory, store, _clock) = limited(Limits { dimensions: 2, ..Limits::default() });
    let tenant = store.tenant("t").unwrap();
    let two = key("m", &[("a", "1"), ("b", "2")]);
    let three = key("m", &[("a", "1"), ("b", "2"), ("c", "3")]);
    write(&store, tenant, &[(&two, NOW, 1.0, None)]).unwrap();
    let error = write(&store, tenant, &[(&three, NOW, 1.0, None)]).unwrap_err();
    assert!(matches!(error, Error::Limit { max: 2, .. }), "{error}");
    assert_eq!(refusals(&store, LimitKind::Dimensions), 1);
}

#[test]
fn cardinality_tells_where_series_come_from() {
    let directory = tempfile::tempdir().unwrap();
    let (store, clock) = open(directory.path(), NOW).unwrap();
    let tenant = store.tenant("t").unwrap();
    let hour = 3_600_000;
    let keys: Vec<SeriesKey> = (0..100)
        .map(|n| {
            let host = format!("h{}", n / 2);
            let pairs = [("host", host.as_str()), ("zone", if n < 30 { "x" } else { "y" })];
            key(["cpu", "mem"][n % 2], if n == 99 { &pairs[..1] } else { &pairs })
        })
        .collect();
    for (at, some) in keys.chunks(40).enumerate() {
        let time = NOW - if at == 0 { 3 * DAY } else { 0 };
        let samples: Vec<_> = some.iter().map(|key| (key, time, 1.0, None)).collect();
        write(&store, tenant, &samples).unwrap();
        advance(&clock, 2 * 3600);
    }
    let check = |store: &Store| {
        let report = store.cardinality(tenant, 2).unwrap();
        assert_eq!((report.series, report.active_series), (100, 60));
        assert_eq!((report.metric_names, report.dimension_names), (2, 2));
        assert_eq!(report.by_metric, [("cpu".to_owned(), 50), ("mem".to_owned(), 50)]);
        assert_eq!(report.by_dimension, [("host".to_owned(), 100, 50), ("zone".to_owned(), 99, 2)]);
        let value = |name: &str, value: &str, series| (name.to_owned(), value.to_owned(), series);
        assert_eq!(report.by_value, [value("zone", "y", 69), value("zone", "x", 30)]);
        let hours: Vec<(i64, u64)> = report
            .new_per_hour
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(start, count)| (start.millis(), *count))
            .collect();
        assert_eq!(report.new_per_hour.len(), 24);
        assert_eq!(hours, [(NOW, 40), (NOW + 2 * hour, 40), (NOW + 4 * hour, 20)]);
    };
    check(&store);
    store.flush().unwrap();
    drop(store);
    let (store, _clock) = open(directory.path(), NOW + 6 * hour).unwrap();
    check(&store);
}

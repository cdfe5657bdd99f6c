//! A data directory of every format version is kept for ever, and today's code opens it and gives the
//! same answers. `tests/fixtures/format-v1/` holds every construct of version 1; `expected.txt` in it
//! holds the answers. While version 1 is not released, `make fixture` writes it anew (`UPDATE=1`).

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use moneta_storage::clock::ManualClock;
use moneta_storage::deletion::{Deletion, DeletionRequest};
use moneta_storage::event::{Event, TraitValue};
use moneta_storage::feed::Consumer;
use moneta_storage::model::{
    DimensionMatcher, Keep, Moment, Selector, SeriesKey, TimeRange, Timestamp, ValueMatcher,
};
use moneta_storage::record::{RecordBatch, RecordKind};
use moneta_storage::retention::{MetricPattern, Policies, Policy, RollupPolicy, RollupStep};
use moneta_storage::verify::verify;
use moneta_storage::view::Piece;
use moneta_storage::{Error, Store, StoreConfig};
use moneta_tests::{copy_folder, key, open, write};

const NOW: i64 = 1_764_000_000_000;
const DAY: i64 = 86_400_000;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/format-v1")
}

/// Writes every construct of the format.
fn write_everything(directory: &Path) {
    let (store, _clock) = open(directory, NOW).unwrap();
    let tenants = ["first", "second ünïcode"].map(|name| store.tenant(name).unwrap());
    for tenant in tenants {
        // Merged: series blocks of each shape of values, shared times, and row blocks of the rest.
        let shapes: [(&str, &dyn Fn(i64) -> f64); 7] = [
            ("constant", &|_| 0.1),
            ("counter", &|i| (i * 1000 + i % 7) as f64),
            ("decimal", &|i| (i % 97) as f64 / 10.0),
            ("near.decimal", &|i| (i % 13) as f64 * 0.1 + 0.3),
            ("noise", &|i| (i as f64).sin()),
            ("not.finite", &|i| match i % 50 {
                0 => f64::NAN,
                1 => f64::INFINITY,
                2 => -0.0,
                3 => f64::from_bits(0x7FF0_0000_0000_0002),
                _ => i as f64,
            }),
            ("repeated", &|i| (i / 60) as f64),
        ];
        for (metric, value) in shapes {
            let series = key(metric, &[("host", "a"), ("zone", "z")]);
            let jitter = if metric == "noise" { 37 } else { 0 };
            let meta = |i| (metric == "decimal" && i % 40 == 0).then_some("{\"rc\": \"404\"}");
            let samples: Vec<_> = (0..400)
                .map(|i| (&series, NOW - DAY + i * 10_000 + i * i * jitter % 91, value(i), meta(i)))
                .collect();
            write(&store, tenant, &samples).unwrap();
        }
        let mut region = key("regional", &[("empty", ""), ("na\0me", "zero")]);
        region.region = "région".into();
        write(&store, tenant, &[(&region, NOW - DAY, 1.0, Some("{}"))]).unwrap();
        store.flush().unwrap();
        let overwritten = key("constant", &[("host", "a"), ("zone", "z")]);
        write(&store, tenant, &[(&overwritten, NOW - DAY, 7.0, None)]).unwrap();
        store.flush().unwrap();
        store.merge().unwrap();
        // Young: row blocks of several days.
        let hosts: Vec<SeriesKey> =
            (0..40).map(|host| key("young", &[("host", &format!("host{host}"))])).collect();
        let samples: Vec<_> = (0..120)
            .map(|i| (&hosts[i % 40], NOW - (i as i64) * 3_000_000, i as f64, None))
            .collect();
        write(&store, tenant, &samples).unwrap();
        store.flush().unwrap();
    }
    for tenant in tenants {
        let hosts: Vec<SeriesKey> =
            (0..4).map(|host| key("young", &[("host", &format!("host{host}"))])).collect();
        // In the log alone: times of each form, an overwrite of what is in a segment.
        let rows = [(NOW, 1.0), (NOW, 2.0), (NOW - 5 * DAY, 3.0), (NOW - 400 * DAY, 4.0)];
        for (time, value) in rows {
            let meta = (value > 3.0).then_some("{\"log\": \"yes\"}");
            let samples: Vec<_> =
                hosts.iter().take(3).map(|key| (key, time, value, meta)).collect();
            write(&store, tenant, &samples).unwrap();
        }
        let spread: Vec<_> = hosts
            .iter()
            .zip(0..)
            .map(|(key, i)| (key, NOW - i * 20 * DAY, i as f64, None))
            .collect();
        write(&store, tenant, &spread).unwrap();
        let mut batch = RecordBatch::new();
        for kind in KINDS {
            batch.put(tenant, kind, b"id\0\xFF", format!("{kind:?}").into_bytes());
        }
        store.records().commit(batch).unwrap();
        let traits = [("count", TraitValue::Integer(7)), ("host", TraitValue::Text("a".into()))];
        let event = Event {
            id: "e1".into(),
            event_type: "compute.instance.create".into(),
            time: Moment::from_micros(NOW * 1000),
            traits: traits.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            payload: b"payload".to_vec(),
        };
        store.events(tenant).append(&[event]).unwrap();
    }
    let gone = store.tenant("gone").unwrap();
    write(&store, gone, &[(&key("young", &[("host", "x")]), NOW, 1.0, None)]).unwrap();
    drop(store);
    forget_something(directory);
}

/// Retention that has hidden something, a deletion of which something is left, a removed tenant.
fn forget_something(directory: &Path) {
    // A consumer that never comes keeps the log, so the rows that are hidden stay in it.
    let config = StoreConfig { consumer: Consumer::Expected, ..StoreConfig::default() };
    let clock = ManualClock::at(Timestamp::from_millis(NOW));
    let store = Store::open(directory, config, clock).unwrap();
    let keep = |tenant: Option<&str>, metric: &str, days: u64| Policy {
        tenant: tenant.map(str::to_owned),
        metric: MetricPattern::parse(metric).unwrap(),
        raw: Keep::For(Duration::from_secs(days * 24 * 3600)),
        rollups: vec![RollupPolicy { step: RollupStep::Hour, keep: Keep::Forever }],
    };
    // The floors of the first policies stay when the second come.
    store.set_retention(Policies::new(vec![keep(None, "young", 100)]).unwrap()).unwrap();
    let policies = vec![keep(Some("first"), "c*", 1000), keep(None, "*", 3000)];
    store.set_retention(Policies::new(policies).unwrap()).unwrap();
    let tenant = store.find_tenant("first").unwrap();
    let value = ValueMatcher::Equals("host1".into());
    let dimensions = vec![DimensionMatcher { name: "host".into(), value }];
    let request = DeletionRequest {
        tenant,
        selector: Selector { dimensions, ..Selector::default() },
        times: TimeRange::ALL,
        by: "fixture".into(),
        what: "{}".into(),
    };
    store.delete(request).unwrap();
    store.remove_tenant(store.find_tenant("gone").unwrap(), "fixture").unwrap();
}

const KINDS: [RecordKind; 9] = [
    RecordKind::Definition,
    RecordKind::Alarm,
    RecordKind::AlarmSeries,
    RecordKind::NotificationMethod,
    RecordKind::Outbox,
    RecordKind::Delivery,
    RecordKind::Checkpoint,
    RecordKind::HeldBack,
    RecordKind::Setting,
];

/// All answers of a store, as text.
fn answers(store: &Store) -> String {
    let mut out = String::new();
    let all = Selector::default();
    writeln!(out, "retention {:?}", store.retention()).unwrap();
    for deletion in store.deletions().unwrap() {
        // How much was left may change between two looks.
        let shown = Deletion { segments_left: 0, ..deletion };
        writeln!(out, "deletion {shown:?}").unwrap();
    }
    writeln!(out, "newest {}", store.newest()).unwrap();
    for tenant in store.tenants() {
        writeln!(out, "tenant {tenant} {:?}", store.tenant_name(tenant)).unwrap();
        let names = store.metric_names(tenant, &all, None, 1000).unwrap();
        writeln!(out, "metrics {names:?}").unwrap();
        for name in store.dimension_names(tenant, &all, None, 1000).unwrap() {
            let values = store.dimension_values(tenant, &name, &all, None, 1000).unwrap();
            writeln!(out, "dimension {name:?} {values:?}").unwrap();
        }
        let active = Selector { active: Some(TimeRange::ALL), ..Selector::default() };
        let count = store.select(tenant, &active).unwrap().len();
        writeln!(out, "active {count}").unwrap();
        let ids = store.select(tenant, &all).unwrap();
        let view = store.view(tenant);
        let read = view.read(&ids, TimeRange::ALL, u64::MAX, |id, samples| {
            writeln!(out, "series {id} {:?}", store.series(tenant, id)?).unwrap();
            // The greatest part of the text; a checksum tells as much.
            let mut sum = 0xcbf2_9ce4_8422_2325_u64;
            for (time, value) in samples.times.iter().zip(&samples.values) {
                for bits in [time.cast_unsigned(), value.to_bits()] {
                    sum = (sum ^ bits).wrapping_mul(0x0100_0000_01b3).rotate_left(7);
                }
            }
            let ends = (samples.times.first(), samples.times.last());
            writeln!(out, "  {} samples {ends:?} {sum:016x}", samples.times.len()).unwrap();
            for (at, meta) in &samples.metas {
                writeln!(out, "  meta {at} {}", meta.text()).unwrap();
            }
            Ok::<_, Error>(())
        });
        read.unwrap();
        let folded = view.fold(&ids, TimeRange::ALL, Some(DAY), u64::MAX, |id, piece| {
            if let Piece::Summary(summary) = piece {
                writeln!(out, "summary of {id} {summary:?}").unwrap();
            }
            Ok::<_, Error>(())
        });
        folded.unwrap();
        writeln!(out, "event {:?}", store.events(tenant).get("e1").unwrap()).unwrap();
        for kind in KINDS {
            let records = store.records().scan(tenant, kind, &[], None, 100).unwrap();
            writeln!(out, "records {kind:?} {records:?}").unwrap();
        }
    }
    out
}

#[test]
fn a_directory_of_format_1_gives_the_answers_it_gave() {
    if std::env::var_os("UPDATE").is_some() {
        write_fixture();
    }
    let directory = tempfile::tempdir().unwrap();
    copy_folder(&fixture(), directory.path()).unwrap();
    fs::remove_file(directory.path().join("expected.txt")).unwrap();
    assert_eq!(verify(directory.path(), &|_, _| {}).unwrap().problems, []);
    let expected = fs::read_to_string(fixture().join("expected.txt")).unwrap();
    let differs = |store: &Store| {
        let found = answers(store);
        let mut lines = found.lines().zip(expected.lines());
        let differing = lines.find(|(found, expected)| found != expected);
        (differing.is_some() || found.len() != expected.len()).then(|| format!("{differing:?}"))
    };
    let (store, _clock) = open(directory.path(), NOW).unwrap();
    assert_eq!(differs(&store), None);
    // Today's code also goes on from there.
    store.flush().unwrap();
    store.merge().unwrap();
    store.verify().unwrap();
    let merged = answers(&store);
    let series = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("  ")).map(str::to_owned).collect()
    };
    assert_eq!(series(&merged), series(&expected));
    drop(store);
    assert_eq!(verify(directory.path(), &|_, _| {}).unwrap().problems, []);
}

fn write_fixture() {
    let directory = tempfile::tempdir().unwrap();
    write_everything(directory.path());
    let (store, _clock) = open(directory.path(), NOW).unwrap();
    let expected = answers(&store);
    drop(store);
    // RocksDB's own messages and options are no part of the format.
    for entry in fs::read_dir(directory.path().join("rocksdb")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("LOG") || name.starts_with("OPTIONS") || name == "LOCK" {
            fs::remove_file(&path).unwrap();
        }
    }
    if fixture().exists() {
        fs::remove_dir_all(fixture()).unwrap();
    }
    copy_folder(directory.path(), &fixture()).unwrap();
    fs::write(fixture().join("expected.txt"), expected).unwrap();
}

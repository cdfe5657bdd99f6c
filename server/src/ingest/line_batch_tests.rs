//! Tests of bodies of lines on their way into a store: which metrics they become, what is told.

use std::sync::mpsc;

use moneta_storage::StoreConfig;
use moneta_storage::clock::ManualClock;
use moneta_storage::model::{Selector, TimeRange};
use tempfile::TempDir;

use super::*;

const NOW: i64 = 1_795_166_675_000;

struct Stored {
    store: Store,
    naming: Naming,
    precision: Precision,
    new_bytes: usize,
    _folder: TempDir,
}

impl Stored {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(NOW));
        let store = Store::open(folder.path(), StoreConfig::default(), clock).unwrap();
        store.tenant("own").unwrap();
        let (naming, precision) = (Naming::Anybody, Precision::Milliseconds);
        Stored { store, naming, precision, new_bytes: 1 << 20, _folder: folder }
    }

    fn decode(&self, body: &str) -> Result<Decoded, Fault> {
        let terms = Terms {
            store: &self.store,
            tenant: "own",
            region: "r",
            naming: self.naming,
            precision: self.precision,
            new_bytes: self.new_bytes,
        };
        decode(&terms, body.as_bytes())
    }

    /// Stores what a body says; gives what was left of it.
    fn write(&self, body: &str) -> Batch {
        let mut batch = match self.decode(body).unwrap() {
            Decoded::Whole(batch) => batch,
            Decoded::Strangers(names) => {
                for name in names {
                    self.store.tenant(&name).unwrap();
                }
                let Decoded::Whole(batch) = self.decode(body).unwrap() else { panic!("strangers") };
                batch
            }
        };
        for request in batch.requests.drain(..) {
            let (done, wait) = mpsc::sync_channel(1);
            self.store.submit(request, move |result| done.send(result).unwrap()).unwrap();
            wait.recv().unwrap().unwrap();
        }
        batch
    }

    /// Everything a tenant has: series, how long ago, value, what goes with it.
    fn rows(&self, tenant: &str) -> Vec<String> {
        let Some(tenant) = self.store.find_tenant(tenant) else { return Vec::new() };
        let series = self.store.select(tenant, &Selector::default()).unwrap();
        let mut rows = Vec::new();
        let read = self.store.view(tenant).read(&series, TimeRange::ALL, 1000, |id, samples| {
            let key = self.store.series(tenant, id)?.unwrap();
            for (at, (time, value)) in samples.times.iter().zip(&samples.values).enumerate() {
                let metas = samples.metas.iter().filter(|(of, _)| *of as usize == at);
                let meta: String = metas.map(|(_, meta)| format!(" {}", meta.text())).collect();
                let ago = NOW - time;
                let (metric, dimensions, region) = (&key.metric, &key.dimensions, &key.region);
                rows.push(format!("{metric}{dimensions}@{region} {ago} {value}{meta}"));
            }
            Ok::<_, moneta_storage::Error>(())
        });
        read.unwrap();
        rows.sort();
        rows
    }
}

#[test]
fn fields_become_metrics() {
    let stored = Stored::new();
    let check = |line: &str, want: &[&str]| {
        let before = stored.rows("own");
        let batch = stored.write(line);
        assert_eq!((batch.refused.text(), batch.unreadable.text()), (String::new(), String::new()));
        let rows = stored.rows("own");
        let new: Vec<&String> = rows.iter().filter(|row| !before.contains(row)).collect();
        assert_eq!(new, want, "{line}");
    };
    check(&format!("a,h=1 value=2 {NOW}"), &["a{h=1}@r 0 2"]);
    check(
        &format!("b,h=1 idle=2i,busy=t,name=\"x\" {}", NOW - 5),
        &["b.busy{h=1}@r 5 1", "b.idle{h=1}@r 5 2"],
    );
    check(&format!("c value=1,more=2 {NOW}"), &["c.more{}@r 0 2", "c{}@r 0 1"]);
    check("d value=1", &["d{}@r 0 1"]);
    check(&format!(r#"e value=1,value_meta="{{}}" {NOW}"#), &["e{}@r 0 1"]);
    check(
        &format!(r#"f value=1,value_meta="{{\"k\": \"a\\\"b\"}}" {NOW}"#),
        &[r#"f{}@r 0 1 {"k":"a\"b"}"#],
    );
    check(&format!(r#"g x=1,value_meta="{{\"k\": 1}}" {NOW}"#), &["g.x{}@r 0 1"]);
    check(&format!("h value=1,value_meta=2 {NOW}"), &["h.value_meta{}@r 0 2", "h{}@r 0 1"]);
    // Known series, and one written another way.
    check(&format!("a,h=1 value=3 {}", NOW - 1), &["a{h=1}@r 1 3"]);
    check(&format!("a,h=1,_region=r value=3 {}", NOW - 2), &["a{h=1}@r 2 3"]);
    assert_eq!(stored.rows("own").iter().filter(|row| row.starts_with("a{h=1}@r")).count(), 3);
    stored.store.close().unwrap();
}

#[test]
fn every_precision_is_understood() {
    let mut stored = Stored::new();
    for (name, number, ago) in [
        (None, NOW * 1_000_000 + 999_999, 0),
        (Some("n"), (NOW - 1) * 1_000_000, 1),
        (Some("ns"), (NOW - 2) * 1_000_000, 2),
        (Some("u"), (NOW - 3) * 1000 + 999, 3),
        (Some("us"), (NOW - 4) * 1000, 4),
        (Some("ms"), NOW - 5, 5),
        (Some("s"), NOW / 1000 - 1, 1000),
        (Some("m"), NOW / 60_000 - 1, 60_000 + NOW % 60_000),
        (Some("h"), NOW / 3_600_000 - 1, 3_600_000 + NOW % 3_600_000),
        (Some("s"), -5, NOW + 5000),
        (Some("ns"), -1_999_999, NOW + 1),
    ] {
        stored.precision = Precision::parse(name).unwrap();
        assert_eq!(stored.write(&format!("m v=1 {number}")).expired.count(), 0);
        let row = format!("m.v{{}}@r {ago} 1");
        assert!(stored.rows("own").contains(&row), "{name:?} {row} {:?}", stored.rows("own"));
    }
    for (precision, number) in [("ms", NOW + 90_000_000), ("h", i64::MAX), ("ms", i64::MIN)] {
        stored.precision = Precision::parse(Some(precision)).unwrap();
        assert_eq!(stored.write(&format!("n v=1 {number}")).expired.count(), 1, "{number}");
    }
    for name in ["", "x", "NS", "d"] {
        assert_eq!(Precision::parse(Some(name)), None);
    }
    stored.store.close().unwrap();
}

#[test]
fn lines_say_whose_they_are() {
    let mut stored = Stored::new();
    let body = format!(
        "m,_region=x,_tenant_id=t1,h=1 value=1 {NOW}\n\
         m,_region=x,_tenant_id=t2,h=1 value=2 {NOW}\n\
         m,h=1 value=3 {NOW}\n\
         m,_tenant_id=t1,h=1 value=4 {NOW}\n\
         m,_tenant_id=t\\ 3 value=5 {NOW}\n\
         m,_tenant_id=t4,bad value=6 {NOW}\n\
         a(b,_tenant_id=t5 value=7 {NOW}\n\
         #m,_region=x,_tenant_id=own,time=1 value=8 {NOW}\n"
    );
    let batch = stored.write(&body);
    assert_eq!(stored.rows("t1"), ["m{h=1}@r 0 4", "m{h=1}@x 0 1"]);
    assert_eq!(stored.rows("t2"), ["m{h=1}@x 0 2"]);
    assert_eq!(stored.rows("own"), ["#m{time=1}@x 0 8", "m{h=1}@r 0 3"]);
    assert_eq!(stored.rows("t 3"), ["m{}@r 0 5"]);
    // Nobody comes into being for a line that is not stored.
    assert_eq!((stored.store.find_tenant("t4"), stored.store.find_tenant("t5")), (None, None));
    assert_eq!((batch.unreadable.count(), batch.refused.count()), (1, 1));

    stored.naming = Naming::Oneself;
    let batch = stored.write(&format!(
        "m,_tenant_id=t1 value=1 {NOW}\nm,_region=x,h=1 value=9 {NOW}\nn,_region=r,_tenant_id=own value=1 {NOW}"
    ));
    assert_eq!(batch.refused.count(), 2, "{}", batch.refused.text());
    assert_eq!(stored.rows("t1"), ["m{h=1}@r 0 4", "m{h=1}@x 0 1"]);
    assert_eq!(stored.rows("own"), ["#m{time=1}@x 0 8", "m{h=1}@r 0 3", "n{}@r 0 1"]);
    stored.store.close().unwrap();
}

#[test]
fn what_is_not_taken_is_told() {
    let stored = Stored::new();
    let check = |line: &str, refused: &str, unreadable: &str, expired: usize, rows: &[&str]| {
        let before = stored.rows("own");
        let batch = stored.write(line);
        let told = (batch.refused.text(), batch.unreadable.text(), batch.expired.count());
        assert_eq!(told, (refused.to_owned(), unreadable.to_owned(), expired), "{line}");
        let all = stored.rows("own");
        let new: Vec<&String> = all.iter().filter(|row| !before.contains(row)).collect();
        assert_eq!(new, rows, "{line}");
    };
    let texts = "no field is a number, and texts are not stored";
    check(r#"m,h=1 s="x",t="y""#, &format!("m,h=1: {texts}"), "", 0, &[]);
    check(r"m x\,y=1,z=2", "m: invalid characters in metric name: m.x,y", "", 0, &["m.z{}@r 0 2"]);
    // Of a line that is refused in several places one is told.
    check(r"n a\,b=1,c\,d=1", "n: invalid characters in metric name: n.a,b", "", 0, &[]);
    check("o,a=1,a=2 b=1,c=2", "", "unable to parse 'o,a=1,a=2': duplicate tags", 0, &[]);
    check("p b=", "", "unable to parse 'p b=': missing field value", 0, &[]);
    check("p,_x=1 b=1", "p,_x=1: invalid characters in dimension key _x", "", 0, &[]);
    let meta = "q: value_meta is not an object of JSON";
    check(r#"q value=1,value_meta="{""#, meta, "", 0, &[]);
    check(
        r#"q value=1,value_meta="[1]""#,
        "q: invalid valueMeta type: [1] is not an object",
        "",
        0,
        &[],
    );
    check(
        &format!("r v=1 {}\nr v=2 5", NOW - 1),
        "",
        "",
        0,
        &["r.v{}@r 1 1", "r.v{}@r 1795166674995 2"],
    );
    check(&format!("s v=1,w=1 {}", i64::MAX), "", "", 1, &[]);
    let history = r#"alarm_state_history,tenant_id=t1 tenant_id="t1",metrics="[]" 5"#;
    assert_eq!(stored.write(history).left_out, 1);
    check(history, "", "", 0, &[]);
    stored.store.close().unwrap();
}

#[test]
fn a_body_says_no_more_than_a_request_holds() {
    let mut stored = Stored::new();
    stored.new_bytes = 100;
    let dimension = "x".repeat(40);
    let line = |host: usize| format!("m,h={host}{dimension} a=1,b=2\n");
    assert!(matches!(stored.decode(&line(1)), Ok(Decoded::Whole(_))));
    assert!(matches!(stored.decode(&(line(1) + &line(2))), Err(Fault::TooMuch)));
    // Series that are known take nothing.
    stored.write(&line(1));
    assert!(matches!(stored.decode(&(line(1) + &line(2))), Ok(Decoded::Whole(_))));
    let tenants: String = (0..=TENANTS_MAX).map(|n| format!("m,_tenant_id=t{n} a=1\n")).collect();
    assert!(matches!(stored.decode(&tenants), Err(Fault::TooMuch)));
    let many = vec!["a=1"; 10_000].join(",");
    let body: String = (0..101).map(|_| format!("m {many}\n")).collect();
    assert!(matches!(stored.decode(&body), Err(Fault::TooMuch)));
    let long = format!("m,h={} {many}\n", "x".repeat(60_000));
    let body: String = (0..2).map(|_| long.as_str()).collect();
    assert!(matches!(stored.decode(&body), Err(Fault::TooMuch)));
    stored.store.close().unwrap();
}

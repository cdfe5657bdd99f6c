//! The real Python client of InfluxDB 5.3.2 against a real server: the library with which
//! monasca-persister writes, and what it makes of refusals.

use std::sync::Arc;

use moneta_storage::clock::SystemClock;
use moneta_tests::{installed, server};
use tokio::runtime::Runtime;

/// Prints what the client sees, a line for each step.
const SCRIPT: &str = r#"
import json, sys, time
from influxdb import InfluxDBClient
from influxdb.exceptions import InfluxDBClientError

port, now = int(sys.argv[1]), int(time.time() * 1000)
plain = InfluxDBClient("127.0.0.1", port, "mon_persister", "secret", "mon")
packed = InfluxDBClient("127.0.0.1", port, "mon_persister", "secret", "mon", gzip=True)
print("ping", plain.ping())

# As the persister does: lines of its own, in milliseconds.
lines = [
    'cpu.idle,_region=RegionOne,_tenant_id=t%d,dev\\ ice=x\\ yz/é,hostname=a '
    'value=%r,value_meta="{\\"rc\\": \\"404\\"}" %d' % (n % 2, float(n), now - n)
    for n in range(100)
]
print("lines", plain.write_points(lines, time_precision="ms", protocol="line", batch_size=30))
print("packed", packed.write_points(lines[:1], time_precision="ms", protocol="line"))

# As any other program does: the client writes the lines.
point = {
    "measurement": "disk", "tags": {"path": "/a b", "host": "h"},
    "time": now, "fields": {"free": 12, "used": 0.5, "ok": True, "name": 'x "y"'},
}
print("points", plain.write_points([point], time_precision="ms"))

def refused(lines):
    try:
        plain.write_points(lines, time_precision="ms", protocol="line")
        print("stored")
    except InfluxDBClientError as error:
        print("refused", error.code, json.loads(error.content)["error"])

refused(["bad line here"])
refused(["good value=1 %d" % now, "bad value=x"])
refused(["late value=1 -9000000000000"])
"#;

#[test]
fn the_client_of_the_persister_writes_and_reads_refusals() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let runtime = Runtime::new().unwrap();
    let running = server::start(&data, Arc::new(SystemClock), &[]);
    let running = runtime.block_on(running).unwrap();
    let port = running.address().port().to_string();
    let output = installed::command("clients-1", "python", folder.path())
        .args(["-c", SCRIPT, &port])
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    let said: Vec<&str> = text.lines().collect();
    assert_eq!(
        said,
        [
            "ping 1.8.10",
            "lines True",
            "packed True",
            "points True",
            "refused 400 unable to parse 'bad line here': invalid field format",
            "refused 400 partial write: unable to parse 'bad value=x': invalid field format dropped=1",
            "refused 400 partial write: points beyond retention policy dropped=1",
            "late: timestamp -9000000000000 lies before the year 1900",
        ],
        "{text}"
    );
    runtime.block_on(running.shutdown()).unwrap();

    // What came is where it belongs.
    let config = moneta_storage::StoreConfig::default();
    let store = moneta_storage::Store::open(&data, config, Arc::new(SystemClock)).unwrap();
    let names = |tenant: &str| {
        let tenant = store.find_tenant(tenant).unwrap();
        let all = moneta_storage::model::Selector::default();
        let series = store.select(tenant, &all).unwrap();
        let keys = store.series_of(tenant, &series).unwrap().into_iter().flatten();
        let mut names: Vec<String> =
            keys.map(|key| format!("{}{}@{}", key.metric, key.dimensions, key.region)).collect();
        names.sort();
        names
    };
    for tenant in ["t0", "t1"] {
        assert_eq!(names(tenant), ["cpu.idle{dev ice=x yz/é, hostname=a}@RegionOne"]);
    }
    let own = names("default").join("; ");
    for metric in ["disk.free{", "disk.ok{", "disk.used{", "good{}"] {
        assert!(own.contains(metric), "{own}");
    }
    assert!(own.contains("{host=h, path=/a b}"), "{own}");
    store.close().unwrap();
}

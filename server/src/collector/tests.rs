//! Tests of the host collector: on this machine, and on readings as other machines give them.

use std::collections::BTreeSet;

use moneta_storage::StoreConfig;
use moneta_storage::clock::ManualClock;
use moneta_storage::model::Selector;

use super::*;

/// What `fill` pushes, as `metric{device} value`.
fn pushed(fill: impl FnOnce(&mut Readings)) -> Vec<String> {
    let now = Timestamp::from_millis(0);
    let mut out = Readings { hostname: "h", now, list: Vec::new() };
    fill(&mut out);
    let show = |(key, sample): (SeriesKey, Sample)| {
        let device = key.dimensions.get("device").map(|device| format!("{{{device}}}"));
        format!("{}{} {}", key.metric, device.unwrap_or_default(), sample.value)
    };
    out.list.into_iter().map(show).collect()
}

#[test]
fn processor_time_is_shared_out_between_two_readings() {
    let before = CpuTimes::parse("cpu  100 10 50 800 40 3 2 5 77 7\ncpu0 1 1").unwrap();
    assert_eq!(before, CpuTimes { user: 110, system: 55, idle: 800, wait: 40, stolen: 5 });
    let after = CpuTimes { user: 120, system: 60, idle: 880, wait: 39, stolen: 10 };
    let want = [
        "cpu.user_perc 10",
        "cpu.system_perc 5",
        "cpu.idle_perc 80",
        "cpu.wait_perc 0",
        "cpu.stolen_perc 5",
        "cpu.percent 20",
    ];
    assert_eq!(pushed(|out| after.shares_since(&before, out)), want);
    assert_eq!(pushed(|out| before.shares_since(&before, out)), [""; 0]);
}

#[test]
fn reserved_blocks_are_not_used() {
    let mount = |inodes: u64| Mount {
        point: "/".into(),
        room: Room {
            total: 1000 << 20,
            used: 300 << 20,
            available: 600 << 20,
            inodes,
            inodes_used: 2,
        },
    };
    let mounts = BTreeMap::from([("a".to_owned(), mount(8)), ("b".to_owned(), mount(0))]);
    let want = [
        "disk.space_used_perc{a} 33.33333333333333",
        "disk.inode_used_perc{a} 25",
        "disk.space_used_perc{b} 33.33333333333333",
        "disk.total_space_mb 2000",
        "disk.total_used_space_mb 600",
    ];
    assert_eq!(pushed(|out| space(&mounts, out)), want);
    let here = Room::at(Path::new("/")).unwrap();
    assert!(here.used <= here.total && here.inodes_used <= here.inodes, "{here:?}");
    assert_eq!(Room::at(Path::new("/nowhere")), None);
}

fn counters(seconds: i64, io: &str, net: &str) -> Counters {
    let time = Timestamp::from_seconds(seconds);
    Counters { time, cpu: None, io: parse_io(io), net: parse_net(net) }
}

#[test]
fn rates_are_per_second_in_the_units_of_the_agent() {
    let heads = "Inter-|   Receive | Transmit\n face |bytes packets errs drop\n";
    let before = counters(
        0,
        " 252 0 vda 10 0 100 1000 20 0 200 2000 0 0 0\n 7 0 loop0 1 1 1 1 1 1 1 1 1",
        &format!(
            "{heads}  eth0: 100 10 1 0 0 0 0 0 200 20 2 0 0 0 0 0\n lo: 1 1 1 1 1 1 1 1 1 1 1 1"
        ),
    );
    let after = counters(
        10,
        " 252 0 vda 20 0 140 6000 50 0 260 2000 0 0 0\n 7 0 loop0 9 9 9 9 9 9 9 9 9",
        &format!(
            "{heads}  eth0:1100 30 1 5 0 0 0 0 200 10 2 0 0 0 0 0\n eth1: 1 1 1 1 1 1 1 1 1 1 1 1"
        ),
    );
    let want = [
        "io.read_req_sec{vda} 1",
        "io.read_kbytes_sec{vda} 2",
        "io.read_time_sec{vda} 0.5",
        "io.write_req_sec{vda} 3",
        "io.write_kbytes_sec{vda} 3",
        "io.write_time_sec{vda} 0",
        "net.in_bytes_sec{eth0} 100",
        "net.in_packets_sec{eth0} 2",
        "net.in_errors_sec{eth0} 0",
        "net.in_packets_dropped_sec{eth0} 0.5",
        "net.out_bytes_sec{eth0} 0",
        "net.out_errors_sec{eth0} 0",
        "net.out_packets_dropped_sec{eth0} 0",
    ];
    assert_eq!(pushed(|out| after.rates_since(&before, |device| device == "vda", out)), want);
    assert_eq!(pushed(|out| before.rates_since(&after, |_| true, out)), [""; 0]);
}

#[test]
fn damaged_lines_are_left_out() {
    assert_eq!(CpuTimes::parse("cpu  1 2 3"), None);
    assert_eq!(CpuTimes::parse(""), None);
    assert!(parse_io("252 0 vda 1 2 x 4 5 6 7 8").is_empty());
    assert!(parse_net("eth0: 1 2 3 4 5 6 7 8 9").is_empty());
}

#[test]
fn readings_become_series_of_the_tenant_and_region() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Timestamp::from_seconds(1_000_000));
    let store = Store::open(directory.path(), StoreConfig::default(), clock.clone()).unwrap();
    let mut collector = HostCollector::new("h1");
    for seconds in [1_000_000, 1_000_010] {
        clock.set(Timestamp::from_seconds(seconds));
        write(&mut collector, &store, "project", "here").unwrap();
    }
    let tenant = store.find_tenant("project").unwrap();
    let selector = Selector { metric: Some("load.avg_1_min".to_owned()), ..Selector::default() };
    let found = store.select(tenant, &selector).unwrap();
    let key = store.series(tenant, found[0]).unwrap().unwrap();
    assert_eq!((found.len(), key.region.as_str()), (1, "here"));
    assert_eq!(key.dimensions.to_string(), "{hostname=h1, service=monitoring}");
    store.close().unwrap();
}

/// The one test that reads this machine.
#[test]
fn two_readings_of_this_machine_have_the_names_of_the_agent() {
    let mut collector = HostCollector::new("h1");
    let first = collector.gather(Timestamp::from_seconds(100));
    // The processor's times advance in ticks: read until one has passed.
    let (mut at, mut second) = (100, Vec::new());
    while !second.iter().any(|(key, _): &(SeriesKey, Sample)| key.metric == "cpu.percent") {
        at += 10;
        second = collector.gather(Timestamp::from_seconds(at));
    }
    let names = |list: &[(SeriesKey, Sample)]| -> BTreeSet<String> {
        list.iter().map(|(key, _)| key.metric.clone()).collect()
    };
    let steady = [
        "load.avg_1_min",
        "load.avg_5_min",
        "load.avg_15_min",
        "mem.total_mb",
        "mem.free_mb",
        "mem.used_mb",
        "mem.usable_mb",
        "mem.usable_perc",
        "mem.swap_total_mb",
        "mem.swap_free_mb",
        "mem.swap_used_mb",
        "mem.swap_free_perc",
    ];
    let rates = [
        "cpu.user_perc",
        "cpu.system_perc",
        "cpu.idle_perc",
        "cpu.wait_perc",
        "cpu.stolen_perc",
        "cpu.percent",
    ];
    // A machine may have no disk or interface of its own; one it has is reported in full.
    let devices: BTreeSet<&str> = IO
        .iter()
        .chain(&NET)
        .map(|(metric, _)| *metric)
        .chain(["disk.space_used_perc", "disk.inode_used_perc"])
        .chain(["disk.total_space_mb", "disk.total_used_space_mb"])
        .collect();
    for name in steady {
        assert!(names(&first).contains(name) && names(&second).contains(name), "{name}");
    }
    for name in rates {
        assert!(!names(&first).contains(name) && names(&second).contains(name), "{name}");
    }
    for name in names(&second) {
        let known = steady.contains(&name.as_str()) || rates.contains(&name.as_str());
        assert!(known || devices.contains(name.as_str()), "{name} is not a name of the agent");
    }
    let mut keys = BTreeSet::new();
    for (key, sample) in &second {
        assert!(keys.insert(key.clone()), "{key:?} twice");
        assert_eq!(sample.time, Timestamp::from_seconds(at));
        assert!(sample.value.is_finite() && sample.value >= 0.0, "{key:?} {}", sample.value);
        let share = key.metric.ends_with("_perc") || key.metric == "cpu.percent";
        assert!(!share || sample.value <= 100.0, "{key:?} {}", sample.value);
        let names: Vec<&str> = key.dimensions.iter().map(|(name, _)| name).collect();
        let want: &[&str] = match key.metric.split('_').next().unwrap_or_default() {
            "disk.space" | "disk.inode" => &["device", "hostname", "mount_point", "service"],
            metric if metric.starts_with("io.") || metric.starts_with("net.") => {
                &["device", "hostname", "service"]
            }
            _ => &["hostname", "service"],
        };
        assert_eq!(names, want, "{}", key.metric);
        assert_eq!(key.dimensions.get("hostname"), Some("h1"));
        assert_eq!(key.dimensions.get("service"), Some("monitoring"));
    }
}

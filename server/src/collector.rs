//! The host collector: what the server's own machine is doing, as series.
//!
//! Names, units and dimensions are those of monasca-agent's system checks, so that its dashboards and
//! alarm definitions fit without an agent being installed. All series carry `hostname` and
//! `service=monitoring`. Rates and shares of time lie between two readings; the first gives none.
//!
//! | Source | Series |
//! |---|---|
//! | `/proc/stat` | `cpu.{idle,user,system,wait,stolen}_perc`, `cpu.percent` |
//! | `sysinfo` | `load.avg_{1,5,15}_min`, `mem.*`, which devices are mounted |
//! | `statvfs` | `disk.{space,inode}_used_perc` by `device` and `mount_point`, `disk.total_{,used_}space_mb` |
//! | `/proc/diskstats` | `io.{read,write}_{req,kbytes,time}_sec` by `device` |
//! | `/proc/net/dev` | `net.{in,out}_{bytes,packets,errors,packets_dropped}_sec` by `device` |
//!
//! One deviation: `mem.used_mb` (total without free) is an addition. Where `/proc` does not exist its
//! series are left out.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::path::Path;
use std::time::Duration;

use moneta_storage::model::{Dimensions, Sample, SeriesKey, Timestamp};
use moneta_storage::{Error, ErrorKind, Store};
use sysinfo::{DiskRefreshKind, Disks, System};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

const BYTES_PER_MB: u64 = 1024 * 1024;
/// Devices of a kind that are reported; more are left out. A host with thousands of virtual
/// interfaces must not fill the database with itself.
const DEVICES_MAX: usize = 256;
/// Interfaces that carry the traffic of guests or of the host with itself, by the beginning of
/// their names. The agent's own set-up leaves out the same, but for `veth`.
const INTERFACES_IGNORED: [&str; 10] =
    ["lo", "vnet", "tun", "ovs", "br", "tap", "qbr", "qvb", "qvo", "veth"];

/// Reads the machine's state and remembers the reading before, from which rates follow.
pub struct HostCollector {
    hostname: String,
    system: System,
    disks: Disks,
    before: Option<Counters>,
}

impl HostCollector {
    /// A collector whose series carry `hostname`.
    #[must_use]
    pub fn new(hostname: impl Into<String>) -> Self {
        HostCollector {
            hostname: hostname.into(),
            system: System::new(),
            disks: Disks::new(),
            before: None,
        }
    }

    /// One reading, stamped `now`; regions are empty. Blocks for reading `/proc` and for asking each
    /// local file system for its size.
    pub fn gather(&mut self, now: Timestamp) -> Vec<(SeriesKey, Sample)> {
        let mut out = Readings { hostname: &self.hostname, now, list: Vec::new() };
        load(&mut out);
        self.system.refresh_memory();
        memory(&self.system, &mut out);
        self.disks.refresh_specifics(true, DiskRefreshKind::nothing().with_storage());
        let mounts = mounts(&self.disks);
        space(&mounts, &mut out);
        let counters = Counters::read(now);
        if let Some(before) = &self.before {
            counters.rates_since(before, |device| mounts.contains_key(device), &mut out);
        }
        self.before = Some(counters);
        out.list
    }
}

/// Writes a reading every `interval`, each as one request, until `stop` is true or its sender is
/// gone. A reading that the store refuses is skipped with a warning.
pub async fn run(
    store: Store,
    tenant: String,
    region: String,
    interval: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let hostname = System::host_name().unwrap_or_else(|| "localhost".to_owned());
    let mut collector = HostCollector::new(hostname);
    let mut beat = tokio::time::interval(interval);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = beat.tick() => {}
        }
        let (store, tenant, region) = (store.clone(), tenant.clone(), region.clone());
        let written = tokio::task::spawn_blocking(move || {
            let result = write(&mut collector, &store, &tenant, &region);
            (collector, result)
        });
        let result = match written.await {
            Ok((back, result)) => {
                collector = back;
                result
            }
            Err(error) => {
                tracing::error!(%error, "the host collector ends");
                return;
            }
        };
        match result.map_err(|error| (error.kind(), error)) {
            Ok(()) => {}
            Err((ErrorKind::Busy, error)) => {
                tracing::warn!(%error, "a reading of this host is skipped: the store is busy");
            }
            Err((_, error)) => tracing::warn!(%error, "a reading of this host is lost"),
        }
    }
}

fn write(
    collector: &mut HostCollector,
    store: &Store,
    tenant: &str,
    region: &str,
) -> Result<(), Error> {
    let readings = collector.gather(store.clock().now());
    let mut request = store.request(store.tenant(tenant)?);
    for (mut key, Sample { time, value, meta }) in readings {
        region.clone_into(&mut key.region);
        let raw = key.encode();
        request.push(&raw, || Ok::<_, Error>(key), time, value, meta)?;
    }
    store.write(request)?;
    Ok(())
}

/// The samples of one reading.
struct Readings<'a> {
    hostname: &'a str,
    now: Timestamp,
    list: Vec<(SeriesKey, Sample)>,
}

impl Readings<'_> {
    fn push(&mut self, metric: &str, dimensions: &[(&str, &str)], value: f64) {
        if !value.is_finite() {
            return;
        }
        let common = [("hostname", self.hostname), ("service", "monitoring")];
        let dimensions: Dimensions = common.iter().chain(dimensions).copied().collect();
        let key = SeriesKey { metric: metric.to_owned(), dimensions, region: String::new() };
        self.list.push((key, Sample { time: self.now, value, meta: None }));
    }

    /// Whole megabytes, as the agent reports them.
    fn push_mb(&mut self, metric: &str, bytes: u64) {
        self.push(metric, &[], as_f64(bytes / BYTES_PER_MB));
    }
}

/// Exact up to 2^53, which no counter read here reaches in centuries.
fn as_f64(count: u64) -> f64 {
    count as f64
}

fn percent(part: u64, whole: u64) -> f64 {
    // Of nothing nothing is used; a quotient of zeroes would not be a number.
    if whole == 0 { 0.0 } else { 100.0 * (as_f64(part.min(whole)) / as_f64(whole)) }
}

fn load(out: &mut Readings) {
    let load = System::load_average();
    out.push("load.avg_1_min", &[], load.one);
    out.push("load.avg_5_min", &[], load.five);
    out.push("load.avg_15_min", &[], load.fifteen);
}

fn memory(system: &System, out: &mut Readings) {
    let (total, free) = (system.total_memory(), system.free_memory());
    out.push_mb("mem.total_mb", total);
    out.push_mb("mem.free_mb", free);
    out.push_mb("mem.used_mb", total.saturating_sub(free));
    out.push_mb("mem.usable_mb", system.available_memory());
    out.push("mem.usable_perc", &[], percent(system.available_memory(), total));
    let (swap, swap_free) = (system.total_swap(), system.free_swap());
    out.push_mb("mem.swap_total_mb", swap);
    out.push_mb("mem.swap_free_mb", swap_free);
    out.push_mb("mem.swap_used_mb", system.used_swap());
    let swap_free = if swap == 0 { 100.0 } else { percent(swap_free, swap) };
    out.push("mem.swap_free_perc", &[], swap_free);
}

/// A mounted device: where, and what is left of it.
struct Mount {
    point: String,
    room: Room,
}

/// What is left of a file system, in bytes and inodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Room {
    total: u64,
    used: u64,
    /// Not used, and not reserved for root.
    available: u64,
    inodes: u64,
    inodes_used: u64,
}

impl Room {
    /// Of the file system at `point`; `None` if it cannot be asked.
    fn at(point: &Path) -> Option<Self> {
        let stat = rustix::fs::statvfs(point).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Some(Room {
            total: bytes(stat.f_blocks),
            used: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
            available: bytes(stat.f_bavail),
            inodes: stat.f_files,
            inodes_used: stat.f_files.saturating_sub(stat.f_ffree),
        })
    }
}

/// Mounted devices by name. Of a device that is mounted in several places the shortest counts: the
/// others are bind mounts of parts of it, by the dozen in a container.
fn mounts(disks: &Disks) -> BTreeMap<String, Mount> {
    let mut mounts: BTreeMap<String, Mount> = BTreeMap::new();
    for disk in disks.list().iter().filter(|disk| disk.total_space() > 0) {
        let path = disk.name().to_string_lossy();
        let device = path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("unknown");
        let point = disk.mount_point().to_string_lossy().into_owned();
        let known = mounts.get(device);
        let better = known.is_none_or(|known| point.len() < known.point.len());
        if better
            && (known.is_some() || mounts.len() < DEVICES_MAX)
            && let Some(room) = Room::at(disk.mount_point())
        {
            mounts.insert(device.to_owned(), Mount { point, room });
        }
    }
    mounts
}

fn space(mounts: &BTreeMap<String, Mount>, out: &mut Readings) {
    for (device, Mount { point, room }) in mounts {
        let dimensions = [("device", device.as_str()), ("mount_point", point.as_str())];
        // As `df` and the agent count: blocks reserved for root are neither used nor to be had.
        let usable = room.used.saturating_add(room.available);
        out.push("disk.space_used_perc", &dimensions, percent(room.used, usable));
        // Some file systems have no fixed number of inodes, and say none.
        if room.inodes > 0 {
            let used = percent(room.inodes_used, room.inodes);
            out.push("disk.inode_used_perc", &dimensions, used);
        }
    }
    if !mounts.is_empty() {
        let sum = |part: fn(&Room) -> u64| {
            mounts.values().fold(0_u64, |sum, mount| sum.saturating_add(part(&mount.room)))
        };
        out.push_mb("disk.total_space_mb", sum(|room| room.total));
        out.push_mb("disk.total_used_space_mb", sum(|room| room.used));
    }
}

/// What only grows, as read at one instant.
struct Counters {
    time: Timestamp,
    cpu: Option<CpuTimes>,
    io: BTreeMap<String, [u64; IO.len()]>,
    net: BTreeMap<String, [u64; NET.len()]>,
}

/// A counter of a device: the metric, and how many of its units make one of the metric's.
type Rate = (&'static str, f64);

/// Sectors are 512 bytes whatever the disk's own are.
const IO: [Rate; 6] = [
    ("io.read_req_sec", 1.0),
    ("io.read_kbytes_sec", 2.0),
    ("io.read_time_sec", 1000.0),
    ("io.write_req_sec", 1.0),
    ("io.write_kbytes_sec", 2.0),
    ("io.write_time_sec", 1000.0),
];
/// Columns of `/proc/diskstats` after the device's name, as in [`IO`].
const IO_COLUMNS: [usize; IO.len()] = [0, 2, 3, 4, 6, 7];

const NET: [Rate; 8] = [
    ("net.in_bytes_sec", 1.0),
    ("net.in_packets_sec", 1.0),
    ("net.in_errors_sec", 1.0),
    ("net.in_packets_dropped_sec", 1.0),
    ("net.out_bytes_sec", 1.0),
    ("net.out_packets_sec", 1.0),
    ("net.out_errors_sec", 1.0),
    ("net.out_packets_dropped_sec", 1.0),
];
/// Columns of `/proc/net/dev` after the device's name, as in [`NET`].
const NET_COLUMNS: [usize; NET.len()] = [0, 1, 2, 3, 8, 9, 10, 11];

impl Counters {
    fn read(time: Timestamp) -> Self {
        let file = |path| read_to_string(path).unwrap_or_default();
        Counters {
            time,
            cpu: CpuTimes::parse(&file("/proc/stat")),
            io: parse_io(&file("/proc/diskstats")),
            net: parse_net(&file("/proc/net/dev")),
        }
    }

    fn rates_since(
        &self,
        before: &Counters,
        is_mounted: impl Fn(&str) -> bool,
        out: &mut Readings,
    ) {
        if let (Some(now), Some(before)) = (&self.cpu, &before.cpu) {
            now.shares_since(before, out);
        }
        let seconds = self.time.since(before.time).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        for (device, now) in self.io.iter().filter(|(device, _)| is_mounted(device)) {
            push_rates(&IO, device, now, before.io.get(device), seconds, out);
        }
        for (device, now) in self.net.iter().take(DEVICES_MAX) {
            push_rates(&NET, device, now, before.net.get(device), seconds, out);
        }
    }
}

/// A device that was not there before has no rates yet; a counter that went back (the device was
/// replaced or the counter wrapped) has none this time.
fn push_rates<const N: usize>(
    rates: &[Rate; N],
    device: &str,
    now: &[u64; N],
    before: Option<&[u64; N]>,
    seconds: f64,
    out: &mut Readings,
) {
    let Some(before) = before else { return };
    for (((metric, units), now), before) in rates.iter().zip(now).zip(before) {
        if let Some(grown) = now.checked_sub(*before) {
            out.push(metric, &[("device", device)], as_f64(grown) / units / seconds);
        }
    }
}

/// Time spent by all processors since the start, in ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct CpuTimes {
    user: u64,
    system: u64,
    idle: u64,
    wait: u64,
    stolen: u64,
}

impl CpuTimes {
    /// Reads the first line of `/proc/stat`:
    /// `cpu user nice system idle iowait irq softirq steal …`. Time of guests, which follows, is
    /// part of user time already.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let mut next = || words.next()?.parse::<u64>().ok();
        let (user, nice, system, idle, wait) = (next()?, next()?, next()?, next()?, next()?);
        let (irq, softirq, stolen) = (next()?, next()?, next()?);
        let (user, system) = (user.saturating_add(nice), system.saturating_add(irq));
        Some(CpuTimes { user, system: system.saturating_add(softirq), idle, wait, stolen })
    }

    fn shares_since(&self, before: &CpuTimes, out: &mut Readings) {
        // Single times are known to step back a little.
        let user = self.user.saturating_sub(before.user);
        let system = self.system.saturating_sub(before.system);
        let idle = self.idle.saturating_sub(before.idle);
        let wait = self.wait.saturating_sub(before.wait);
        let stolen = self.stolen.saturating_sub(before.stolen);
        let busy = user.saturating_add(system).saturating_add(stolen);
        let all = busy.saturating_add(idle).saturating_add(wait);
        if all == 0 {
            return;
        }
        out.push("cpu.user_perc", &[], percent(user, all));
        out.push("cpu.system_perc", &[], percent(system, all));
        out.push("cpu.idle_perc", &[], percent(idle, all));
        out.push("cpu.wait_perc", &[], percent(wait, all));
        out.push("cpu.stolen_perc", &[], percent(stolen, all));
        out.push("cpu.percent", &[], percent(busy, all));
    }
}

fn parse_io(text: &str) -> BTreeMap<String, [u64; IO.len()]> {
    let line = |line: &str| {
        let mut words = line.split_whitespace().skip(2);
        Some((words.next()?.to_owned(), columns(words, IO_COLUMNS)?))
    };
    text.lines().filter_map(line).collect()
}

fn parse_net(text: &str) -> BTreeMap<String, [u64; NET.len()]> {
    let line = |line: &str| {
        let (device, counters) = line.split_once(':')?;
        let device = device.trim();
        let ignored = INTERFACES_IGNORED.iter().any(|prefix| device.starts_with(prefix));
        let counters = columns(counters.split_whitespace(), NET_COLUMNS)?;
        (!ignored).then(|| (device.to_owned(), counters))
    };
    text.lines().filter_map(line).collect()
}

/// The wanted columns, whose numbers ascend; `None` if one is missing or not a number.
fn columns<'a, const N: usize>(
    words: impl Iterator<Item = &'a str>,
    wanted: [usize; N],
) -> Option<[u64; N]> {
    let mut words = words.enumerate();
    let mut found = [0; N];
    for (slot, at) in found.iter_mut().zip(wanted) {
        let (_, word) = words.find(|(column, _)| *column == at)?;
        *slot = word.parse().ok()?;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
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
        let selector =
            Selector { metric: Some("load.avg_1_min".to_owned()), ..Selector::default() };
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
}

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
mod tests;

//! Writes, deletes, changes policies, removes tenants, sweeps and takes snapshots and backups until it
//! is killed, telling its parent about each acknowledgement.
//!
//! Arguments: data directory, number of the first operation, number of a fail point and passes that it
//! survives. Operation `n` follows from `n`; after it the line `n` goes to standard output. A second
//! thread flushes and merges all the time.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use moneta_storage::clock::ManualClock;
use moneta_storage::fail_point::{Point, arm};
use moneta_storage::model::Timestamp;
use moneta_storage::space::FreeSpace;
use moneta_storage::{Error, Store, StoreConfig};
use moneta_tests::forget::{carry_out, now};

/// A fail point that is not met by so many operations is not met at all.
const ARMED_OPS_MAX: u64 = 3000;

fn main() {
    if let Err(error) = run() {
        eprintln!("forget-child: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Error> {
    let usage = || Error::Invalid("usage: forget-child DIRECTORY NUMBER [POINT PASSES]".into());
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or_else(usage)?;
    let directory = Path::new(&directory);
    let first: u64 = arguments.next().and_then(|text| text.parse().ok()).ok_or_else(usage)?;
    let mut number = || arguments.next().and_then(|text| text.parse().ok());
    let mut last = u64::MAX;
    if let Some((point, passes)) = number().and_then(Point::of_number).zip(number()) {
        arm(point, passes);
        last = first + ARMED_OPS_MAX;
    }
    let config = StoreConfig {
        // Not what is tested here, and the disk of a test machine may be small.
        free_space_min: FreeSpace::Bytes(0),
        live_log_bytes: 64 << 10,
        flush_age: Duration::from_secs(3600),
        ..StoreConfig::default()
    };
    let clock = ManualClock::at(Timestamp::from_millis(now(first)));
    let store = Store::open(directory, config, clock.clone())?;
    let keeper = store.clone();
    std::thread::spawn(move || while keeper.flush().and_then(|()| keeper.merge()).is_ok() {});
    let mut out = std::io::stdout();
    for number in first..last {
        carry_out(&store, &clock, directory, number)?;
        if writeln!(out, "{number}").and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    Ok(())
}

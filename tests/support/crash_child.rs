//! Writes to a store until it is killed, telling its parent about each acknowledgement.
//!
//! Arguments: data directory, number of the first write, durability (`batch` or `os`;
//! default `batch`), number of a fail point and passes that it survives. Write `n` holds 1 to 50 samples that follow
//! from `n`; after its acknowledgement the line `n` goes to standard output. A second thread flushes
//! and merges all the time, so that a kill meets every stage.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use moneta_storage::clock::SystemClock;
use moneta_storage::fail_point::{Point, arm};
use moneta_storage::space::FreeSpace;
use moneta_storage::{Durability, Error, ErrorKind, Store, StoreConfig};
use moneta_tests::crash::request;

/// A fail point that is not met by so many writes is not met at all.
const ARMED_WRITES_MAX: u64 = 5000;

fn main() {
    if let Err(error) = run() {
        eprintln!("crash-child: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Error> {
    let invalid =
        || Error::Invalid("usage: crash-child DIRECTORY NUMBER [batch|os [POINT PASSES]]".into());
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or_else(invalid)?;
    let first: u64 = arguments.next().and_then(|text| text.parse().ok()).ok_or_else(invalid)?;
    let durability = match arguments.next().as_deref() {
        None | Some("batch") => Durability::Batch,
        Some("os") => Durability::Os,
        Some(_) => return Err(invalid()),
    };
    let mut number = || arguments.next().and_then(|text| text.parse().ok());
    let armed = number().and_then(Point::of_number).zip(number());
    let last = if let Some((point, passes)) = armed {
        arm(point, passes);
        first + ARMED_WRITES_MAX
    } else {
        u64::MAX
    };
    let config = StoreConfig {
        durability,
        // Not what is tested here, and the disk of a test machine may be small.
        free_space_min: FreeSpace::Bytes(0),
        live_log_bytes: 64 << 10,
        flush_age: Duration::from_secs(3600),
        ..StoreConfig::default()
    };
    let store = Store::open(Path::new(&directory), config, Arc::new(SystemClock))?;
    let tenant = store.tenant("crash")?;
    let keeper = store.clone();
    std::thread::spawn(move || while keeper.flush().and_then(|()| keeper.merge()).is_ok() {});
    let mut out = std::io::stdout();
    for number in first..last {
        // Without syncs it may outrun the flush, and is told so; it waits for one then.
        while let Err(error) = store.write(request(&store, tenant, number)?) {
            if error.kind() != ErrorKind::Busy {
                return Err(error);
            }
            store.flush()?;
        }
        let told = writeln!(out, "{number}").and_then(|()| out.flush());
        if told.is_err() {
            break;
        }
    }
    Ok(())
}

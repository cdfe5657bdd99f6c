//! A store that does what it is told, one line on standard input at a time, and answers each with one
//! line on standard output.
//!
//! Arguments: data directory. Commands: `write N` (as in the crash test), `flush`, `merge`, `count` (the
//! number of samples that can be read), `record N` (of N bytes), `look` (at the disk), `health`, `close`.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use moneta_storage::clock::SystemClock;
use moneta_storage::model::{Selector, TenantId, TimeRange};
use moneta_storage::record::{RecordBatch, RecordKind};
use moneta_storage::{Error, ErrorKind, Store, StoreConfig};
use moneta_tests::crash::request;

fn main() {
    if let Err(error) = run() {
        eprintln!("disk-child: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: disk-child DIRECTORY")?;
    let config = StoreConfig {
        live_log_bytes: 1 << 20,
        flush_age: Duration::from_secs(3600),
        // Small enough for a small file system, and twice the log at least.
        free_space_min: moneta_storage::space::FreeSpace::Bytes(1),
        ..StoreConfig::default()
    };
    let store = Store::open(Path::new(&directory), config, Arc::new(SystemClock))?;
    let tenant = store.tenant("crash")?;
    let mut out = std::io::stdout();
    for line in std::io::stdin().lines() {
        let line = line?;
        let (command, number) = line.split_once(' ').unwrap_or((&line, "0"));
        let answer = answer(&store, tenant, command, number.parse()?);
        writeln!(out, "{}", answer.unwrap_or_else(|error| refusal(&error)))?;
        out.flush()?;
        if command == "close" {
            break;
        }
    }
    Ok(())
}

fn refusal(error: &Error) -> String {
    let kind = match error.kind() {
        ErrorKind::Invalid => "invalid",
        ErrorKind::Busy => "busy",
        ErrorKind::Limit => "limit",
        ErrorKind::Rate => "rate",
        ErrorKind::Corrupt => "corrupt",
        ErrorKind::Stopped | ErrorKind::Interrupted => "stopped",
    };
    format!("{kind}: {error}")
}

fn answer(store: &Store, tenant: TenantId, command: &str, number: u64) -> Result<String, Error> {
    let done = |()| "ok".to_owned();
    match command {
        "write" => store.write(request(store, tenant, number)?).map(|_| "ok".to_owned()),
        "flush" => store.flush().map(done),
        "merge" => store.merge().map(done),
        "close" => store.close().map(done),
        "record" => {
            let bytes = usize::try_from(number).unwrap_or(usize::MAX);
            let mut batch = RecordBatch::default();
            batch.put(tenant, RecordKind::Setting, b"id", vec![1; bytes]);
            store.records().commit(batch).map(done)
        }
        "look" => {
            store.look_at_disk();
            Ok("ok".to_owned())
        }
        "count" => count(store, tenant).map(|count| count.to_string()),
        "health" => {
            let health = store.health();
            let text = |reason: Option<String>| reason.unwrap_or_else(|| "-".to_owned());
            Ok(format!("stopped {} | read-only {}", text(health.stopped), text(health.read_only)))
        }
        _ => Err(Error::Invalid(format!("no command {command}"))),
    }
}

fn count(store: &Store, tenant: TenantId) -> Result<u64, Error> {
    let series = store.select(tenant, &Selector::default())?;
    let mut count = 0;
    store.view(tenant).read(&series, TimeRange::ALL, u64::MAX, |_, samples| {
        count += u64::try_from(samples.times.len()).unwrap_or(u64::MAX);
        Ok::<_, Error>(())
    })?;
    Ok(count)
}

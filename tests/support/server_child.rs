//! Runs a server on a data directory until it is killed. Its address goes to standard output.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use moneta_storage::clock::SystemClock;
use moneta_tests::server;

fn main() {
    if let Err(error) = run() {
        eprintln!("server-child: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: server-child DIRECTORY")?;
    // Flushes often, so that kills meet them.
    let settings = [("storage.live_log_mb", "1")];
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let running =
            server::start(Path::new(&directory), Arc::new(SystemClock), &settings).await?;
        println!("{}", running.address());
        std::io::stdout().flush()?;
        std::future::pending::<()>().await;
        Ok(())
    })
}

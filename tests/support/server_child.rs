//! Runs a server on a data directory until it is killed. Its address goes to standard output.

use std::io::Write as _;
use std::sync::Arc;

use moneta_server::{Config, ConfigSources, start};
use moneta_storage::clock::SystemClock;

fn main() {
    if let Err(error) = run() {
        eprintln!("server-child: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: server-child DIRECTORY")?;
    let set = |name: &str, value: String| (name.to_owned(), value);
    let config = Config::load(ConfigSources {
        overrides: vec![
            set("server.data_dir", directory),
            set("server.listen", "127.0.0.1:0".into()),
            // Flushes often, so that kills meet them.
            set("storage.live_log_mb", "1".into()),
        ],
        ..ConfigSources::default()
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let running = start(config, Arc::new(SystemClock)).await?;
        println!("{}", running.address());
        std::io::stdout().flush()?;
        std::future::pending::<()>().await;
        Ok(())
    })
}

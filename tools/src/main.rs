//! The `moneta` binary: `serve` runs the server, the other commands speak HTTP to one.
//!
//! Exit codes: 0 done; 1 failed; 2 wrong arguments or settings. `check`, `compare`, `verify`,
//! `repair`, `backup` and `restore` have their own, see their help.

#![forbid(unsafe_code)]

mod backup;
mod cardinality;
mod check;
mod client;
mod compare;
mod delete;
mod inspect;
mod load;
mod meter;
mod offline;
mod output;
mod pair;
mod progress;
mod query;
mod restore;
mod retention;
mod serve;
mod snapshot;
mod tenant;
mod time;
mod token;
mod user;
mod verify;
mod write;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A server allocates and frees on many threads at once. The system's allocator keeps what they
/// free; this one gives it back and is quicker.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Time-series database with alerting built in.
#[derive(Parser)]
#[command(name = "moneta", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::Serve),
    /// Ask a server for measurements, statistics, metrics, names, dimensions or alarms
    #[command(subcommand)]
    Query(query::Query),
    /// Send measurements to a server
    Write(write::Write),
    /// Prove that a server takes samples, raises an alarm and notifies, and how fast
    Check(check::Check),
    /// Ask two Monasca APIs the same, and show where their answers differ
    Compare(compare::Compare),
    /// Show where a tenant's series come from: by metric, dimension, value, hour
    Cardinality(cardinality::Cardinality),
    /// Send made-up samples as fast as a server takes them, and say what that cost
    Load(load::Load),
    /// See and change how long samples are kept
    #[command(subcommand)]
    Retention(retention::Retention),
    /// See who stores something, and remove a tenant
    #[command(subcommand)]
    Tenant(tenant::Tenant),
    /// Make, list and revoke tokens of a server with auth.mode = "tokens"
    #[command(subcommand)]
    Token(token::Token),
    /// Delete samples of a tenant
    Delete(delete::Delete),
    /// What was deleted, and how far that has come
    Deletions(delete::Deletions),
    /// Read everything in a data directory that no server has open, and say what is damaged
    Verify(verify::Verify),
    /// Mend a damaged data directory, and say what is lost
    Repair(verify::Repair),
    /// Say what a data directory holds and where its bytes go
    Inspect(inspect::Inspect),
    /// Merge the segments of a data directory that no server has open
    Merge(offline::Merge),
    /// Make a data directory that shares its files with the one of a server, at this moment
    Snapshot(snapshot::Snapshot),
    /// Copy what is new into a repository of backups; list, verify or prune one
    Backup(backup::Backup),
    /// Make a data directory of a backup
    Restore(restore::Restore),
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    match run(command) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("moneta: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    // Fails only if a provider is installed already, and nothing ran before this line.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match command {
        Command::Serve(serve) => serve.run(&runtime),
        Command::Query(query) => runtime.block_on(query.run()),
        Command::Write(write) => runtime.block_on(write.run()),
        Command::Check(check) => runtime.block_on(check.run()),
        Command::Compare(compare) => runtime.block_on(compare.run()),
        Command::Cardinality(cardinality) => runtime.block_on(cardinality.run()),
        Command::Load(load) => runtime.block_on(load.run()),
        Command::Retention(retention) => runtime.block_on(retention.run()),
        Command::Tenant(tenant) => runtime.block_on(tenant.run()),
        Command::Token(token) => token.run(),
        Command::Delete(delete) => runtime.block_on(delete.run()),
        Command::Deletions(deletions) => runtime.block_on(deletions.run()),
        Command::Verify(verify) => verify.run(),
        Command::Repair(repair) => repair.run(),
        Command::Inspect(inspect) => inspect.run(),
        Command::Merge(merge) => merge.run(),
        Command::Snapshot(snapshot) => runtime.block_on(snapshot.run()),
        Command::Backup(backup) => runtime.block_on(backup.run()),
        Command::Restore(restore) => restore.run(),
    }
}

/// Whether the reader of our output has gone, as `head` does when it has enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_well_formed() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_backup_is_taken_or_looked_after() {
        let parses = |line: &str| Arguments::try_parse_from(line.split(' ')).is_ok();
        assert!(parses("moneta backup --to there"));
        assert!(parses("moneta backup --to there --data-dir here --json"));
        assert!(parses("moneta backup list --from there -o json"));
        assert!(parses("moneta backup prune --from there --keep 3"));
        assert!(!parses("moneta backup") && !parses("moneta backup prune --from there --keep 0"));
        assert!(parses("moneta restore --from there --id 3 --to here"));
        assert!(!parses("moneta restore --to here") && !parses("moneta snapshot"));
    }

    #[test]
    fn times_that_look_like_options_are_times() {
        let line = "moneta query statistics cpu -d host:a -d zone --start -2h --end -1h --merge";
        assert!(Arguments::try_parse_from(line.split(' ')).is_ok());
        let line = "moneta write cpu -1.5 -d host=a --time -30m";
        assert!(Arguments::try_parse_from(line.split(' ')).is_ok());
        let line = "moneta query measurements cpu --merge --group-by host";
        assert!(Arguments::try_parse_from(line.split(' ')).is_err());
    }
}

//! How long answers take.

use std::time::Instant;

use moneta_storage::Error;

/// Asks a hundred times, or for two seconds, and prints how much was found and the 50th and 99th
/// percentile.
///
/// # Errors
/// What `ask` returns.
pub fn report(name: &str, ask: impl Fn() -> Result<usize, Error>) -> Result<(), Error> {
    let mut took = Vec::new();
    let mut found = 0;
    let all = Instant::now();
    while took.len() < 100 && all.elapsed().as_secs() < 2 {
        let began = Instant::now();
        found = ask()?;
        took.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or(0.0);
    println!("  {name}: {found}, p50 {:.2} ms, p99 {:.2} ms", at(50), at(99));
    Ok(())
}

//! Waiting for other processes, which tell nobody when they are ready: asking again and again.

use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const BETWEEN: Duration = Duration::from_millis(100);

/// Asks until there is an answer. `ask` gives it, or else what it has seen.
///
/// # Panics
/// If there is none for two minutes; the message has what was seen last.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(seen) => assert!(begun.elapsed() < PATIENCE, "{what}: not yet, but {seen}"),
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

//! The reference API of Monasca, unmodified, with its persister, InfluxDB and MariaDB behind it: the same
//! requests to it and to a server of ours, answers compared field by field. Where they differ on purpose,
//! the row names the line of `server/API.md` that says so, and the test fails when they differ no more.

mod alarms;
mod comparison;
mod definitions;
mod metrics;
mod stack;

use comparison::Pair;
use tokio::runtime::Runtime;

#[test]
fn the_reference_gives_the_same_answers() {
    Runtime::new().unwrap().block_on(async {
        let mut pair = Pair::start().await;
        metrics::compare(&mut pair).await;
        definitions::compare(&mut pair).await;
        alarms::compare(&mut pair).await;
        pair.finish().await;
    });
}

//! Measures the machine it runs on. Placeholder: readings are not written yet.

use std::time::Duration;

use moneta_storage::Store;

/// Readings of this machine.
pub struct HostCollector;

/// Writes a reading of this machine every `interval` until `stop` turns true.
pub async fn run(
    store: Store,
    tenant: String,
    region: String,
    interval: Duration,
    mut stop: tokio::sync::watch::Receiver<bool>,
) {
    let _ = (store, tenant, region, interval);
    tracing::warn!("the host collector is not available yet");
    // An error means that the sender is gone, which is a stop as well.
    let _ = stop.wait_for(|stopped| *stopped).await;
}

//! A server in the process of its test.

use std::path::Path;
use std::sync::Arc;

use moneta_server::{Config, ConfigSources, Running};
use moneta_storage::clock::Clock;

/// Starts a server on a folder and on a free port of this machine. `settings` are names and values as on a
/// command line; they may also name another address.
///
/// # Errors
/// If a setting is wrong, and as for [`moneta_server::start`].
pub async fn start(
    data: &Path,
    clock: Arc<dyn Clock>,
    settings: &[(&str, &str)],
) -> Result<Running, Box<dyn std::error::Error>> {
    let data = data.to_str().ok_or("the path of the folder is no UTF-8")?;
    let own = [("server.data_dir", data), ("server.listen", "127.0.0.1:0")];
    let all = own.iter().chain(settings);
    let overrides = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let config = Config::load(ConfigSources { overrides, ..ConfigSources::default() })?;
    Ok(moneta_server::start(config, clock).await?)
}

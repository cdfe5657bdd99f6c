//! Programs in the user's cache folder: the real clients and servers that tests drive. Each environment
//! of Python has a folder of its own there, named with the version of its recipe.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The program `name` of an environment, such as `monasca` of `clients-1`.
///
/// # Panics
/// If it is not installed.
#[must_use]
#[track_caller]
pub fn program(environment: &str, name: &str) -> PathBuf {
    path(&format!("{environment}/bin/{name}"))
}

/// A file or folder there.
///
/// # Panics
/// If it is not installed.
#[must_use]
#[track_caller]
pub fn path(of: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").expect("a home folder")).join(".cache")
    });
    let path = cache.join("moneta").join(of);
    let missing = "is missing: run `make test` or `make test-real`, which install what they need";
    assert!(path.exists(), "{} {missing}", path.display());
    path
}

/// A call of [`program`] that sees nothing of the user's own set-up: no cloud configuration, no proxy.
/// `home` is its home and its working directory.
///
/// # Panics
/// If it is not installed.
#[must_use]
#[track_caller]
pub fn command(environment: &str, name: &str, home: &Path) -> Command {
    let mut command = Command::new(program(environment, name));
    command.env_clear().env("HOME", home).env("PYTHONUTF8", "1").current_dir(home);
    // Some of them call programs of the machine.
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

//! Other programs that a test starts and ends.

use std::net::TcpListener;
use std::process::{Child, Command};

/// Asks a process to end, by SIGTERM, so that its own children end with it, and waits until it has.
pub fn terminate(process: &mut Child) {
    let _ = Command::new("kill").arg(process.id().to_string()).status();
    let _ = process.wait();
}

/// A port on which nothing listened a moment ago, for programs that must be told theirs.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

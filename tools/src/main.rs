//! The moneta binary.
fn main() {}

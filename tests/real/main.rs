//! Slow tests with the real programs that Moneta stands in for or works with, installed into the
//! user's cache folder by `make test-real`.

#[cfg(test)]
mod reference;

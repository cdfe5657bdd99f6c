//! Slow tests with the real programs that Moneta stands in for or works with, unmodified, each with an
//! installation of its own in the user's cache folder: `make test-real`.

#[cfg(test)]
mod agent;
#[cfg(test)]
mod reference;

//! Real programs of others, unmodified, around a real server: slow tests, each with an installation of
//! its own.

#[cfg(test)]
mod agent;

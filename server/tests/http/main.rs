//! The server over HTTP, with a real store and a clock that stands still.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod auth;
mod browsers;
mod damage;
mod dashboards;
mod deletion;
mod figures;
mod monasca;
mod openstack_clients;
mod reference;
mod reference_alarms;
mod refusals;
mod retention;
mod rollup;
mod server;
mod tenants;
mod writes;

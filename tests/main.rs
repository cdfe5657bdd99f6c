//! Tests of the whole: the store against a model, the alarm engine over a real store, the server
//! over HTTP, real clients.

mod crash;
mod damage;
mod model;

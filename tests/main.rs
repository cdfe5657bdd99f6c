//! Tests of the whole: the store against a model, the alarm engine over a real store, the server
//! over HTTP, real clients.

#[cfg(test)]
mod alarm_crash;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod format;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod model;
#[cfg(test)]
mod monasca_cli;
#[cfg(test)]
mod repair;
#[cfg(test)]
mod tidy;

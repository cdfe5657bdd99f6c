//! Tests of the whole: the store against a model, the alarm engine over a real store, the server
//! over HTTP, real clients.

#[cfg(test)]
mod alarm_crash;
#[cfg(test)]
mod backup;
#[cfg(test)]
mod backup_http;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod disk_full;
#[cfg(test)]
mod disk_image;
#[cfg(test)]
mod events;
#[cfg(test)]
mod fairness;
#[cfg(test)]
mod faulty_disk;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod forget;
#[cfg(test)]
mod forget_crash;
#[cfg(test)]
mod format;
#[cfg(test)]
mod index;
#[cfg(test)]
mod influx_client;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod keystone;
#[cfg(test)]
mod log_rules;
#[cfg(test)]
mod model;
#[cfg(test)]
mod monasca_cli;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod power_cut;
#[cfg(test)]
mod random;
#[cfg(test)]
mod read_only_server;
#[cfg(test)]
mod repair;
#[cfg(test)]
mod rollup;
#[cfg(test)]
mod tenant_removal;
#[cfg(test)]
mod tidy;

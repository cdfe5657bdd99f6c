//! `moneta tenant`: who stores something on a server, and removing one with everything it has.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::client::Connection;
use crate::output::{Format, Table};
use crate::user;

#[derive(Subcommand)]
pub(crate) enum Tenant {
    /// The tenants and how many series each has
    List(List),
    /// Remove a tenant with its samples, alarms, methods, events and history
    Delete(Delete),
}

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    connection: Connection,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// Name of the tenant
    name: String,
    /// Do it; without this only what would go is told
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Tenant {
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        match self {
            Tenant::List(list) => {
                let answer = list.connection.client()?.get(&["admin", "tenants"], &[]).await?;
                let none = Vec::new();
                let tenants = answer.get("tenants").and_then(Value::as_array).unwrap_or(&none);
                Table::of(tenants, &["name", "series"]).print(list.output)?;
            }
            Tenant::Delete(delete) => delete.run().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Delete {
    async fn run(&self) -> anyhow::Result<()> {
        let client = self.connection.client()?.patient();
        let path = ["admin", "tenants", &self.name];
        let contents = client.get(&path, &[]).await?;
        let columns =
            ["name", "series", "samples", "bytes", "alarm_definitions", "notification_methods"];
        Table::of(&[contents], &columns).print(self.output)?;
        if !self.yes {
            eprintln!("moneta: nothing was removed; repeat it with --yes");
            return Ok(());
        }
        client.delete_with(&path, &[("confirm", &self.name), ("by", &user::name())]).await?;
        eprintln!("moneta: {} was removed; space comes back in the background", self.name);
        Ok(())
    }
}

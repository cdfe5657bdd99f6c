//! Snapshots, backups and restoring.
//!
//! A *snapshot* is a data directory of its own that shares files with the one it was taken of, by
//! hard links: quick, but on the same disk. A *backup* copies a snapshot into a *repository*, a folder
//! elsewhere that holds each file once, however many backups contain it. *Restoring* makes a data
//! directory of a backup.
//!
//! ```text
//! DATA ──hard links──▶ snapshot ──copies of what is new──▶ repository ──copies, verified──▶ DATA'
//! ```
//!
//! Whatever is being made carries a mark until it is whole (a folder), or a name that nobody looks at
//! (a file), so that an interruption at any moment is seen and harms nothing that was there before.

mod check;
mod copy;
mod folder;
mod fresh;
mod list;
mod progress;
mod prune;
mod repository;
mod restore;
mod run;
mod snapshot;
#[cfg(test)]
mod tests;

pub use check::Checked;
pub(crate) use folder::{STAGING, clear, refuse_inside};
pub use list::FileList;
pub use progress::{Progress, Step, Watch};
pub use prune::Pruned;
pub use repository::{Listed, LoneRepository, Repository};
pub use restore::Restored;
pub use run::Taken;

//! Reading a segment a group of its directory at a time, for those who read all of it: what is in
//! memory does not grow with the file.

use std::path::Path;

use super::directory::{self, Extent, Group, RowEntry, SeriesEntry};
use super::{FOOTER_LEN, HEADER_LEN, Segment, SeriesPlace, table};
use crate::error::Error;

impl Segment {
    /// Where the file lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Groups of row blocks, in order.
    pub(crate) fn row_groups(&self) -> &[Group] {
        &self.top.rows
    }

    /// Groups of series blocks, in order.
    pub(crate) fn series_groups(&self) -> &[Group] {
        &self.top.series
    }

    /// Groups of the series table, in order.
    pub(crate) fn table_groups(&self) -> &[Group] {
        &self.top.table
    }

    /// The row blocks of a group.
    pub(crate) fn row_group(&self, group: &Group) -> Result<Vec<RowEntry>, Error> {
        directory::decode_rows(&self.part(group.extent)?, group.entries)
            .ok_or_else(|| self.corrupt("directory group", group.extent))
    }

    /// The series blocks of a group.
    pub(crate) fn series_group(&self, group: &Group) -> Result<Vec<SeriesEntry>, Error> {
        directory::decode_series(&self.part(group.extent)?, group.entries)
            .ok_or_else(|| self.corrupt("directory group", group.extent))
    }

    /// Series of a group of the table, with their canonical keys.
    pub(crate) fn table_group(&self, group: &Group) -> Result<Vec<(SeriesPlace, Vec<u8>)>, Error> {
        table::decode(&self.part(group.extent)?, group.entries)
            .ok_or_else(|| self.corrupt("series table", group.extent))
    }

    /// The bytes of a part, as they are.
    pub(crate) fn part_bytes(&self, extent: Extent) -> Result<Vec<u8>, Error> {
        self.part(extent)
    }

    /// A part that is whole but not what another says of it.
    pub(crate) fn contradiction(&self, what: &'static str, extent: Extent) -> Error {
        self.corrupt(what, extent)
    }

    /// Bytes of header, top and footer.
    pub(crate) fn frame_bytes(&self) -> u64 {
        let footer = u64::try_from(FOOTER_LEN).unwrap_or(u64::MAX);
        let top = u64::try_from(self.top.encode().len()).unwrap_or(u64::MAX);
        HEADER_LEN.saturating_add(footer).saturating_add(top)
    }
}

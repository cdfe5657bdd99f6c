//! The only module that names RocksDB: column families, atomic batches, iteration.

mod creation;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DBCompressionType,
    DBRawIteratorWithThreadMode, DBRecoveryMode, DBWithThreadMode, FlushOptions, MergeOperands,
    MultiThreaded, Options, Range, ReadOptions, WriteBatch, WriteOptions, checkpoint::Checkpoint,
};

use crate::acknowledged::Acknowledged;
use crate::error::Error;
use crate::fail_point::{self, Point};
use crate::index::id_set;
use crate::key::{self, Family, Key};

type Db = DBWithThreadMode<MultiThreaded>;

/// Trimmed log records in table files may take so much space.
const TRIMMED_BYTES_MAX: u64 = 1 << 20;

/// Whether a batch must be on disk before the call returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sync {
    /// Synced: survives a power cut.
    Disk,
    /// Handed to the operating system: survives the end of the process.
    Os,
}

/// Sizes that depend on the store's settings.
pub(crate) struct KvSizes {
    /// Bytes of log that wait to be written as segments.
    pub(crate) live_log_bytes: u64,
    /// Bytes of the cache for blocks of the small families.
    pub(crate) cache_bytes: usize,
}

/// The open RocksDB. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Kv {
    db: Arc<Db>,
    acknowledged: Option<Arc<Acknowledged>>,
    /// Held while a batch that changes the manifest is committed, or by who needs it to stand still.
    manifest: Arc<Mutex<()>>,
}

/// Changes that become durable together or not at all.
#[derive(Default)]
pub(crate) struct Batch {
    changes: Vec<Change>,
}

enum Change {
    Put(Family, Vec<u8>, Vec<u8>),
    Merge(Family, Vec<u8>, Vec<u8>),
    Delete(Family, Vec<u8>),
    DeleteRange(Family, Vec<u8>, Vec<u8>),
}

impl Batch {
    pub(crate) fn put(&mut self, key: &Key<'_>, value: Vec<u8>) {
        self.changes.push(Change::Put(key.family(), key.encode(), value));
    }

    pub(crate) fn delete(&mut self, key: &Key<'_>) {
        self.changes.push(Change::Delete(key.family(), key.encode()));
    }

    /// Adds ids to the posting list with this encoded key.
    pub(crate) fn add_to_posting(&mut self, key: Vec<u8>, ids: &[u32]) {
        self.changes.push(Change::Merge(Family::Posting, key, id_set::encode_list(ids)));
    }

    /// Adds ids, given as a bitmap, to a posting list or an activity set.
    pub(crate) fn add_bitmap(&mut self, key: &Key<'_>, ids: &roaring::RoaringBitmap) {
        self.changes.push(Change::Merge(key.family(), key.encode(), id_set::encode_bitmap(ids)));
    }

    /// Sets a value under a key that is encoded already.
    pub(crate) fn put_raw(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.changes.push(Change::Put(family, key, value));
    }

    /// Deletes a key that is encoded already.
    pub(crate) fn delete_raw(&mut self, family: Family, key: Vec<u8>) {
        self.changes.push(Change::Delete(family, key));
    }

    /// How many changes there are.
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Deletes the keys from `from` up to, but without, `to`.
    pub(crate) fn delete_range(&mut self, from: &Key<'_>, to: &Key<'_>) {
        self.changes.push(Change::DeleteRange(from.family(), from.encode(), to.encode()));
    }

    /// Deletes what belongs to a tenant, in every family but the log.
    pub(crate) fn delete_tenant(&mut self, tenant: crate::model::TenantId) {
        for (family, from, to) in key::ranges_of(tenant) {
            self.changes.push(Change::DeleteRange(family, from, to));
        }
    }

    /// [`delete_range`](Self::delete_range) from a key as it was read.
    pub(crate) fn delete_range_from(&mut self, from: &[u8], to: &Key<'_>) {
        self.changes.push(Change::DeleteRange(to.family(), from.to_vec(), to.encode()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Bytes of keys and values, about what the log grows by.
    pub(crate) fn bytes(&self) -> u64 {
        let length = |change: &Change| match change {
            Change::Put(_, key, value) | Change::Merge(_, key, value) => key.len() + value.len(),
            Change::Delete(_, key) => key.len(),
            Change::DeleteRange(_, from, to) => from.len() + to.len(),
        };
        u64::try_from(self.changes.iter().map(length).sum::<usize>()).unwrap_or(u64::MAX)
    }

    fn changes_manifest(&self) -> bool {
        self.changes.iter().any(|change| match change {
            Change::Put(family, ..)
            | Change::Merge(family, ..)
            | Change::Delete(family, ..)
            | Change::DeleteRange(family, ..) => *family == Family::Manifest,
        })
    }
}

/// A table file of the database.
pub(crate) struct KvFile {
    pub(crate) family: String,
    pub(crate) bytes: u64,
    pub(crate) first: Vec<u8>,
    pub(crate) last: Vec<u8>,
}

impl Kv {
    /// Opens or creates the database in `directory`. A folder with something in it is not taken for
    /// a new database: without the file that names the others RocksDB would remove them all.
    pub(crate) fn open(directory: &Path, sizes: &KvSizes) -> Result<Self, Error> {
        if !directory.join("CURRENT").is_file() {
            if creation::holds_tables(directory) {
                let place = directory.join("CURRENT").display().to_string();
                return Err(Error::corrupt("or missing content (there are tables)", place));
            }
            creation::remove_empty_logs(directory);
        }
        let (options, cache) = open_options(sizes)?;
        let families = families(sizes, &cache);
        let db = Db::open_cf_descriptors(&options, directory, families)?;
        Ok(Kv { db: Arc::new(db), acknowledged: None, manifest: Arc::default() })
    }

    /// Opens the database in `directory` without changing anything in it.
    pub(crate) fn open_read_only(directory: &Path, sizes: &KvSizes) -> Result<Self, Error> {
        let (mut options, cache) = open_options(sizes)?;
        options.create_if_missing(false);
        options.create_missing_column_families(false);
        let families = families(sizes, &cache);
        let db = Db::open_cf_descriptors_read_only(&options, directory, families, false)?;
        Ok(Kv { db: Arc::new(db), acknowledged: None, manifest: Arc::default() })
    }

    /// Makes a database that can be opened of what is whole in a damaged one. Entries may be missing
    /// then, or back that had been deleted.
    pub(crate) fn salvage(directory: &Path, sizes: &KvSizes) -> Result<(), Error> {
        let cache = Cache::new_lru_cache(sizes.cache_bytes);
        // One set of options serves all families there: the one that knows how to unite sets.
        let mut options = family_options(Family::Posting, sizes, &cache);
        options.create_if_missing(false);
        Ok(Db::repair(&options, directory)?)
    }

    /// The table files.
    pub(crate) fn files(&self) -> Result<Vec<KvFile>, Error> {
        let files = self.db.live_files()?.into_iter().map(|file| KvFile {
            family: file.column_family_name,
            bytes: u64::try_from(file.size).unwrap_or(u64::MAX),
            first: file.start_key.unwrap_or_default(),
            last: file.end_key.unwrap_or_default(),
        });
        Ok(files.collect())
    }

    /// Bytes of table files that keys from `from` up to, but without, `to` take, about.
    pub(crate) fn table_bytes(&self, family: Family, from: &[u8], to: &[u8]) -> u64 {
        let span = [Range::new(from, to)];
        self.db.get_approximate_sizes_cf(&self.family(family), &span).into_iter().sum()
    }

    fn family(&self, family: Family) -> Arc<BoundColumnFamily<'_>> {
        self.db.cf_handle(family.name()).expect("every family is created by open")
    }

    pub(crate) fn get(&self, key: &Key<'_>) -> Result<Option<Vec<u8>>, Error> {
        self.get_raw(key.family(), &key.encode())
    }

    /// The value of a key that is encoded already.
    pub(crate) fn get_raw(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.db.get_cf(&self.family(family), key)?)
    }

    /// The values of many keys of one family, in order.
    pub(crate) fn get_many(
        &self,
        family: Family,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let handle = self.family(family);
        let found = self.db.batched_multi_get_cf(&handle, keys, false);
        found.into_iter().map(|value| Ok(value?.map(|bytes| bytes.to_vec()))).collect()
    }

    pub(crate) fn commit(&self, batch: Batch, sync: Sync) -> Result<(), Error> {
        let _still = batch.changes_manifest().then(|| self.hold_manifest());
        let mut native = WriteBatch::default();
        // Looking a family up takes a lock and compares names; a batch has thousands of changes.
        let handles = Family::ALL.map(|family| (family, self.family(family)));
        let handle = |family: Family| {
            let found = handles.iter().find(|(have, _)| *have == family);
            &found.expect("ALL has every family").1
        };
        for change in batch.changes {
            match change {
                Change::Put(family, key, value) => native.put_cf(handle(family), key, value),
                Change::Merge(family, key, value) => native.merge_cf(handle(family), key, value),
                Change::Delete(family, key) => native.delete_cf(handle(family), key),
                Change::DeleteRange(family, from, to) => {
                    native.delete_range_cf(handle(family), from, to);
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync == Sync::Disk);
        fail_point::pass(Point::BatchBefore);
        self.db.write_opt(native, &options)?;
        fail_point::pass(Point::BatchAfter);
        match (sync, &self.acknowledged) {
            // The change is made, so this is no failure that could be mended by making it again.
            (Sync::Disk, Some(acknowledged)) => acknowledged
                .raise(self.newest_change())
                .map_err(|error| Error::Kv(error.to_string())),
            (Sync::Disk, None) | (Sync::Os, _) => Ok(()),
        }
    }

    /// Lets nobody change the manifest until the guard goes: for a checkpoint and the links of the
    /// segments that it lists. Writes of samples and records go on.
    pub(crate) fn hold_manifest(&self) -> MutexGuard<'_, ()> {
        self.manifest.lock().expect("no code panics while it holds the manifest")
    }

    /// Makes a database in `target`, which does not exist, with everything that was committed before
    /// the call, synced. Table files are linked, the log is copied rather than flushed.
    pub(crate) fn checkpoint(&self, target: &Path) -> Result<(), Error> {
        let checkpoint = Checkpoint::new(&*self.db)?;
        Ok(checkpoint.create_checkpoint_with_log_size(target, u64::MAX)?)
    }

    /// From now on every synced change is recorded there.
    pub(crate) fn record_in(&mut self, acknowledged: Arc<Acknowledged>) {
        self.acknowledged = Some(acknowledged);
    }

    /// Calls `each` with key and value of every entry whose key begins with `prefix`, from `from`
    /// (which begins with it too) on, ascending, until it answers `false`.
    pub(crate) fn scan<E: From<Error>>(
        &self,
        family: Family,
        prefix: &[u8],
        from: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut cursor = self.cursor(family, from);
        while let Some((key, value)) = cursor.entry()? {
            if !key.starts_with(prefix) || !each(key, value)? {
                break;
            }
            cursor.next();
        }
        Ok(())
    }

    /// The greatest key of the family that is not greater than `key`.
    pub(crate) fn key_at_or_before(&self, key: &Key<'_>) -> Result<Option<Vec<u8>>, Error> {
        let mut raw =
            self.db.raw_iterator_cf_opt(&self.family(key.family()), ReadOptions::default());
        raw.seek_for_prev(key.encode());
        raw.status()?;
        Ok(raw.key().map(<[u8]>::to_vec))
    }

    /// The first key of a family at or after `from`.
    pub(crate) fn key_from(&self, family: Family, from: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.cursor(family, from).entry()?.map(|(key, _)| key.to_vec()))
    }

    /// Number of the newest change RocksDB has taken.
    pub(crate) fn newest_change(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    /// How many flushes and compactions of RocksDB have failed.
    pub(crate) fn background_errors(&self) -> Result<u64, Error> {
        Ok(self.db.property_int_value("rocksdb.background-errors")?.unwrap_or(0))
    }

    /// Writes the manifest's buffered entries to a file, so that they do not depend on the log.
    pub(crate) fn flush_manifest(&self) -> Result<(), Error> {
        self.db.flush_cf(&self.family(Family::Manifest))?;
        Ok(())
    }

    /// A cursor on the first entry at or after `from`.
    pub(crate) fn cursor(&self, family: Family, from: &[u8]) -> Cursor<'_> {
        let mut cursor = self.unplaced_cursor(family);
        cursor.seek(from);
        cursor
    }

    /// A cursor that is to be moved before it is read.
    pub(crate) fn unplaced_cursor(&self, family: Family) -> Cursor<'_> {
        Cursor { raw: self.db.raw_iterator_cf_opt(&self.family(family), ReadOptions::default()) }
    }

    /// Gives back the space of trimmed log records that have reached table files, as they do when the
    /// log is long at a restart. Nothing covers them but the trim, so this writes next to nothing.
    pub(crate) fn drop_trimmed(&self, upto: &Key<'_>) -> Result<(), Error> {
        let wal = self.family(Family::Wal);
        let bytes = self.db.property_int_value_cf(&wal, "rocksdb.total-sst-files-size")?;
        if bytes.is_some_and(|bytes| bytes > TRIMMED_BYTES_MAX) {
            self.db.compact_range_cf(&wal, None::<&[u8]>, Some(upto.encode()));
        }
        Ok(())
    }

    /// Removes the table files of a family that hold nothing but keys from `from` up to `to`, which a
    /// range delete covers already: their space comes back now and not with some later compaction.
    pub(crate) fn drop_files(&self, from: &[u8], to: &Key<'_>) -> Result<(), Error> {
        let family = self.family(to.family());
        Ok(self.db.delete_file_in_range_cf(&family, from, to.encode().as_slice())?)
    }

    /// Writes a tenant's part of the index again without what was removed from it: until then every list
    /// of names or values has to step over each that is gone.
    pub(crate) fn compact_index(&self, tenant: crate::model::TenantId) {
        for (family, from, to) in key::ranges_of(tenant) {
            if matches!(family, Family::Posting | Family::Series) {
                self.db.compact_range_cf(&self.family(family), Some(from), Some(to));
            }
        }
    }

    /// Writes every family's buffered entries to files, so that RocksDB can drop its own log.
    pub(crate) fn flush_all(&self) -> Result<(), Error> {
        let handles: Vec<_> = Family::ALL.iter().map(|&family| self.family(family)).collect();
        let handles: Vec<_> = handles.iter().collect();
        fail_point::pass(Point::FlushBefore);
        self.db.flush_cfs_opt(&handles, &FlushOptions::default())?;
        fail_point::pass(Point::FlushAfter);
        Ok(())
    }
}

/// A place in a family.
pub(crate) struct Cursor<'a> {
    raw: DBRawIteratorWithThreadMode<'a, Db>,
}

/// Key and value.
pub(crate) type Entry<'a> = (&'a [u8], &'a [u8]);

impl Cursor<'_> {
    /// The entry here, if there is one.
    pub(crate) fn entry(&self) -> Result<Option<Entry<'_>>, Error> {
        match self.raw.item() {
            Some(entry) => Ok(Some(entry)),
            None => {
                self.raw.status()?;
                Ok(None)
            }
        }
    }

    pub(crate) fn next(&mut self) {
        self.raw.next();
    }

    pub(crate) fn previous(&mut self) {
        self.raw.prev();
    }

    /// Moves to the last entry at or before `key`.
    pub(crate) fn seek_back(&mut self, key: &[u8]) {
        self.raw.seek_for_prev(key);
    }

    /// Moves to the first entry at or after `key`.
    pub(crate) fn seek(&mut self, key: &[u8]) {
        self.raw.seek(key);
    }
}

fn open_options(sizes: &KvSizes) -> Result<(Options, Cache), Error> {
    let cache = Cache::new_lru_cache(sizes.cache_bytes);
    // A log file would be given the size of the log's write buffer, half a gigabyte, at once; and
    // what is replayed from the log would be written out again. These have no setters.
    let mut options = Options::default()
        .get_options_from_string("allow_fallocate=false;avoid_flush_during_recovery=true")?;
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_recycle_log_file_num(0);
    options.set_max_total_wal_size(sizes.live_log_bytes.saturating_mul(2));
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 << 20);
    options.set_max_open_files(256);
    options.set_bytes_per_sync(1 << 20);
    options.increase_parallelism(2);
    Ok((options, cache))
}

fn families<'a>(
    sizes: &'a KvSizes,
    cache: &'a Cache,
) -> impl Iterator<Item = ColumnFamilyDescriptor> + use<'a> {
    Family::ALL.into_iter().map(|family| {
        ColumnFamilyDescriptor::new(family.name(), family_options(family, sizes, cache))
    })
}

fn family_options(family: Family, sizes: &KvSizes, cache: &Cache) -> Options {
    let mut options = Options::default();
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    // The first in which every byte of a table, its footer too, stands under a checksum.
    table.set_format_version(6);
    options.set_compression_type(DBCompressionType::Lz4);
    match family {
        Family::Wal => {
            // Larger than the live log, so that a record is trimmed before it is ever written to a
            // table: otherwise everything is written twice.
            let buffer = usize::try_from(sizes.live_log_bytes).unwrap_or(usize::MAX);
            options.set_write_buffer_size(buffer.saturating_mul(2).saturating_add(64 << 20));
        }
        Family::Posting | Family::Activity => {
            options.set_write_buffer_size(16 << 20);
            options.set_merge_operator("moneta.ids", merge_stored, merge_operands);
        }
        Family::Series => {
            options.set_write_buffer_size(16 << 20);
            table.set_bloom_filter(10.0, false);
            // A new series is looked for before it is created, and is never there: without this each
            // look walks the skip list, a sixth of what creating it costs.
            options.set_memtable_prefix_bloom_ratio(0.1);
            options.set_memtable_whole_key_filtering(true);
        }
        Family::Record => {
            options.set_write_buffer_size(16 << 20);
            table.set_bloom_filter(10.0, false);
        }
        Family::Journal => {
            // Ids are looked up before every event is stored, and nearly all are new.
            options.set_write_buffer_size(32 << 20);
            table.set_bloom_filter(10.0, false);
        }
        Family::Meta | Family::Manifest => options.set_write_buffer_size(1 << 20),
    }
    options.set_block_based_table_factory(&table);
    options
}

fn merge_stored(_: &[u8], stored: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    id_set::union(stored.into_iter().chain(operands)).map(|ids| id_set::encode(&ids))
}

fn merge_operands(_: &[u8], _: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    id_set::union(operands).map(|ids| id_set::encode(&ids))
}

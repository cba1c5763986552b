//! From records to the fold of one side, and what there is to say of them on the way.

use super::hash::{Hasher, key_hash};
use super::position::{Finder, Reaches, Tails};
use crate::drift::DriftError;
use crate::drift::fold::{Fold, Said, Version, Writer};
use crate::drift::topic::Take;
use crate::wire::Record;

/// Records without a key that are listed.
const SAMPLES: usize = 10;

/// Folds one side.
pub struct FoldTake<'f> {
    writer: Writer<'f>,
    hasher: Hasher,
    /// Of the source: how far the copy has come.
    reaches: Option<&'f Reaches>,
    taken: Taken,
}

/// What one thread took, or all of them.
#[derive(Default)]
pub struct Taken {
    /// Of the copy: its last records.
    pub tails: Tails,
    /// Of the source: records that may not have arrived yet.
    pub open: u64,
    pub keyless: u64,
    /// Partition and offset of some of them.
    pub samples: Vec<(i32, i64)>,
}

impl<'f> FoldTake<'f> {
    pub fn new(fold: &'f Fold, hasher: Hasher, reaches: Option<&'f Reaches>) -> Self {
        Self { writer: fold.writer(), hasher, reaches, taken: Taken::default() }
    }

    /// Everything is in the fold then.
    pub fn end(takers: Vec<Self>) -> Result<Taken, DriftError> {
        let mut all = Taken::default();
        for taker in takers {
            taker.writer.end().map_err(DriftError::Disk)?;
            let taken = taker.taken;
            all.tails.add(taken.tails);
            all.open += taken.open;
            all.keyless += taken.keyless;
            all.samples.extend(taken.samples);
        }
        all.samples.truncate(SAMPLES);
        Ok(all)
    }
}

impl Take for FoldTake<'_> {
    fn take(&mut self, partition: i32, record: &Record<'_>) -> Result<(), DriftError> {
        let (offset, taken) = (record.offset, &mut self.taken);
        let item = self.hasher.item(record);
        let is_open = match self.reaches {
            Some(reaches) => reaches.of(partition).is_open(offset, record.timestamp),
            None => {
                taken.tails.push(partition, item);
                false
            }
        };
        taken.open += u64::from(is_open);
        let Some(key) = record.key else {
            taken.keyless += 1;
            if taken.samples.len() < SAMPLES {
                taken.samples.push((partition, offset));
            }
            return Ok(());
        };
        let said = if record.value.is_some() { Said::Row(item.hash) } else { Said::Deleted };
        let version = Version { key: key_hash(partition, key), partition, offset, said, is_open };
        self.writer.push(&version).map_err(DriftError::Disk)
    }
}

/// Looks for the copy's last records in the source.
pub struct FindTake {
    pub finder: Finder,
    pub hasher: Hasher,
}

impl Take for FindTake {
    fn take(&mut self, partition: i32, record: &Record<'_>) -> Result<(), DriftError> {
        self.finder.look(partition, &self.hasher.item(record));
        Ok(())
    }
}

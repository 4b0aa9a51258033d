//! Capture files instead of a kernel: tells the core the same, in the same order.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use super::feed::Feed;
use super::{Finished, PipelineError};
use crate::correlate::Correlator;
use crate::event::record::{self, ReadError, Reader};
use crate::event::{Event, Record};
use crate::k8s::Snapshot;
use crate::sink::{Printer, Sink, Summary};

/// Tells the core what the files hold. Records of several files are merged by wall-clock time; those of one file keep
/// their order. `snapshot` takes the place of the files' own.
///
/// # Errors
/// Where a file can't be read or isn't a capture, or the output can't be written.
pub fn replay<S: Sink>(
    files: &[PathBuf],
    snapshot: Option<Snapshot>,
    events: bool,
    sink: S,
) -> Result<Finished, PipelineError> {
    let mut sources = files.iter().map(|path| Source::open(path)).collect::<Result<Vec<_>, _>>()?;
    // The first file's options stand for all: a capture of one node is the usual case.
    let Some(mut options) = sources.first().map(|source| source.reader.header.options.clone()) else {
        return Ok(Finished::default());
    };
    for source in sources.iter().skip(1) {
        let other = &source.reader.header.options;
        let new: Vec<_> = other.notes.iter().filter(|note| !options.notes.contains(note)).cloned().collect();
        options.notes.extend(new);
    }
    let offset = options.wall_offset_ns;
    let replaced = snapshot.is_some();
    let snapshot = snapshot.unwrap_or_else(|| {
        let snapshots: Vec<_> = sources.iter_mut().map(|source| std::mem::take(&mut source.reader.snapshot)).collect();
        // Indexing anew is not needed for one.
        <[Snapshot; 1]>::try_from(snapshots).map_or_else(Snapshot::merge, |[only]| only)
    });
    let printer = Printer::new(sink, events, offset);
    let mut feed = Feed::new(Correlator::new(options, snapshot), printer, None);
    while let Some(record) = earliest(&mut sources, offset)? {
        // The changes are those of the state that was replaced.
        if replaced && matches!(record.event, Event::Cluster { .. } | Event::Watch { .. }) {
            continue;
        }
        feed.push(record)?;
        // The answers are in the file; unasked questions would pile up.
        let _answered = feed.correlator.wants();
    }
    feed.finish()?;
    feed.conclude(Summary::default())
}

/// A file and its next record.
struct Source {
    reader: Reader<BufReader<File>>,
    next: Option<Record>,
}

impl Source {
    fn open(path: &std::path::Path) -> Result<Self, ReadError> {
        let mut source = Self { reader: record::open(path)?, next: None };
        source.advance()?;
        Ok(source)
    }

    fn advance(&mut self) -> Result<Option<Record>, ReadError> {
        let next = self.reader.next().transpose()?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    fn wall_ns(&self) -> Option<i64> {
        self.next.as_ref().map(|record| record.at as i64 + self.reader.header.wall_offset_ns)
    }
}

/// The next record of all files, in the first file's time.
fn earliest(sources: &mut [Source], offset: i64) -> Result<Option<Record>, ReadError> {
    let first = sources.iter_mut().filter(|source| source.next.is_some()).min_by_key(|source| source.wall_ns());
    let Some(source) = first else { return Ok(None) };
    let shift = source.reader.header.wall_offset_ns - offset;
    let Some(record) = source.advance()? else { return Ok(None) };
    Ok(Some(Record { at: record.at.saturating_add_signed(shift), ..record }))
}

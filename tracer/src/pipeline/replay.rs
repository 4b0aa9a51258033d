//! Capture files instead of a kernel: tells the core the same, in the same order.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use super::feed::Feed;
use super::{Finished, PipelineError, align};
use crate::correlate::{Correlator, MOST_NODES, Node};
use crate::event::record::{self, ReadError, Reader};
use crate::event::{Event, Record};
use crate::k8s::Snapshot;
use crate::sink::{Printer, Sink, Summary};

/// Tells the core what the files hold, each file as a node of its own. Records of several files are merged by time, after
/// their clocks have been compared; those of one file keep their order. `snapshot` takes the place of the files' own.
///
/// # Errors
/// Where a file can't be read or isn't a capture, or the output can't be written.
pub fn replay<S: Sink>(
    files: &[PathBuf],
    snapshot: Option<Snapshot>,
    events: bool,
    sink: S,
) -> Result<Finished, PipelineError> {
    if files.len() > MOST_NODES {
        return Err(PipelineError::TooManyFiles(files.len()));
    }
    let mut sources = files.iter().map(|path| Source::open(path)).collect::<Result<Vec<_>, _>>()?;
    let Some(offset) = sources.first().map(|source| source.reader.header.wall_offset_ns) else {
        return Ok(Finished::default());
    };
    let corrections = if files.len() > 1 { align::corrections(files)? } else { vec![0] };
    for (source, correction) in sources.iter_mut().zip(corrections) {
        source.shift = source.reader.header.wall_offset_ns - offset + correction;
    }
    let replaced = snapshot.is_some();
    let snapshot = snapshot.unwrap_or_else(|| {
        let snapshots: Vec<_> = sources.iter_mut().map(|source| std::mem::take(&mut source.reader.snapshot)).collect();
        // Indexing anew is not needed for one.
        <[Snapshot; 1]>::try_from(snapshots).map_or_else(Snapshot::merge, |[only]| only)
    });
    let node = |source: &Source| Node { options: source.reader.header.options.clone(), shift_ns: source.shift };
    let nodes = sources.iter().map(node).collect();
    let printer = Printer::new(sink, events, offset);
    let mut feed = Feed::new(Correlator::of_nodes(nodes, snapshot), printer, None);
    while let Some((node, record)) = earliest(&mut sources)? {
        // The changes are those of the state that was replaced.
        if replaced && matches!(record.event, Event::Cluster { .. } | Event::Watch { .. }) {
            continue;
        }
        feed.push_of(node, record)?;
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
    /// Added to its times for the first file's.
    shift: i64,
}

impl Source {
    fn open(path: &std::path::Path) -> Result<Self, ReadError> {
        let mut source = Self { reader: record::open(path)?, next: None, shift: 0 };
        source.advance()?;
        Ok(source)
    }

    fn advance(&mut self) -> Result<Option<Record>, ReadError> {
        let next = self.reader.next().transpose()?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    fn at(&self) -> Option<i64> {
        self.next.as_ref().map(|record| (record.at as i64).saturating_add(self.shift))
    }
}

/// The next record of all files, in the first file's time, and whose it is.
fn earliest(sources: &mut [Source]) -> Result<Option<(usize, Record)>, ReadError> {
    let waiting = sources.iter_mut().enumerate().filter(|(_, source)| source.next.is_some());
    let Some((node, source)) = waiting.min_by_key(|(_, source)| source.at()) else { return Ok(None) };
    let Some(record) = source.advance()? else { return Ok(None) };
    Ok(Some((node, Record { at: record.at.saturating_add_signed(source.shift), ..record })))
}

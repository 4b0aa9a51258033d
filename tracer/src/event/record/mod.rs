//! The capture file: what the core was told, so that a replay sees what the live run saw.
//!
//! Lines of JSON. The first is a [`Header`], the second the cluster's objects, each further one a [`Record`], in the order
//! in which the core took them. Equal input gives equal bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Record;
use crate::correlate::Options;
use crate::k8s::snapshot::Snapshot;

/// Names the format in its first line.
pub const FORMAT: &str = "tracer-capture";
/// Changes whenever a line that was valid before isn't any more, or means something else.
pub const SCHEMA: u32 = 1;

/// Where a capture comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of the tool that wrote it.
    pub tool: String,
    /// Added to a record's time for nanoseconds since the Unix epoch.
    pub wall_offset_ns: i64,
    pub node: Option<String>,
    /// As `uname -r` gives it.
    pub kernel: String,
    pub options: Options,
}

impl Header {
    /// Of a capture that begins now, by this version.
    pub fn new(options: Options, kernel: String) -> Self {
        Self {
            format: FORMAT.to_owned(),
            schema: SCHEMA,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            wall_offset_ns: options.wall_offset_ns,
            node: options.node.clone(),
            kernel,
            options,
        }
    }
}

/// Only what every version of the format has.
#[derive(Deserialize)]
struct Preamble {
    format: String,
    schema: u32,
}

/// Why a capture can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read `{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("`{}` is no capture: its first line should be a {FORMAT} header; record one with `tracer capture --write FILE`", path.display())]
    NotCapture { path: PathBuf },
    #[error(
        "`{}` has version {found} of the capture format and this tool reads version {SCHEMA}; use the version of the tool \
         that recorded it",
        path.display()
    )]
    Version { path: PathBuf, found: u32 },
    #[error("`{}` ends before its {missing}: the recording was interrupted at once", path.display())]
    Incomplete { path: PathBuf, missing: &'static str },
    #[error("`{}`, line {line}: {message}", path.display())]
    Line { path: PathBuf, line: u64, message: String },
}

/// Writes a capture. Buffered: what wasn't [flushed](Self::flush) or [finished](Self::finish) may be missing.
#[derive(Debug)]
pub struct Writer<W: Write> {
    inner: BufWriter<W>,
}

impl<W: Write> Writer<W> {
    /// Begins a capture with its first two lines.
    ///
    /// # Errors
    /// As every method here: where the file can't be written.
    pub fn new(inner: W, header: &Header, snapshot: &Snapshot) -> io::Result<Self> {
        let mut writer = Self { inner: BufWriter::with_capacity(1 << 16, inner) };
        writer.line(header)?;
        writer.line(snapshot)?;
        Ok(writer)
    }

    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        self.line(record)
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }

    /// Flushes and gives the file back.
    pub fn finish(self) -> io::Result<W> {
        self.inner.into_inner().map_err(io::IntoInnerError::into_error)
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.inner, value)?;
        self.inner.write_all(b"\n")
    }
}

/// Reads a capture: its header and snapshot at once, its records one by one.
#[derive(Debug)]
pub struct Reader<R> {
    pub header: Header,
    pub snapshot: Snapshot,
    lines: Lines<R>,
    torn: u64,
}

/// Opens a capture file.
///
/// # Errors
/// Where it can't be read or isn't a capture of this version.
pub fn open(path: &Path) -> Result<Reader<BufReader<File>>, ReadError> {
    let file = File::open(path).map_err(|source| ReadError::Io { path: path.into(), source })?;
    Reader::new(path, BufReader::with_capacity(1 << 16, file))
}

impl<R: BufRead> Reader<R> {
    /// Reads from anything; `name` stands for the file in errors.
    ///
    /// # Errors
    /// As [`open`].
    pub fn new(name: &Path, reader: R) -> Result<Self, ReadError> {
        let mut lines = Lines { path: name.into(), reader, number: 0, buffer: Vec::new() };
        if !lines.advance()? {
            return Err(ReadError::NotCapture { path: lines.path });
        }
        match serde_json::from_slice::<Preamble>(&lines.buffer) {
            Ok(preamble) if preamble.format != FORMAT => return Err(ReadError::NotCapture { path: lines.path }),
            Ok(Preamble { schema: SCHEMA, .. }) => {}
            Ok(Preamble { schema: found, .. }) => return Err(ReadError::Version { path: lines.path, found }),
            Err(_) => return Err(ReadError::NotCapture { path: lines.path }),
        }
        let header = lines.parse()?;
        if !lines.advance()? {
            return Err(ReadError::Incomplete { path: lines.path, missing: "cluster snapshot" });
        }
        if !lines.ended() && serde_json::from_slice::<serde::de::IgnoredAny>(&lines.buffer).is_err() {
            return Err(ReadError::Incomplete { path: lines.path, missing: "cluster snapshot's end" });
        }
        let snapshot = lines.parse()?;
        Ok(Self { header, snapshot, lines, torn: 0 })
    }

    /// Records that couldn't be read because the recording was interrupted while writing them: the last one at most.
    pub fn torn(&self) -> u64 {
        self.torn
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.lines.advance() {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(Err(error)),
        }
        match self.lines.parse() {
            Err(_) if !self.lines.ended() => {
                self.torn += 1;
                None
            }
            parsed => Some(parsed),
        }
    }
}

/// The line being read.
#[derive(Debug)]
struct Lines<R> {
    path: PathBuf,
    reader: R,
    number: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Reads the next line; false at the end.
    fn advance(&mut self) -> Result<bool, ReadError> {
        self.buffer.clear();
        self.number += 1;
        match self.reader.read_until(b'\n', &mut self.buffer) {
            Ok(read) => Ok(read > 0),
            Err(source) => Err(ReadError::Io { path: self.path.clone(), source }),
        }
    }

    /// Whether the line has its end: without, the writer was interrupted.
    fn ended(&self) -> bool {
        self.buffer.ends_with(b"\n")
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, ReadError> {
        let mut deserializer = serde_json::Deserializer::from_slice(&self.buffer);
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let at = error.path().to_string();
            // Every document here is one line, so the parser's own line number would mislead.
            let inner = error.into_inner();
            let text = inner.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            let place = if at == "." { String::new() } else { format!("{at}: ") };
            let message = format!("{place}{text} (column {})", inner.column());
            ReadError::Line { path: self.path.clone(), line: self.number, message }
        })
    }
}

#[cfg(test)]
mod tests;

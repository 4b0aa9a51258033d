//! Incidents on disk: one line for each change, `LENGTH CRC32 JSON`, appended; the last line of an id wins.
//!
//! A line that a crash cut, or anything else that doesn't match its length and checksum, is skipped and counted; what
//! stands after it is read. When the file has grown to its limit it is written anew with the newest incidents that fit in
//! half of it, beside the old one, and takes its place at once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::private;
use crate::verdict::Incident;

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
    /// The last write failed, and may have left a part of a record.
    cut: bool,
}

/// What an earlier process wrote.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// By id, in the order of their last change.
    pub(super) incidents: Vec<Incident>,
    /// Lines that couldn't be read.
    pub(super) torn: u64,
}

/// Which part failed, on which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the journal `{}`: {source}", path.display())]
pub(super) struct JournalError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Journal {
    /// Opens it, or makes it, and reads what it holds.
    ///
    /// # Errors
    /// Where the file can't be read or written.
    pub(super) fn open(path: &Path, max_bytes: u64) -> Result<(Self, Replayed), JournalError> {
        let error = |action| move |source| JournalError { action, path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(error("make the directory of"))?;
        }
        let mut file = private::options().append(true).read(true).open(path).map_err(error("open"))?;
        let length = file.metadata().map_err(error("read"))?.len();
        // The newest of it, however large another setting let it grow.
        let bytes = tail(&mut file, length.saturating_sub(max_bytes.saturating_mul(2))).map_err(error("read"))?;
        let cut = !bytes.is_empty() && !bytes.ends_with(b"\n");
        Ok((Self { path: path.to_owned(), file, bytes: length, max_bytes, cut }, replay(&bytes)))
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether so many changes make it too large: then [`Self::rewrite`] it in place of appending.
    pub(super) fn is_full(&self, changes: &[Incident]) -> bool {
        self.bytes + lines(changes).len() as u64 > self.max_bytes
    }

    /// Appends changes and waits until they are on disk.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub(super) fn append(&mut self, changes: &[Incident]) -> Result<(), JournalError> {
        let mut lines = lines(changes);
        if self.cut {
            // What comes next begins a line of its own.
            lines.insert(0, b'\n');
        }
        let written = self.file.write_all(&lines).and_then(|()| self.file.sync_data());
        self.cut = written.is_err();
        self.bytes = self.file.metadata().map_or(self.bytes, |metadata| metadata.len());
        written.map_err(|source| self.error("write", source))
    }

    /// Writes it anew: of these, newest first, as many as fit in half of it.
    ///
    /// # Errors
    /// Where the new file can't be written; the old one stays.
    pub(super) fn rewrite<'a>(&mut self, newest_first: impl Iterator<Item = &'a Incident>) -> Result<(), JournalError> {
        let mut kept = Vec::new();
        let mut room = self.max_bytes / 2;
        for incident in newest_first {
            let line = line(incident);
            let Some(left) = room.checked_sub(line.len() as u64) else { break };
            room = left;
            kept.push(line);
        }
        kept.reverse();
        let bytes = kept.concat();
        let beside = self.path.with_extension("new");
        let write = || {
            let mut file = private::options().write(true).truncate(true).open(&beside)?;
            file.write_all(&bytes)?;
            file.sync_data()?;
            fs::rename(&beside, &self.path)?;
            OpenOptions::new().append(true).open(&self.path)
        };
        self.file = write().map_err(|source| self.error("rewrite", source))?;
        (self.bytes, self.cut) = (bytes.len() as u64, false);
        Ok(())
    }

    fn error(&self, action: &'static str, source: io::Error) -> JournalError {
        JournalError { action, path: self.path.clone(), source }
    }
}

/// What follows the first record that begins at that place or later.
fn tail(file: &mut File, from: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // The byte before ends a record if one begins there.
    file.seek(SeekFrom::Start(from.saturating_sub(1)))?;
    file.read_to_end(&mut bytes)?;
    if from > 0 {
        let begin = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
        bytes.drain(..begin);
    }
    Ok(bytes)
}

fn lines(incidents: &[Incident]) -> Vec<u8> {
    incidents.iter().flat_map(line).collect()
}

fn line(incident: &Incident) -> Vec<u8> {
    // An incident is numbers and text: it can always be written.
    let json = serde_json::to_string(incident).unwrap_or_default();
    format!("{} {:08x} {json}\n", json.len(), crc32fast::hash(json.as_bytes())).into_bytes()
}

fn replay(bytes: &[u8]) -> Replayed {
    let mut incidents: IndexMap<String, Incident> = IndexMap::new();
    let mut torn = 0;
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match parse(line) {
            Some(incident) => {
                incidents.shift_remove(&incident.id);
                incidents.insert(incident.id.clone(), incident);
            }
            None => torn += 1,
        }
    }
    Replayed { incidents: incidents.into_values().collect(), torn }
}

fn parse(line: &[u8]) -> Option<Incident> {
    let mut parts = std::str::from_utf8(line).ok()?.splitn(3, ' ');
    let length: usize = parts.next()?.parse().ok()?;
    let checksum = u32::from_str_radix(parts.next()?, 16).ok()?;
    let json = parts.next()?;
    (json.len() == length && crc32fast::hash(json.as_bytes()) == checksum).then_some(())?;
    serde_json::from_str(json).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::agent::store::incident;

    const T: &str = "2026-03-01T14:00:01.000Z";

    fn counts(replayed: &Replayed) -> Vec<(&str, u64)> {
        replayed.incidents.iter().map(|incident| (incident.id.as_str(), incident.count)).collect()
    }

    #[test]
    fn the_last_line_of_an_id_wins_and_a_torn_record_costs_itself_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/journal");
        let (mut journal, replayed) = Journal::open(&path, 1 << 20).unwrap();
        assert_eq!((replayed.incidents.len(), replayed.torn), (0, 0));
        journal.append(&[incident("a", 1, T), incident("b", 1, T)]).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        journal.rewrite([incident("b", 1, T), incident("a", 1, T)].iter()).unwrap();
        assert_eq!(mode(), 0o600);
        journal.append(&[incident("a", 5, T)]).unwrap();
        drop(journal);
        // Every place where a crash may cut the last record.
        let whole = fs::read(&path).unwrap();
        let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for cut in last..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, replayed) = Journal::open(&path, 1 << 20).unwrap();
            let expected = if cut == whole.len() - 1 { [("b", 1), ("a", 5)] } else { [("a", 1), ("b", 1)] };
            assert_eq!(counts(&replayed), expected, "cut at {cut}");
            assert_eq!(replayed.torn, u64::from(cut > last && cut < whole.len() - 1), "cut at {cut}");
            journal.append(&[incident("c", 2, T)]).unwrap();
            let (_, after) = Journal::open(&path, 1 << 20).unwrap();
            assert_eq!(counts(&after).last(), Some(&("c", 2)), "cut at {cut}");
        }
        // A changed byte in the middle.
        let mut spoiled = whole.clone();
        spoiled[last / 4] ^= 1;
        fs::write(&path, &spoiled).unwrap();
        let (_, replayed) = Journal::open(&path, 1 << 20).unwrap();
        assert_eq!((counts(&replayed), replayed.torn), (vec![("b", 1), ("a", 5)], 1));
    }

    #[test]
    fn its_size_has_a_limit_and_the_newest_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let limit = 65_536;
        let (mut journal, _) = Journal::open(&path, limit).unwrap();
        let all: Vec<Incident> = (0..1000).map(|n| incident(&format!("i{n}"), n, T)).collect();
        for (index, change) in all.iter().enumerate() {
            let change = std::slice::from_ref(change);
            if journal.is_full(change) {
                journal.rewrite(all[..=index].iter().rev()).unwrap();
            } else {
                journal.append(change).unwrap();
            }
            assert!(fs::metadata(&path).unwrap().len() <= limit);
            assert_eq!(fs::metadata(&path).unwrap().len(), journal.bytes());
        }
        let (_, replayed) = Journal::open(&path, limit).unwrap();
        assert_eq!(counts(&replayed).last(), Some(&("i999", 999)));
        assert_eq!(replayed.torn, 0);
    }

    #[test]
    fn of_one_that_is_larger_than_the_limit_the_newest_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let (mut journal, _) = Journal::open(&path, 1 << 20).unwrap();
        let all: Vec<Incident> = (0..100).map(|n| incident(&format!("i{n:02}"), 100 + n, T)).collect();
        journal.append(&all).unwrap();
        let record = journal.bytes() / 100;
        // Wherever in a record the limit falls, also between two.
        for less in 0..record / 2 {
            let (_, replayed) = Journal::open(&path, 5 * record - less).unwrap();
            assert_eq!(counts(&replayed).last(), Some(&("i99", 199)));
            assert_eq!((replayed.torn, replayed.incidents.len()), (0, if less == 0 { 10 } else { 9 }), "{less}");
        }
    }

    #[test]
    fn what_follows_a_failed_write_is_a_record_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let (mut journal, _) = Journal::open(&path, 1 << 20).unwrap();
        journal.append(&[incident("a", 1, T)]).unwrap();
        // A full volume takes a part.
        let writable = std::mem::replace(&mut journal.file, File::open(&path).unwrap());
        (&writable).write_all(&line(&incident("b", 1, T))[..20]).unwrap();
        journal.append(&[incident("b", 1, T)]).unwrap_err();
        journal.file = writable;
        journal.append(&[incident("b", 1, T)]).unwrap();
        assert_eq!(journal.bytes(), fs::metadata(&path).unwrap().len());
        let (_, replayed) = Journal::open(&path, 1 << 20).unwrap();
        assert_eq!((counts(&replayed), replayed.torn), (vec![("a", 1), ("b", 1)], 1));
    }
}

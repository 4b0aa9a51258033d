//! Loads `kubectl get … -o yaml|json` dumps: files or directories, JSON or YAML, one object or a list or many documents.
//!
//! A dump is somebody's evidence, so nothing is dropped in silence: a broken document or a field of the wrong shape is an
//! error that says where, and kinds the tracer doesn't read are counted. Items of a list are decoded one at a time, so
//! that a large dump costs the memory of what is kept of it, not of its text.

mod document;
mod files;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use document::Document;

use super::model::{ObjectError, Objects};

/// What one or several dumps hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dump {
    pub objects: Objects,
    /// How many objects of kinds the tracer doesn't read were passed over, by kind.
    pub skipped: BTreeMap<String, usize>,
}

#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    #[error("cannot read `{}`: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{}` holds no *.yaml, *.yml or *.json file; save one with `kubectl get … -o yaml`", path.display())]
    EmptyDirectory { path: PathBuf },
    #[error("`{}`: document {document}: not valid {format}: {message}", path.display())]
    Syntax { path: PathBuf, document: usize, format: &'static str, message: String },
    #[error("`{}`: document {document}: {}{error}", path.display(), item.map(|i| format!("items[{i}]: ")).unwrap_or_default())]
    Object {
        path: PathBuf,
        document: usize,
        /// The position in the document's list, from 0 as in the field path.
        item: Option<usize>,
        error: ObjectError,
    },
}

/// Loads every path in order, directories recursively and by name. Later objects replace earlier ones of the same name.
///
/// # Errors
/// The first file, document or field that can't be understood. Documents count from 1; those without content don't.
pub fn load<P: AsRef<Path>>(paths: &[P]) -> Result<Dump, DumpError> {
    let mut dump = Dump::default();
    for path in paths {
        for file in files::expand(path.as_ref())? {
            let reader = File::open(&file).map_err(|source| DumpError::Read { path: file.clone(), source })?;
            read(&file, BufReader::with_capacity(1 << 16, reader), &mut dump)?;
        }
    }
    Ok(dump)
}

/// Loads one dump from memory; `name` stands for the file in errors.
///
/// # Errors
/// As [`load`].
pub fn parse(name: &str, bytes: &[u8]) -> Result<Dump, DumpError> {
    let mut dump = Dump::default();
    read(Path::new(name), bytes, &mut dump)?;
    Ok(dump)
}

fn read(path: &Path, mut reader: impl BufRead, dump: &mut Dump) -> Result<(), DumpError> {
    let failed = |source| DumpError::Read { path: path.to_owned(), source };
    // Leading blanks decide nothing.
    let is_json = loop {
        let buffer = reader.fill_buf().map_err(failed)?;
        let blank = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        match &buffer[blank..] {
            // YAML has mappings in braces, too, but rarely with their first key quoted.
            [b'{', rest @ ..] => {
                let next = rest.iter().find(|byte| !byte.is_ascii_whitespace());
                break matches!(next, None | Some(b'"' | b'}'));
            }
            [_, ..] => break false,
            [] if blank == 0 => return Ok(()),
            [] => reader.consume(blank),
        }
    };
    if is_json { read_json(path, reader, dump) } else { read_yaml(path, reader, dump) }
}

fn read_json(path: &Path, reader: impl Read, dump: &mut Dump) -> Result<(), DumpError> {
    let documents = serde_json::Deserializer::from_reader(reader).into_iter::<Document>();
    for (document, parsed) in (1..).zip(documents) {
        let parsed = parsed.map_err(|error| {
            if error.is_io() {
                return DumpError::Read { path: path.to_owned(), source: error.into() };
            }
            DumpError::Syntax { path: path.to_owned(), document, format: "JSON", message: error.to_string() }
        })?;
        add(path, document, parsed, dump)?;
    }
    Ok(())
}

fn read_yaml(path: &Path, mut reader: impl Read, dump: &mut Dump) -> Result<(), DumpError> {
    // A dump of a large cluster is millions of nodes, so only what protects the stack is limited. Aliases keep their
    // own limits against expansion bombs.
    let options = serde_saphyr::options! {
        with_snippet: false,
        // The API writes YAML 1.1 and quotes what that would misread; nothing unquoted but true and false is a boolean,
        // and no name or label is a number for having zeros in front or underscores inside.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::AsString,
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: None,
            max_events: usize::MAX,
            max_documents: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
            max_depth: 128,
        },
    };
    let documents = serde_saphyr::read_with_options::<_, Document>(&mut reader, options);
    for (document, parsed) in (1..).zip(documents) {
        let parsed = parsed.map_err(|error| DumpError::Syntax {
            path: path.to_owned(),
            document,
            format: "YAML",
            message: error.to_string(),
        })?;
        add(path, document, parsed, dump)?;
    }
    Ok(())
}

fn add(path: &Path, document: usize, parsed: Document, dump: &mut Dump) -> Result<(), DumpError> {
    let Document { objects, skipped, error } = parsed;
    if let Some((item, error)) = error {
        return Err(DumpError::Object { path: path.to_owned(), document, item, error });
    }
    dump.objects.append(objects);
    for (kind, count) in skipped {
        *dump.skipped.entry(kind).or_default() += count;
    }
    Ok(())
}

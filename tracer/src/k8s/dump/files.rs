//! Which files a path given by the user stands for.

use std::path::{Path, PathBuf};

use super::DumpError;

/// A file stands for itself whatever its name; a directory for the dumps below it, in the order of their paths.
pub(super) fn expand(path: &Path) -> Result<Vec<PathBuf>, DumpError> {
    let failed = |source| DumpError::Read { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    collect(path, &mut files)?;
    if files.is_empty() {
        return Err(DumpError::EmptyDirectory { path: path.to_owned() });
    }
    files.sort();
    Ok(files)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), DumpError> {
    let failed = |source| DumpError::Read { path: directory.to_owned(), source };
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        // A linked directory is not entered: it may lead back up. Mounted ConfigMaps link their files, which is fine.
        if entry.file_type().map_err(failed)?.is_dir() {
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                collect(&path, files)?;
            }
        } else if is_dump(&path) && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn is_dump(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
}

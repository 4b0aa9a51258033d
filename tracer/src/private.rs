//! Files that hold what was seen of the traffic: their owner alone may read them.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

/// Opens such a file, or makes it.
pub(crate) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    options
}

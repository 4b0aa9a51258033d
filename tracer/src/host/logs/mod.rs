//! Container logs below `/var/log/pods/NAMESPACE_NAME_UID/CONTAINER/`, as the container runtime writes and the kubelet
//! rotates them: `N.log` of the N-th start, `N.log.20060102-150405` and, older, with `.gz`
//! (kubernetes/pkg/kubelet/logs/container_log_manager.go).

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::RangeInclusive;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::HostRoot;
use super::pod_logs::directories;

mod cri;
mod entries;

pub use cri::Line;
pub use entries::{Entry, group};

/// Files of a container looked at: the newest, and those that it was rotated from meanwhile.
const FILES: usize = 4;
/// Read of a file's end.
const TAIL: u64 = 1 << 20;
/// Read of a compressed file, decompressed.
const UNPACKED: u64 = 16 << 20;
/// Containers of a pod.
const CONTAINERS: usize = 16;

/// Lines of a pod's containers (of one where it is named) within an interval of nanoseconds since the Unix epoch, in order.
pub fn read(root: &HostRoot, uid: &str, container: Option<&str>, at: RangeInclusive<i64>) -> Vec<(String, Vec<Line>)> {
    let pods = root.path("/var/log/pods");
    let is_pod = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.rsplit_once('_'))
            .is_some_and(|p| p.1 == uid)
    };
    let Some(pod) = directories(&pods).find(is_pod) else { return Vec::new() };
    let mut found: Vec<(String, Vec<Line>)> = directories(&pod)
        .filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path)))
        .filter(|(name, _)| container.is_none_or(|wanted| wanted == name))
        .take(CONTAINERS)
        .map(|(name, path)| (name, of_container(&path, &at)))
        .filter(|(_, lines)| !lines.is_empty())
        .collect();
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

fn of_container(directory: &Path, at: &RangeInclusive<i64>) -> Vec<Line> {
    let mut files: Vec<(i64, PathBuf)> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_log))
        .filter_map(|entry| Some((entry.metadata().ok()?, entry.path())))
        .map(|(meta, path)| (meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec()), path))
        // What was last written before holds nothing of the interval; compression keeps that time or is later.
        .filter(|(written, _)| *written >= *at.start())
        .collect();
    files.sort_unstable_by(|a, b| b.cmp(a));
    let mut lines: Vec<Line> =
        files.iter().take(FILES).filter_map(|(_, path)| of_file(path, at).ok()).flatten().collect();
    // Stable: lines of one file keep their order.
    lines.sort_by_key(|line| line.at);
    lines
}

/// `0.log`, `0.log.20060102-150405`, `0.log.20060102-150405.gz`; not the kubelet's `.tmp`.
fn is_log(name: &str) -> bool {
    let Some((number, rest)) = name.split_once(".log") else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let stamp = rest.strip_suffix(".gz").unwrap_or(rest);
    let rotated = stamp
        .strip_prefix('.')
        .and_then(|s| s.split_once('-'))
        .is_some_and(|(date, time)| digits(date) && digits(time));
    digits(number) && (rest.is_empty() || rotated)
}

fn of_file(path: &Path, at: &RangeInclusive<i64>) -> io::Result<Vec<Line>> {
    // A pod with a volume on /var/log could put a link or a pipe here.
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok(Vec::new());
    }
    if path.extension().is_some_and(|extension| extension == "gz") {
        return Ok(within(BufReader::new(MultiGzDecoder::new(file).take(UNPACKED)), at));
    }
    tail(&mut file, meta.len(), at)
}

/// The end of a file, from a whole line on.
fn tail(file: &mut File, length: u64, at: &RangeInclusive<i64>) -> io::Result<Vec<Line>> {
    let from = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut reader = BufReader::new(file.take(TAIL));
    if from > 0 {
        reader.skip_until(b'\n')?;
    }
    Ok(within(reader, at))
}

fn within(mut reader: impl BufRead, at: &RangeInclusive<i64>) -> Vec<Line> {
    let mut lines = cri::Lines::default();
    let mut bytes = Vec::new();
    // A line that is being written has no end yet.
    while reader.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) && bytes.ends_with(b"\n") {
        lines.push(&bytes, at);
        bytes.clear();
    }
    lines.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const NS: i64 = 1_000_000_000;
    /// 2026-01-01T00:00:00Z
    const T0: i64 = 1_767_225_600 * NS;

    fn texts(found: &[(String, Vec<Line>)]) -> Vec<&str> {
        found.iter().flat_map(|(_, lines)| lines).map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn both_streams_rotated_and_compressed_files_of_one_container() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("var/log/pods/shop_cart_0a1b/app");
        std::fs::create_dir_all(directory.join("../sidecar")).unwrap();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"2026-01-01T00:00:01Z stdout F first\n2026-01-01T00:00:00Z stdout F too early\n").unwrap();
        std::fs::write(directory.join("0.log.20260101-000002.gz"), packed.finish().unwrap()).unwrap();
        std::fs::write(directory.join("0.log.20260101-000003"), "2026-01-01T00:00:02Z stderr F second\n").unwrap();
        let now = "2026-01-01T02:00:03+02:00 stdout P thi\n2026-01-01T00:00:03.5Z stderr F fourth\n\
                   2026-01-01T00:00:03.6Z stdout F rd\nnot a line of a runtime\n2026-01-01T00:00:04Z stdout F unfini";
        std::fs::write(directory.join("0.log"), now).unwrap();
        std::fs::write(directory.join("0.log.tmp"), "2026-01-01T00:00:02Z stderr F copy\n").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", directory.join("1.log")).unwrap();
        std::fs::write(directory.join("../sidecar/0.log"), "2026-01-01T00:00:02Z stdout F other\n").unwrap();
        let root = HostRoot::new(root.path());
        let read = |container| read(&root, "0a1b", container, T0 + NS..=T0 + 10 * NS);
        assert_eq!(texts(&read(Some("app"))), ["first", "second", "third", "fourth"]);
        assert_eq!(texts(&read(None)).last(), Some(&"other"));
        assert!(read(Some("none")).is_empty());
        assert!(super::read(&root, "b", None, T0..=T0 + 10 * NS).is_empty(), "an end of a UID is no UID");
    }

    #[test]
    fn the_end_of_a_long_file() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("var/log/pods/shop_cart_0a1b/app");
        std::fs::create_dir_all(&directory).unwrap();
        let mut text = "2026-01-01T00:00:01Z stdout F padding\n".repeat(40_000);
        text += "2026-01-01T00:00:02Z stdout F last\n";
        std::fs::write(directory.join("0.log"), text).unwrap();
        let found = read(&HostRoot::new(root.path()), "0a1b", None, T0 + 2 * NS..=T0 + 3 * NS);
        assert_eq!(texts(&found), ["last"]);
    }
}

//! The machine's CPUs.

use std::io;
use std::path::Path;

/// Those that it may have, and those that it has: virtual machines may be given many times as many as they have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cpus {
    /// Numbers of all that it may have, ascending; they needn't be contiguous. A per-CPU map holds one value for each, in
    /// this order.
    pub(super) possible: Vec<u32>,
    /// Bits that hold the number of each that runs: so many have lanes of their own.
    pub(super) bits: u32,
}

impl Cpus {
    pub(super) fn read() -> io::Result<Self> {
        Self::read_from(Path::new("/sys/devices/system/cpu"))
    }

    fn read_from(directory: &Path) -> io::Result<Self> {
        let list = |name| {
            let path = directory.join(name);
            let text = std::fs::read_to_string(&path)?;
            let holds = || io::Error::other(format!("{} holds {:?}", path.display(), text.trim()));
            parse(text.trim()).ok_or_else(holds)
        };
        Ok(Self { possible: list("possible")?, bits: bits(&list("online")?) })
    }
}

fn bits(cpus: &[u32]) -> u32 {
    let largest = cpus.iter().copied().max().unwrap_or(0);
    u32::BITS - largest.leading_zeros()
}

/// `0-3,8`
fn parse(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(parse("0-3,8").unwrap(), [0, 1, 2, 3, 8]);
        assert_eq!(parse("0").unwrap(), [0]);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn bits_hold_the_largest_number() {
        assert_eq!(bits(&[0]), 0);
        assert_eq!(bits(&[0, 1]), 1);
        assert_eq!(bits(&[0, 1, 2]), 2);
        assert_eq!(bits(&[0, 1, 2, 3, 4]), 3);
    }

    #[test]
    fn lanes_are_for_those_that_run() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("possible"), "0-127\n").unwrap();
        std::fs::write(directory.path().join("online"), "0-2,4\n").unwrap();
        let cpus = Cpus::read_from(directory.path()).unwrap();
        assert_eq!(cpus, Cpus { possible: (0..128).collect(), bits: 3 });
    }

    #[test]
    fn one_per_cpu_value() {
        assert_eq!(Cpus::read().unwrap().possible.len(), aya::util::nr_cpus().unwrap());
    }
}

//! The machine's possible CPUs: a per-CPU map holds one value for each, in this order.

use std::io;

/// Their numbers, ascending. They needn't be contiguous.
pub(super) fn possible() -> io::Result<Vec<u32>> {
    let path = "/sys/devices/system/cpu/possible";
    let text = std::fs::read_to_string(path)?;
    parse(text.trim()).ok_or_else(|| io::Error::other(format!("{path} holds {:?}", text.trim())))
}

/// Bits that hold every CPU's number.
pub(super) fn bits(cpus: &[u32]) -> u32 {
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
    fn one_per_cpu_value() {
        assert_eq!(possible().unwrap().len(), aya::util::nr_cpus().unwrap());
    }
}

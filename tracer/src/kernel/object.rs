//! The compiled programs: what must be known of the object before it is loaded.

use tracer_common::ABI_VERSION;

/// The programs that this binary was built with.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer.o"));

/// The object doesn't belong to this binary.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("the kernel programs are not an eBPF object for this machine: {reason}; rebuild the binary")]
    Malformed { reason: &'static str },
    #[error(
        "the kernel programs speak version {found} of the event format and this binary version {expected}; rebuild both \
         from the same sources"
    )]
    Version { found: u32, expected: u32 },
}

/// Refuses an object built for another ABI: its `CONFIG.abi_version` says which. Zero says nothing (then the sizes of
/// the maps' keys and values, checked after the load, must do).
pub(super) fn check(object: &[u8]) -> Result<(), ObjectError> {
    let found = initial_word(object, "CONFIG")?;
    if found == 0 || found == ABI_VERSION { Ok(()) } else { Err(ObjectError::Version { found, expected: ABI_VERSION }) }
}

/// First four bytes of a global's initial value (ELF64, tool interface standard 1.2; little or big as the machine).
fn initial_word(object: &[u8], name: &str) -> Result<u32, ObjectError> {
    const SYMTAB: u32 = 2;
    const NOBITS: u32 = 8;
    let broken = |reason| ObjectError::Malformed { reason };
    if !object.starts_with(b"\x7fELF\x02") {
        return Err(broken("no 64-bit ELF header"));
    }
    let truncated = || broken("it is truncated");
    let sections_at = u64_at(object, 40).ok_or_else(truncated)?;
    let section_count = u16_at(object, 60).ok_or_else(truncated)?;
    let section = |index: u16| object.get(sections_at.checked_add(usize::from(index) * 64)?..);
    for index in 0..section_count {
        let header = section(index).ok_or_else(truncated)?;
        if u32_at(header, 4) != Some(SYMTAB) {
            continue;
        }
        let symbols = contents(object, header).ok_or_else(truncated)?;
        let names =
            u32_at(header, 40).and_then(|link| section(link as u16)).and_then(|header| contents(object, header));
        let names = names.ok_or_else(truncated)?;
        for symbol in symbols.chunks_exact(24) {
            let named = u32_at(symbol, 0)
                .and_then(|at| names.get(at as usize..))
                .is_some_and(|rest| rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0)));
            if !named {
                continue;
            }
            let home = u16_at(symbol, 6).and_then(section).ok_or_else(truncated)?;
            if u32_at(home, 4) == Some(NOBITS) {
                return Ok(0);
            }
            let value = u64_at(symbol, 8).ok_or_else(truncated)?;
            return contents(object, home).and_then(|bytes| u32_at(bytes, value)).ok_or_else(truncated);
        }
    }
    Err(broken("it has no global CONFIG"))
}

fn contents<'a>(object: &'a [u8], header: &[u8]) -> Option<&'a [u8]> {
    let (at, size) = (u64_at(header, 24)?, u64_at(header, 32)?);
    object.get(at..at.checked_add(size)?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_ne_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused() {
        assert!(matches!(check(b""), Err(ObjectError::Malformed { .. })));
        assert!(matches!(check(b"\x7fELF\x02 and no more"), Err(ObjectError::Malformed { .. })));
        let mut huge = b"\x7fELF\x02".to_vec();
        huge.resize(64, 0xff);
        assert!(matches!(check(&huge), Err(ObjectError::Malformed { .. })));
    }
}

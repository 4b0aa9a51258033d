//! Kernel addresses to symbol names, from `/proc/kallsyms`.
//!
//! Read on the first question, and again when an address lies outside everything known (a module was loaded since). Reading takes
//! a good part of a second, and some addresses that have no symbol come with every drop: the first ones that stay unknown are
//! remembered; from then on each reading that doesn't help doubles the number of unknown addresses before the next. Only text
//! symbols are kept, in two compact tables.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::Path;

/// Addresses without a symbol that are remembered.
const STRANGERS: usize = 16;
/// Questions about others before the file is read again.
const FIRST_REFRESH: u32 = 1000;

/// Symbols end somewhere: an address further than this beyond a symbol's start isn't part of it.
const LARGEST_FUNCTION: u64 = 1 << 20;

/// The kernel's symbols, read lazily.
#[derive(Debug)]
pub struct Symbols {
    /// Held open: who may see addresses is decided when it is opened, and the capability for it is given up later.
    file: Option<File>,
    table: Option<Table>,
    strangers: Vec<u64>,
    misses: u32,
    refresh_after: u32,
}

#[derive(Debug, Default)]
struct Table {
    /// Sorted: address, and where its name begins in `names`.
    entries: Vec<(u64, u32)>,
    names: String,
}

impl Symbols {
    /// Of the running kernel.
    pub fn new() -> Self {
        Self::from_path(Path::new("/proc/kallsyms"))
    }

    /// Of a copy of the file.
    pub fn from_path(path: &Path) -> Self {
        Self {
            file: File::open(path).ok(),
            table: None,
            strangers: Vec::new(),
            misses: 0,
            refresh_after: FIRST_REFRESH,
        }
    }

    /// The function that an address lies in, without compiler suffixes; `None` if unknown, or if the kernel hides
    /// addresses (`kptr_restrict` without CAP_SYSLOG).
    pub fn name(&mut self, address: u64) -> Option<&str> {
        if address == 0 {
            return None;
        }
        match &self.table {
            None => self.table = Some(read(self.file.as_mut()).unwrap_or_default()),
            Some(table) if table.find(address).is_some() => {}
            Some(_) if self.strangers.contains(&address) => {}
            Some(_) if self.strangers.len() >= STRANGERS && self.misses < self.refresh_after => self.misses += 1,
            Some(_) => {
                let table = read(self.file.as_mut()).unwrap_or_default();
                if table.find(address).is_some() {
                    self.refresh_after = FIRST_REFRESH;
                } else if self.strangers.len() < STRANGERS {
                    self.strangers.push(address);
                } else {
                    self.refresh_after = self.refresh_after.saturating_mul(2);
                }
                self.misses = 0;
                self.table = Some(table);
            }
        }
        self.table.as_ref()?.find(address)
    }

    /// Whether addresses can be named at all. Looks at the beginning of the file only.
    pub fn readable(&self) -> bool {
        let Some(file) = &self.file else { return false };
        // Per-CPU variables come first, at small addresses; hidden ones are all zero.
        let lines = BufReader::new(file).lines().map_while(Result::ok).take(10_000);
        lines.into_iter().any(|line| line.starts_with("ffff"))
    }
}

impl Default for Symbols {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    fn find(&self, address: u64) -> Option<&str> {
        // The last symbol that begins at or before the address. A return address may be the first byte after the call,
        // but a call is never a function's last instruction for functions that return.
        let index = self.entries.partition_point(|(start, _)| *start <= address).checked_sub(1)?;
        let (start, name) = self.entries[index];
        if address - start >= LARGEST_FUNCTION {
            return None;
        }
        self.names[name as usize..].split('\n').next()
    }
}

fn read(file: Option<&mut File>) -> std::io::Result<Table> {
    let Some(file) = file else { return Ok(Table::default()) };
    file.rewind()?;
    parse(BufReader::new(file))
}

/// Lines are `ffffffff81000000 T _text [module]`.
fn parse(mut lines: impl BufRead) -> std::io::Result<Table> {
    let mut table = Table::default();
    let mut line = String::new();
    while {
        line.clear();
        lines.read_line(&mut line)? > 0
    } {
        let mut words = line.split_ascii_whitespace();
        let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) else { continue };
        if !matches!(kind, "t" | "T" | "w" | "W") {
            continue;
        }
        match u64::from_str_radix(address, 16) {
            // Hidden addresses are all zero.
            Ok(0) | Err(_) => {}
            Ok(address) => {
                table.entries.push((address, table.names.len() as u32));
                table.names.push_str(strip_suffixes(name));
                table.names.push('\n');
            }
        }
    }
    table.entries.sort_unstable();
    table.entries.shrink_to_fit();
    table.names.shrink_to_fit();
    Ok(table)
}

/// Compilers split and clone functions: `tcp_v4_rcv.constprop.0` is `tcp_v4_rcv`.
pub fn strip_suffixes(name: &str) -> &str {
    const SUFFIXES: [&str; 5] = [".isra.", ".constprop.", ".part.", ".cold", ".llvm."];
    let end = SUFFIXES.iter().filter_map(|suffix| name.find(suffix)).min().unwrap_or(name.len());
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "ffffffff81000000 T nf_hook_slow\n\
                         ffffffff81000100 t nft_do_chain.isra.0\t[nf_tables]\n\
                         ffffffff81000200 D a_variable\n\
                         ffffffff81000300 t __netif_receive_skb_core.constprop.0.part.1\n";

    #[test]
    fn nearest_symbol_below() {
        let table = parse(LINES.as_bytes()).unwrap();
        assert_eq!(table.find(0xffff_ffff_8100_00ff), Some("nf_hook_slow"));
        assert_eq!(table.find(0xffff_ffff_8100_0210), Some("nft_do_chain"));
        assert_eq!(table.find(0xffff_ffff_8100_0300), Some("__netif_receive_skb_core"));
        assert_eq!(table.find(0xffff_ffff_8000_0000), None);
        assert_eq!(table.find(u64::MAX), None);
    }

    #[test]
    fn hidden_addresses_name_nothing() {
        let table = parse("0000000000000000 T nf_hook_slow\n0000000000000000 T ip_rcv\n".as_bytes()).unwrap();
        assert!(table.entries.is_empty());
        assert_eq!(table.find(0xffff_ffff_8100_0000), None);
    }

    #[test]
    fn a_module_loaded_later_is_found() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (core, module) = (0xffff_ffff_8100_0001, 0xffff_ffff_a100_0001);
        std::fs::write(file.path(), LINES).unwrap();
        let mut symbols = Symbols::from_path(file.path());
        assert_eq!(symbols.name(core), Some("nf_hook_slow"));
        std::fs::write(file.path(), format!("{LINES}ffffffffa1000000 t nft_late\t[nf_tables]\n")).unwrap();
        assert_eq!(symbols.name(module), Some("nft_late"));
    }

    #[test]
    fn what_never_has_a_symbol_isnt_looked_for_each_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut symbols = Symbols::from_path(file.path());
        let strangers = (0..=STRANGERS as u64).map(|number| 0xffff_ffff_a000_0000 + (number << 21));
        for address in strangers.clone().chain(strangers.clone()) {
            assert_eq!(symbols.name(address), None);
        }
        std::fs::write(file.path(), LINES).unwrap();
        assert!(strangers.clone().all(|address| symbols.name(address).is_none()));
        let found = (0..=FIRST_REFRESH).find_map(|_| symbols.name(0xffff_ffff_8100_0001).map(str::to_owned));
        assert_eq!(found.as_deref(), Some("nf_hook_slow"), "in the end");
    }

    #[test]
    fn suffixes() {
        assert_eq!(strip_suffixes("ip_rcv_core.isra.0"), "ip_rcv_core");
        assert_eq!(strip_suffixes("f.cold"), "f");
        assert_eq!(strip_suffixes("ip_rcv"), "ip_rcv");
    }
}

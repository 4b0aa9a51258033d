//! What the running kernel calls its reasons and addresses, for the decoders.

use super::features::{Features, reason_name};
use super::symbols::Symbols;
use crate::event::decode::Names;

/// Answers the decoders from what was read of the kernel.
pub struct KernelNames<'a> {
    pub features: &'a Features,
    pub symbols: &'a mut Symbols,
}

impl Names for KernelNames<'_> {
    fn drop_reason(&mut self, reason: u32) -> Option<String> {
        reason_name(&self.features.drop_reasons, reason)
    }

    fn reset_reason(&mut self, reason: u32) -> Option<String> {
        self.features.reset_reasons.get(&reason).cloned()
    }

    fn symbol(&mut self, address: u64) -> Option<String> {
        self.symbols.name(address).map(str::to_owned)
    }
}

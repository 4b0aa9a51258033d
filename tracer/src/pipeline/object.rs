//! The compiled kernel programs, as the build script left them.

/// ELF parsers read words in place.
#[repr(C, align(32))]
struct Aligned<Bytes: ?Sized>(Bytes);

static ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/tracer.o")));

/// The object to load.
pub(super) fn object() -> &'static [u8] {
    &ALIGNED.0
}

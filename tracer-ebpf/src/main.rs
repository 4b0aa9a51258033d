//! The kernel programs: each hook is a thin function in `hooks/`; what they share of kernel structures, maps and output
//! stands beside them. They observe only: every program that may allow or deny allows.
#![no_std]
#![no_main]

mod conn;
mod emit;
mod globals;
mod hooks;
mod http;
mod kernel;
mod maps;
mod packet;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier rejects reachable panics, so this only satisfies the language.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

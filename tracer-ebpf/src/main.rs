//! The kernel programs: each hook is a thin function in `hooks/`; what they share of kernel structures, maps and output
//! stands beside them. They observe only: every program that may allow or deny allows.
#![no_std]
#![no_main]
// The verifier needs bounds checks in a form that LLVM would rewrite; see `packet::load_up_to`.
#![feature(asm_experimental_arch)]
#![expect(unreachable_pub, reason = "the program macros emit public items in private modules")]

mod conn;
mod emit;
mod flight;
mod globals;
mod heads;
mod hooks;
mod http;
mod kernel;
mod maps;
mod packet;
mod tls;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier rejects reachable panics, so this only satisfies the language.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

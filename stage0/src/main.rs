//! `rkt`: parse, run, print the failure, exit code.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(
    not(test),
    expect(unsafe_code, reason = "an exported symbol is the only way past std's own start")
)]

mod cli;

/// The C entry point.
///
/// std's would cost time at each start (it reads `/proc/self/maps`), and would ignore SIGPIPE, for us and for
/// the pod that this process becomes. Arguments reach `std::env` without it.
#[cfg_attr(not(test), unsafe(no_mangle))]
extern "C" fn main() -> std::ffi::c_int {
    cli::main(std::env::args_os().skip(1)).into()
}

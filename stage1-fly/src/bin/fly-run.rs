//! The `run` entrypoint: the pod itself: stage0 execs it.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(
    not(test),
    expect(unsafe_code, reason = "an exported symbol is the only way past std's own start")
)]

/// The C entry point. Arguments reach `std::env` without std's start.
#[cfg_attr(not(test), unsafe(no_mangle))]
extern "C" fn main() -> std::ffi::c_int {
    stage1_abi::entry::exit_code(stage1_fly::run::run).into()
}

//! PID 1 of a virtual machine.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(
    not(test),
    expect(unsafe_code, reason = "std's own start gives up where there is no /dev/null yet")
)]

/// The C entry point. Arguments reach `std::env` without std's start.
#[cfg_attr(not(test), unsafe(no_mangle))]
extern "C" fn main() -> std::ffi::c_int {
    guest_init::run::main().into()
}

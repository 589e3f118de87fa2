//! The `enter` entrypoint: a command inside the app's root.

use std::process::ExitCode;

fn main() -> ExitCode {
    stage1_abi::entry::main(stage1_fly::enter::enter)
}

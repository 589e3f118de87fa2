//! The `enter` entrypoint: a command inside an app.

use std::process::ExitCode;

fn main() -> ExitCode {
    stage1_abi::entry::main(stage1_nspawn::enter::enter)
}

//! The `check` entrypoint: whether a pod could run here.

use std::process::ExitCode;

fn main() -> ExitCode {
    stage1_abi::entry::main(stage1_kvm::run::check)
}

//! The `run` entrypoint: the pod itself: stage0 execs it.

use std::process::ExitCode;

fn main() -> ExitCode {
    stage1_abi::entry::main(stage1_kvm::run::run)
}

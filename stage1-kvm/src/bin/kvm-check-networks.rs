//! The `check-networks` entrypoint: whether a running pod's networks are as they were left.

use pod_host::network::{Habitat, check};
use std::process::ExitCode;

fn main() -> ExitCode {
    stage1_abi::entry::main(|| check(Habitat::Machine))
}

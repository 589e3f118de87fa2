//! `gc`: undoes on the host what a dead pod recorded. May be interrupted and repeated.

use crate::error::MachineError;
use crate::lent;
use stage1_abi::PodDir;

/// Collects what any pod leaves, and puts back what was taken from interfaces that were lent to this one.
///
/// # Errors
/// A group is still in use, or something of a network stays.
pub fn gc() -> Result<u8, MachineError> {
    // Nothing of the pod lives any more when it has failed or succeeded, and one failure does not keep the other from being
    // cleaned up.
    let collected = pod_host::gc::gc();
    lent::put_back(&PodDir::current()?)?;
    Ok(collected?)
}

//! Whether the host passes packets on.

use crate::result::CniResult;
use crate::sysctl;
use sys::path::PathError;

/// Has the host pass packets on of the families that these addresses are of.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn enable(addresses: &CniResult) -> Result<(), PathError> {
    if addresses.ips.iter().any(|ip| ip.address.is_ipv4()) {
        sysctl::set("ipv4/ip_forward", "1")?;
    }
    if addresses.ips.iter().any(|ip| !ip.address.is_ipv4()) {
        enable_ipv6()?;
    }
    Ok(())
}

/// A router does not listen to routers: interfaces that have got their routes from one are told to go on, or the host would
/// lose its way out.
fn enable_ipv6() -> Result<(), PathError> {
    const ALL: &str = "ipv6/conf/all/forwarding";
    if sysctl::get(ALL).as_deref() == Some("1") {
        return Ok(());
    }
    let interfaces = std::fs::read_dir("/proc/sys/net/ipv6/conf").into_iter().flatten().flatten();
    for interface in interfaces {
        let name = interface.file_name().to_string_lossy().into_owned();
        // What is made later has no routes to lose.
        if matches!(&*name, "all" | "default") {
            continue;
        }
        let setting = format!("ipv6/conf/{name}/accept_ra");
        if sysctl::get(&setting).as_deref() == Some("1") {
            sysctl::set_where_there(&setting, "2")?;
        }
    }
    sysctl::set(ALL, "1")
}

//! `ptp`: a cable between the host and the pod. The pod reaches its own network by way of the host, too.

use super::pod_side::{self, Reach};
use super::{DriverError, Outcome, Place, veth};
use crate::config::Plugin;
use crate::config::kinds::PtpConfig;
use crate::forwarding;
use crate::result::CniResult;
use netlink::Batch;
use netlink::address::{Add, Flags, Prefix};
use netlink::route::{self, Route};

/// Joins a pod to a network of this type.
pub(super) fn add(
    place: &Place<'_>,
    plugin: &Plugin,
    given: &CniResult,
) -> Result<Outcome, DriverError> {
    let config = PtpConfig::read(plugin)?;
    if given.ips.is_empty() {
        return Err(DriverError::NoAddress);
    }
    forwarding::enable(given)?;
    let veth = veth::make(place, given, config.mtu, None)?;
    let mut batch = Batch::new();
    let mut gateways = Vec::new();
    for ip in &given.ips {
        // Without a gateway of its own the pod's neighbour is the host by any address.
        let Some(gateway) = ip.gateway else { continue };
        if !gateways.contains(&gateway) {
            gateways.push(gateway);
            let whole = Prefix::host(gateway);
            batch.add(&Add::new(veth.host_index, whole).flags(Flags::NODAD));
        }
    }
    for ip in &given.ips {
        let pod = ip.address.address();
        // A pod that had the address before may be on its way out with its interface: the newer route is the right one.
        let mut way = Route::to(Prefix::host(pod), veth.host_index);
        way.source = ip.gateway;
        batch.add(&route::Add::replacing(way));
    }
    place.host.run(batch)?;
    pod_side::configure(place, veth.pod_index, given, Reach::ThroughGateway)?;
    let result = super::result(veth.interfaces(place).into(), given, config.dns);
    Ok(Outcome { result, gate: Some(veth.host), masquerade: config.masquerade })
}

//! Flows of datagrams that go where a port of the host led before. Datagrams have no end: as long as a client goes on
//! sending from one port, the kernel sends what it sends to where the first one went, whatever the rules say now. So flows
//! are forgotten when a port begins to lead to a pod, and when it no longer does.

use crate::ports::Protocol;
use netlink::address;
use netlink::conntrack::{Delete, Flow, To};
use netlink::route::Family;
use netlink::{Batch, Errno, RequestError, Socket};
use std::net::IpAddr;

/// A port of the host, and the pod it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Led {
    /// The number of its protocol.
    pub(crate) protocol: u8,
    /// The address of the host; `None` is every one.
    pub(crate) at: Option<IpAddr>,
    /// The port.
    pub(crate) port: u16,
    /// The pod's address.
    pub(crate) to: IpAddr,
}

/// Forgets the flows to ports of this host that do not go to the pod that the ports lead to now.
pub(crate) fn forget_others(
    netfilter: &Socket,
    host: &Socket,
    led: &[Led],
) -> Result<(), RequestError> {
    if !led.iter().any(is_of_datagrams) {
        return Ok(());
    }
    let own = host.dump(&address::All::Links)?;
    let is_own =
        |ip: IpAddr| ip.is_loopback() || own.iter().any(|record| record.prefix.address == ip);
    forget(netfilter, led, |led, flow| {
        // Who passes through the host to the same port of another is none of ours.
        let asked = flow.original.destination;
        led.at.map_or_else(|| is_own(asked), |at| at == asked) && flow.reply.source != led.to
    })
}

/// Forgets the flows that go to a pod by ports that no longer lead to it.
pub(crate) fn forget_own(netfilter: &Socket, led: &[Led]) -> Result<(), RequestError> {
    forget(netfilter, led, |led, flow| flow.reply.source == led.to)
}

const fn is_of_datagrams(led: &Led) -> bool {
    led.protocol == Protocol::Udp.number()
}

fn forget(
    netfilter: &Socket,
    led: &[Led],
    wanted: impl Fn(&Led, &Flow) -> bool,
) -> Result<(), RequestError> {
    let mut batch = Batch::new();
    for led in led.iter().filter(|led| is_of_datagrams(led)) {
        let question = To { family: Family::of(led.to), protocol: led.protocol, port: led.port };
        let flows = match netfilter.dump(&question) {
            Ok(flows) => flows,
            // A kernel without this part cannot be asked: flows end by themselves then.
            Err(error) if matches!(error.errno(), Some(Errno::INVAL | Errno::OPNOTSUPP)) => {
                log::debug!("flows cannot be forgotten: {}", sys::cause::chain(&error));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for flow in flows.into_iter().filter(|flow| wanted(led, flow)) {
            batch.add_unless(&Delete(flow), &[Errno::NOENT]);
        }
    }
    if batch.is_empty() { Ok(()) } else { netfilter.run(batch).map(drop) }
}

//! Whether a pod's networks are as they were left when it joined them.
//!
//! What we made is looked at by ourselves: the namespace, the interface in it, its addresses. What programs made they are
//! asked about (`CHECK`), from version 0.4 on. A list with `disableCheck` is passed over.
//!
//! The addresses of a machine are its guest's, which could say anything of them: they are not looked at, and a program that
//! makes interfaces, the first of a list, is not asked, since it would look for the addresses in the namespace.

use crate::attach::{Hand, Hands};
use crate::cidr::Cidr;
use crate::info::{self, InfoError, NetInfo};
use crate::namespace::{self, PodNamespace};
use crate::plugin::{Attachment, Call, PluginError};
use crate::request::NetworkArgs;
use crate::saved::{self, SavedError};
use crate::setup::Habitat;
use crate::teardown::Pod;
use netlink::address;
use netlink::link::{BadName, Get, Name};
use netlink::{RequestError, Socket};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use sys::path::PathError;

/// A network that is not as it was left.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The record of the pod's networks.
    #[error(transparent)]
    Info(#[from] InfoError),
    /// The namespace is gone.
    #[error("the pod's network namespace is gone")]
    Namespace(#[from] PathError),
    /// The namespace cannot be entered.
    #[error("cannot enter the pod's network namespace")]
    Enter(#[source] io::Error),
    /// The kernel refused a request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// One of the networks.
    #[error("network {name:?}")]
    Network {
        /// Which.
        name: String,
        /// What is wrong with it.
        #[source]
        cause: Ill,
    },
}

/// What is wrong with a network.
#[derive(Debug, thiserror::Error)]
pub enum Ill {
    /// Its configuration cannot be read.
    #[error("its configuration is lost")]
    Saved(#[from] SavedError),
    /// The record has a bad name.
    #[error(transparent)]
    Name(#[from] BadName),
    /// The kernel refused a request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The interface is gone.
    #[error("interface {0:?} is gone")]
    Gone(String),
    /// It is down.
    #[error("interface {0:?} is down")]
    Down(String),
    /// It has lost an address.
    #[error("interface {interface:?} has lost address {address}")]
    Lost {
        /// The interface.
        interface: String,
        /// The address.
        address: IpAddr,
    },
    /// A program says so.
    #[error(transparent)]
    Plugin(#[from] PluginError),
}

/// Looks at all networks of a pod; what is wrong with them, in their order.
///
/// # Errors
/// They cannot be looked at.
pub fn check(pod: &Pod<'_>, habitat: Habitat) -> Result<Vec<HealthError>, HealthError> {
    let infos = info::load(pod.dir)?.unwrap_or_default();
    if infos.is_empty() {
        return Ok(Vec::new());
    }
    let namespace = PodNamespace::open(&namespace::path_of(pod.uuid))?;
    let socket = sys::namespace::inside_network(namespace.as_fd(), Socket::route);
    let socket = socket.map_err(HealthError::Enter)??;
    let mut wrong = Vec::new();
    for info in &infos {
        let looked = check_one((pod, habitat), info, (&namespace, &socket));
        if let Err(cause) = looked {
            wrong.push(HealthError::Network { name: info.name.clone(), cause });
        }
    }
    Ok(wrong)
}

fn check_one(
    (pod, habitat): (&Pod<'_>, Habitat),
    info: &NetInfo,
    (namespace, socket): (&PodNamespace, &Socket),
) -> Result<(), Ill> {
    let Some(network) = saved::network(pod.dir, info)? else { return Ok(()) };
    if !network.is_checked() {
        return Ok(());
    }
    look(info, socket, habitat)?;
    let mut hands = Hands::again(pod, info);
    let (args, wishes) = (NetworkArgs::new(info.args.clone()), saved::wishes(pod.dir));
    for (number, plugin) in network.plugins().iter().enumerate() {
        let stood_for = saved::stood_for(&hands, plugin, pod.uuid);
        let plugin = stood_for.as_ref().unwrap_or(plugin);
        let gave_addresses = number == 0;
        if hands.of(plugin) != Hand::Program || (gave_addresses && habitat == Habitat::Machine) {
            continue;
        }
        hands.runner.check(&Call {
            network: &network,
            plugin,
            attachment: Attachment {
                container: pod.uuid,
                netns: Some(namespace.path()),
                ifname: &info.ifname,
                args: &args,
                netns_override: false,
            },
            before: info.result.as_ref(),
            wishes: &wishes,
        })?;
    }
    Ok(())
}

/// The interface is there, is up and has its addresses. A network without an address may have none of that.
fn look(info: &NetInfo, socket: &Socket, habitat: Habitat) -> Result<(), Ill> {
    let addresses: Vec<IpAddr> =
        [info.ipv4, info.ipv6].into_iter().flatten().map(Cidr::address).collect();
    if addresses.is_empty() {
        return Ok(());
    }
    let interface = || info.ifname.clone();
    let record = socket.get(&Get::new(Name::new(&info.ifname)?))?;
    let record = record.ok_or_else(|| Ill::Gone(interface()))?;
    if !record.is_up() {
        return Err(Ill::Down(interface()));
    }
    if habitat == Habitat::Machine {
        return Ok(());
    }
    let has = socket.dump(&address::All::Of(record.index))?;
    for address in addresses {
        let own =
            |found: &address::Record| found.link == record.index && found.prefix.address == address;
        if !has.iter().any(own) {
            return Err(Ill::Lost { interface: interface(), address });
        }
    }
    Ok(())
}

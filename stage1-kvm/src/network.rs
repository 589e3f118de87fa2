//! The network of a pod in a machine: what is attached to the pod's network namespace reaches the guest.
//!
//! ```text
//! the pod's namespace                                          the machine
//!   eth0 (veth, bridge port, macvlan, device) ──what comes in──► tapN ── descriptor ──► virtio-net, same MAC and MTU
//!        no addresses any more                ◄──what comes in── tapN ◄── descriptor ──   addresses, routes: guest-init
//!   eth1 (macvtap, ipvtap)                      ── descriptor ─────────────────────────► virtio-net
//! ```
//!
//! Whoever makes networks knows of no machine: it makes interfaces in a namespace, as for a container. Here they are looked at
//! and handed on. Two filters of traffic control carry each packet between an interface and its tap in the kernel, with no
//! bridge that would learn or forward anything. The addresses go to the guest, so that the namespace does not answer for it.
//!
//! Invariant: nothing is left when the machine ends. A tap lives as long as its descriptor, which only the monitor keeps, and
//! the filters have nowhere to send to then; the interface belongs to the namespace. Where that outlives the pod, its owner has
//! everything back (`lent`).

use crate::devices::net::Nic;
use netlink::address::{self, Prefix};
use netlink::link::{self, Index, Mac, Name, Record, Settings};
use netlink::route::{self, Family, Table};
use netlink::traffic::{AddFilter, AddQdisc, Qdisc};
use netlink::{Batch, Errno, RequestError, Socket};
use pod_proto::config::{Interface, Network, Route};
use pod_proto::limits;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use sys::mount::{self, Restrict};
use sys::namespace::inside_network;
use sys::path::{At, PathError};
use sys::tap;

/// Interfaces that cannot be handed to a machine.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The namespace cannot be entered.
    #[error("cannot enter the pod's network namespace")]
    Enter(#[source] io::Error),
    /// There are more than a machine has.
    #[error("a machine has at most {} network interfaces", limits::INTERFACES)]
    Crowded,
    /// One is not there.
    #[error("the pod's network namespace has no interface {0}")]
    Absent(String),
    /// It is none of Ethernet.
    #[error("the interface {0} cannot be handed to a machine: it is none of Ethernet")]
    Foreign(String),
    /// Somebody does something with what comes in on one, so that it cannot go to a machine.
    #[error(
        "the interface {0} cannot be handed to a machine: there are filters of what comes in on it, perhaps for another pod"
    )]
    Busy(String),
    /// The record of what was lent.
    #[error(transparent)]
    Dir(#[from] stage1_abi::PodDirError),
    /// The kernel refuses something.
    #[error(transparent)]
    Netlink(#[from] RequestError),
    /// A name that no interface has.
    #[error(transparent)]
    Name(#[from] link::BadName),
    /// There is no tap to be had.
    #[error("cannot make a tap for {name}")]
    Tap {
        /// For which interface.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A setting of the kernel's.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// What is done for one interface.
#[derive(Debug)]
struct Attached {
    record: Record,
    device: OwnedFd,
    /// It is none that can be read, and has a tap of this name beside it.
    beside: Option<Name>,
}

/// What interfaces of a namespace are: addresses and routes as their maker has left them there.
///
/// # Errors
/// One is not there, or none of Ethernet.
pub fn look<'a>(
    namespace: BorrowedFd<'_>,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Interface>, NetworkError> {
    let socket = inside_network(namespace, Socket::route).map_err(NetworkError::Enter)??;
    let mut routes = Vec::new();
    for family in [Family::V4, Family::V6] {
        routes.extend(self::routes(&socket, family)?);
    }
    names.into_iter().map(|name| look_at(&socket, name, &routes)).collect()
}

/// The routes that all use. A namespace that has had none yet has no such table, and the kernel would not list it.
fn routes(socket: &Socket, family: Family) -> Result<Vec<route::Route>, RequestError> {
    let all = socket.dump(&route::All { family, table: None })?;
    Ok(all.into_iter().filter(|route| route.table == Table::MAIN).collect())
}

fn look_at(
    socket: &Socket,
    name: &str,
    routes: &[route::Route],
) -> Result<Interface, NetworkError> {
    let link = find(socket, name)?;
    let addresses = addresses(socket, link.index)?;
    let own = routes.iter().filter(|route| route.link == Some(link.index));
    let routes = own.filter(|route| !is_link_local(&route.destination)).map(|route| Route {
        to: network(route.destination),
        gateway: route.gateway,
        source: route.source,
        metric: route.metric,
        mtu: route.mtu,
        onlink: route.onlink,
    });
    let mut routes: Vec<Route> = routes.collect();
    // Those on the link first: others may lead through them.
    routes.sort_by_key(|route| route.gateway.is_some());
    Ok(Interface {
        name: name.to_owned(),
        mac: link.mac.map(|Mac(mac)| mac).unwrap_or_default(),
        mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
        addresses: addresses.into_iter().map(network).collect(),
        routes,
    })
}

fn network(prefix: Prefix) -> Network {
    Network { address: prefix.address, bits: prefix.length }
}

/// The addresses of a link that were given to it: those that the kernel makes by itself the guest's makes, too.
fn addresses(socket: &Socket, link: Index) -> Result<Vec<Prefix>, RequestError> {
    let found = socket.dump(&address::All::Of(link))?;
    let all = found.into_iter().filter(|one| one.link == link).map(|one| one.prefix);
    Ok(all.filter(|prefix| !is_link_local(prefix)).collect())
}

pub(crate) fn is_link_local(prefix: &Prefix) -> bool {
    match prefix.address {
        std::net::IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
        std::net::IpAddr::V4(_) => false,
    }
}

pub(crate) fn find(socket: &Socket, name: &str) -> Result<Record, NetworkError> {
    let found = socket.get(&link::Get::new(Name::new(name)?))?;
    let link = found.ok_or_else(|| NetworkError::Absent(name.to_owned()))?;
    match link.mac {
        Some(_) => Ok(link),
        None => Err(NetworkError::Foreign(name.to_owned())),
    }
}

/// Makes a device of each of these interfaces of a namespace, in which they give up what the guest has from then on.
///
/// # Errors
/// One is not there, or the kernel refuses something. What was made is gone when the caller ends.
pub fn attach(
    namespace: BorrowedFd<'_>,
    interfaces: &[Interface],
) -> Result<Vec<Nic>, NetworkError> {
    if interfaces.is_empty() {
        return Ok(Vec::new());
    }
    if interfaces.len() > limits::INTERFACES {
        return Err(NetworkError::Crowded);
    }
    let (socket, attached) = inside_network(namespace, || {
        let socket = Socket::route()?;
        let all = (0..).zip(interfaces).map(|(number, one)| open(&socket, number, &one.name));
        let all = all.collect::<Result<Vec<_>, _>>()?;
        Ok::<_, NetworkError>((socket, all))
    })
    .map_err(NetworkError::Enter)??;
    join(&socket, &attached)?;
    let nics = attached.into_iter().zip(interfaces).map(|(attached, interface)| {
        let offloads = tap::known(attached.device.as_fd());
        Ok(Nic {
            offloads: offloads.map_err(|source| tap_error(&interface.name, source))?,
            tap: attached.device,
            address: interface.mac,
            mtu: interface.mtu,
        })
    });
    nics.collect()
}

/// Opens the descriptor by which an interface is read, and has the namespace itself have nothing to say on it. In the namespace.
fn open(socket: &Socket, number: u32, name: &str) -> Result<Attached, NetworkError> {
    let record = find(socket, name)?;
    let readable = matches!(record.kind.as_deref(), Some("macvtap" | "ipvtap"));
    // It is by its addresses that packets come to an interface of these.
    if !matches!(record.kind.as_deref(), Some("ipvlan" | "ipvtap")) {
        silence(name)?;
    }
    let device = if readable { existing(&record, name) } else { tap::open() };
    let device = device.map_err(|source| tap_error(name, source))?;
    let beside = if readable {
        tap::adopt(device.as_fd(), name).map_err(|source| tap_error(name, source))?;
        None
    } else {
        let beside = format!("tap{number}");
        tap::make(device.as_fd(), &beside).map_err(|source| tap_error(name, source))?;
        silence(&beside)?;
        Some(Name::new(beside)?)
    };
    Ok(Attached { record, device, beside })
}

fn tap_error(name: &str, source: io::Error) -> NetworkError {
    NetworkError::Tap { name: name.to_owned(), source }
}

/// Where it is said whether an interface has no IPv6, in the namespace of whoever looks.
pub(crate) fn ipv6_setting(name: &str) -> PathBuf {
    Path::new("/proc/sys/net/ipv6/conf").join(name).join("disable_ipv6")
}

/// Takes IPv6 from an interface, which would else ask and answer on it in the guest's name.
fn silence(name: &str) -> Result<(), PathError> {
    let path = ipv6_setting(name);
    match std::fs::write(&path, "1") {
        // The host has no IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.at("write", path),
    }
}

/// The descriptor of an interface that is a tap itself. The namespace's own sysfs knows its number, and nobody need have made
/// a node of it.
fn existing(record: &Record, name: &str) -> io::Result<OwnedFd> {
    let rights = Restrict::READ_ONLY.and(Restrict::NO_SUID).and(Restrict::NO_DEVICES);
    let sysfs = mount::fresh(c"sysfs", &[], rights.and(Restrict::NO_EXEC))?;
    let path = format!("class/net/{name}/tap{}/dev", record.index.0);
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::openat(&sysfs, path, flags, rustix::fs::Mode::empty())?;
    let text = io::read_to_string(std::fs::File::from(file))?;
    let number = text.trim().split_once(':');
    let number = number.and_then(|(major, minor)| major.parse().ok().zip(minor.parse().ok()));
    let (major, minor) = number.ok_or(io::ErrorKind::InvalidData)?;
    tap::open_by_number(major, minor)
}

/// What an interface of a namespace, handed to a machine before, was given since then. The guest has it from now on.
///
/// # Errors
/// It is not there any more, or the kernel refuses something.
pub fn hand_on(namespace: BorrowedFd<'_>, name: &str) -> Result<Interface, NetworkError> {
    let interface = look(namespace, [name])?.into_iter().next();
    let interface = interface.ok_or_else(|| NetworkError::Absent(name.to_owned()))?;
    let socket = inside_network(namespace, Socket::route).map_err(NetworkError::Enter)??;
    let mut batch = Batch::new();
    take(&mut batch, &socket, &find(&socket, name)?, &routes(&socket, Family::V4)?)?;
    if !batch.is_empty() {
        socket.run(batch)?;
    }
    Ok(interface)
}

/// Takes its addresses and routes from an interface.
fn take(
    batch: &mut Batch,
    socket: &Socket,
    record: &Record,
    routes: &[route::Route],
) -> Result<(), RequestError> {
    // It is by its addresses that packets come to an interface of these.
    if matches!(record.kind.as_deref(), Some("ipvlan" | "ipvtap")) {
        return Ok(());
    }
    let link = record.index;
    for route in routes.iter().filter(|route| route.link == Some(link)) {
        batch.add_unless(&route::Delete(route.clone()), &[Errno::SRCH]);
    }
    for prefix in addresses(socket, link)? {
        // It may have gone with another, or with the whole of IPv6.
        batch.add_unless(&address::Delete { link, prefix }, &[Errno::ADDRNOTAVAIL]);
    }
    Ok(())
}

/// Has each interface and its tap exchange all packets, and takes its addresses and routes from it.
fn join(socket: &Socket, attached: &[Attached]) -> Result<(), NetworkError> {
    let mut batch = Batch::new();
    let routes = routes(socket, Family::V4)?;
    for one in attached {
        let link = one.record.index;
        take(&mut batch, socket, &one.record, &routes)?;
        if let Some(name) = one.beside {
            let found = socket.get(&link::Get::new(name))?;
            let tap = found.ok_or_else(|| NetworkError::Absent(name.text().into_owned()))?.index;
            batch.add(&link::Set::new(tap, Settings::new().mtu(one.record.mtu).up()));
            for (from, to) in [(link, tap), (tap, link)] {
                batch.add(&AddQdisc::new(from, Qdisc::Ingress));
                batch.add(&AddFilter::redirect(from, to));
            }
        }
        batch.add(&link::Set::new(link, Settings::new().up()));
    }
    socket.run(batch)?;
    Ok(())
}

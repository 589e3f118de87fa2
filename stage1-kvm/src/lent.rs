//! Interfaces of a namespace that somebody has lent to a pod: what a machine takes from them, and how they have it back.
//!
//! A namespace of the pod's own goes with the pod, and whatever was taken in it. One that was given outlives it, and its owner
//! finds in it what was there before.
//!
//! ```text
//! rkt/lent         namespace DEVICE INODE PATH              which it is: another one may have its name later
//!                  link INDEX up|down IPV6 NAME             how an interface was; IPV6 is a setting of the kernel's, or -
//!                  ask KIND BYTES                           an address or a route, as the kernel lists it
//! ```
//!
//! What the kernel lists is what it can be asked for: `ip address save` and `ip route save` rely on it, too.
//!
//! Invariant: the record is written before anything is taken, and is empty when all of it is back. Whoever finds one that
//! is not, which are the supervisor, `stop` and `gc`, puts back what it says.

use crate::network::{NetworkError, find, ipv6_setting, is_link_local};
use netlink::address;
use netlink::link::{Index, Set, Settings};
use netlink::route::{self, Family, Table};
use netlink::traffic::{DeleteQdisc, Handle, Qdiscs};
use netlink::wire::{Malformed, Message, Writer, flags};
use netlink::{Batch, Dump, Errno, Request, RequestError, Socket};
use pod_proto::config::Interface;
use rustix::fs::{Mode, OFlags};
use stage1_abi::{PodDir, PodDirError};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use sys::namespace::inside_network;
use sys::path::At as _;

/// The record in the pod's folder.
const FILE: &str = "rkt/lent";
/// The kind of message by which addresses are listed and added.
const ADDRESS: u16 = 20;
/// The same of routes.
const ROUTE: u16 = 24;
/// The one flag of a route that is a wish.
const ONLINK: u32 = 4;

/// What was lent.
#[derive(Debug, PartialEq, Eq)]
struct Lent {
    namespace: (u64, u64),
    path: PathBuf,
    links: Vec<Link>,
    asks: Vec<Ask>,
}

/// How an interface was.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    index: Index,
    up: bool,
    ipv6: Option<String>,
    name: String,
}

/// An address or a route as the kernel has listed it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ask {
    kind: u16,
    body: Vec<u8>,
}

impl fmt::Display for Ask {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "put back {}", if self.kind == ADDRESS { "an address" } else { "a route" })
    }
}

impl Request for Ask {
    fn kind(&self) -> u16 {
        self.kind
    }

    fn flags(&self) -> u16 {
        // The kernel may have made an address of its own again, and there can be several routes to one destination.
        flags::CREATE | if self.kind == ADDRESS { flags::REPLACE } else { flags::APPEND }
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.fixed(&self.body);
    }
}

/// A question whose answers are kept as they came.
struct Kept<D>(D);

impl<D: Dump> fmt::Display for Kept<D> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(to)
    }
}

impl<D: Dump> Dump for Kept<D> {
    type Item = (D::Item, Ask);

    fn kind(&self) -> u16 {
        self.0.kind()
    }

    fn write(&self, to: &mut Writer<'_>) {
        self.0.write(to);
    }

    fn read(&self, message: &Message<'_>, into: &mut Vec<Self::Item>) -> Result<(), Malformed> {
        let mut items = Vec::new();
        self.0.read(message, &mut items)?;
        let ask = Ask { kind: message.kind, body: message.body.to_vec() };
        into.extend(items.into_iter().map(|item| (item, ask.clone())));
        Ok(())
    }
}

/// Notes in the pod's folder how these interfaces of a namespace that was given are, before anything is taken from them.
///
/// # Errors
/// One of them has filters of somebody's already, another machine perhaps; or the kernel says no.
pub fn note(
    (namespace, path): (BorrowedFd<'_>, &Path),
    interfaces: &[Interface],
    dir: &PodDir,
) -> Result<(), NetworkError> {
    let look = || {
        let socket = Socket::route()?;
        let mut lent = Lent {
            namespace: identity(namespace)?,
            path: path.to_owned(),
            links: Vec::new(),
            asks: Vec::new(),
        };
        for interface in interfaces {
            lent.links.push(look_at(&socket, &interface.name)?);
        }
        lent.asks = asks(&socket, &lent.links)?;
        Ok::<_, NetworkError>(lent)
    };
    let lent = inside_network(namespace, look).map_err(NetworkError::Enter)??;
    Ok(dir.replace(FILE, lent.write().as_bytes())?)
}

fn identity(namespace: BorrowedFd<'_>) -> Result<(u64, u64), NetworkError> {
    let found = rustix::fs::fstat(namespace).map_err(|error| NetworkError::Enter(error.into()))?;
    Ok((found.st_dev, found.st_ino))
}

fn look_at(socket: &Socket, name: &str) -> Result<Link, NetworkError> {
    let record = find(socket, name)?;
    let filters = socket.dump(&Qdiscs(record.index))?;
    if filters.iter().any(|qdisc| qdisc.parent == Handle::INGRESS) {
        return Err(NetworkError::Busy(name.to_owned()));
    }
    let ipv6 = std::fs::read_to_string(ipv6_setting(name)).ok();
    let ipv6 = ipv6.map(|text| text.trim().to_owned());
    Ok(Link { index: record.index, up: record.is_up(), ipv6, name: name.to_owned() })
}

/// Addresses and routes of these links, in the order in which they can be had again.
fn asks(socket: &Socket, links: &[Link]) -> Result<Vec<Ask>, RequestError> {
    let has = |index: Index| links.iter().any(|link| link.index == index);
    let mut asks = Vec::new();
    for (address, ask) in socket.dump(&Kept(address::All::Links))? {
        // What has an end comes from routers, who give it again.
        let lasts = address.flags.contains(address::Flags::PERMANENT);
        if has(address.link) && lasts && !is_link_local(&address.prefix) {
            asks.push(ask);
        }
    }
    let mut routes = Vec::new();
    for family in [Family::V4, Family::V6] {
        routes.extend(socket.dump(&Kept(route::All { family, table: None }))?);
    }
    routes.retain(|(route, _)| {
        route.link.is_some_and(has)
            && route.table != Table::LOCAL
            && !is_link_local(&route.destination)
    });
    // Those on the link first: others may lead through them.
    routes.sort_by_key(|(route, _)| route.gateway.is_some());
    asks.extend(routes.into_iter().map(|(route, ask)| without_state(&route, ask)));
    Ok(asks)
}

/// A route without what the kernel says of its state, which nobody can ask for: that the link has no carrier, for one.
fn without_state(route: &route::Route, mut ask: Ask) -> Ask {
    if let Some(flags) = ask.body.get_mut(8..12) {
        flags.copy_from_slice(&if route.onlink { ONLINK } else { 0 }.to_ne_bytes());
    }
    ask
}

/// Puts back what was taken from interfaces that were lent to the pod of this folder, if any were.
///
/// # Errors
/// The record cannot be read, or the kernel says no.
pub fn put_back(dir: &PodDir) -> Result<(), NetworkError> {
    let Some(text) = dir.read_text(FILE)?.filter(|text| !text.is_empty()) else { return Ok(()) };
    let lent = Lent::read(&text);
    let lent =
        lent.ok_or(PodDirError::Content { path: FILE.to_owned(), problem: "is no such record" })?;
    match rustix::fs::open(&lent.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(namespace) if identity(namespace.as_fd())? == lent.namespace => {
            inside_network(namespace.as_fd(), || lent.put_back())
                .map_err(NetworkError::Enter)??;
        }
        // It is gone, with all that was in it.
        Ok(_) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error).at("open", &lent.path).map_err(NetworkError::Path),
    }
    Ok(dir.write(FILE, b"")?)
}

impl Lent {
    /// In the namespace.
    fn put_back(&self) -> Result<(), NetworkError> {
        let socket = Socket::route()?;
        let there =
            |link: &&Link| find(&socket, &link.name).is_ok_and(|found| found.index == link.index);
        let links: Vec<&Link> = self.links.iter().filter(there).collect();
        let mut batch = Batch::new();
        for link in &links {
            let delete = DeleteQdisc { link: link.index, parent: Handle::INGRESS };
            batch.add_unless(&delete, &[Errno::NOENT, Errno::INVAL]);
            if let Some(setting) = &link.ipv6 {
                let path = ipv6_setting(&link.name);
                std::fs::write(&path, setting).at("write", &path)?;
            }
        }
        for ask in &self.asks {
            // An interface may be gone, and its addresses bring some routes back by themselves.
            batch.add_unless(ask, &[Errno::EXIST, Errno::NODEV]);
        }
        for link in links.iter().filter(|link| !link.up) {
            batch.add(&Set::new(link.index, Settings::new().down()));
        }
        if !batch.is_empty() {
            socket.run(batch)?;
        }
        Ok(())
    }

    fn write(&self) -> String {
        let (device, inode) = self.namespace;
        let first = format!("namespace {device} {inode} {}", self.path.display());
        let links = self.links.iter().map(|Link { index, up, ipv6, name }| {
            let up = if *up { "up" } else { "down" };
            format!("link {} {up} {} {name}", index.0, ipv6.as_deref().unwrap_or("-"))
        });
        let asks = self.asks.iter().map(|Ask { kind, body }| {
            let bytes: Vec<String> = body.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("ask {kind} {}", bytes.concat())
        });
        let lines: Vec<String> = std::iter::once(first).chain(links).chain(asks).collect();
        lines.join("\n") + "\n"
    }

    fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut words = lines.next()?.strip_prefix("namespace ")?.splitn(3, ' ');
        let namespace = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let path = PathBuf::from(words.next()?);
        let mut lent = Self { namespace, path, links: Vec::new(), asks: Vec::new() };
        for line in lines {
            let mut words = line.splitn(5, ' ');
            match words.next()? {
                "link" => lent.links.push(Link {
                    index: Index(words.next()?.parse().ok()?),
                    up: words.next()? == "up",
                    ipv6: Some(words.next()?.to_owned()).filter(|setting| setting != "-"),
                    name: words.next()?.to_owned(),
                }),
                "ask" => {
                    let kind = words.next()?.parse().ok()?;
                    let body = bytes(words.next()?)?;
                    matches!(kind, ADDRESS | ROUTE).then(|| lent.asks.push(Ask { kind, body }))?;
                }
                _ => return None,
            }
        }
        Some(lent)
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_read_as_it_was_written() {
        let lent = Lent {
            namespace: (4, 4_026_532),
            path: "/run/netns/somebody's own".into(),
            links: vec![
                Link {
                    index: Index(2),
                    up: true,
                    ipv6: Some("0".to_owned()),
                    name: "a".to_owned(),
                },
                Link { index: Index(7), up: false, ipv6: None, name: "b0".to_owned() },
            ],
            asks: vec![
                Ask { kind: ADDRESS, body: vec![2, 24, 0x80, 0xff] },
                Ask { kind: ROUTE, body: vec![0, 1] },
            ],
        };
        let text = lent.write();
        assert_eq!(Lent::read(text.trim()), Some(lent));
        for bad in ["", "link 1 up 0 a", "namespace 1 2", "namespace 1 2 /x\nask 16 00"] {
            assert_eq!(Lent::read(bad), None, "{bad}");
        }
        for bad in ["ask 20 0", "ask 20 zz", "ask 20", "what"] {
            assert_eq!(Lent::read(&format!("namespace 1 2 /x\n{bad}")), None, "{bad}");
        }
    }
}

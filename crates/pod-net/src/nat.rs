//! Addresses hidden behind the host's, and ports of the host that lead to pods: one table for all pods of a family.
//!
//! ```text
//! table ip rkt {
//!   map pods     { ipv4_addr : jump CHAIN }                    a pod's address, and the chain of its network
//!   map ports    { protocol . port : address . port }          a port of every address of the host
//!   map ports_at { address . protocol . port : address . port }  of this one
//!   set gates    { ifname }                            bridges that take loopback addresses only for our sake
//!   chain NETWORK[-hidden]   packets that come from a pod of it: masquerade, but not among each other
//!   chain loopback           nobody outside reaches, or says to be, 127.0.0.0/8
//!   chain prerouting, output: dnat by the maps        chain postrouting: by the map of pods
//! }
//! ```
//!
//! However many pods there are, a packet is looked up once in each map. Elements carry the pod's UUID as their comment, so
//! that a pod is found in them without any record. All changes are transactions that fail if anybody changed the packet
//! filter since it was looked at; the table goes with the last pod.

use crate::cidr::Cidr;
use crate::ports::Forward;
use crate::result::{AssignedIp, CniResult};
use crate::setup::Beside;
use crate::stale::{self, Led};
use crate::sysctl;
use netlink::address::Prefix;
use netlink::link::{BadName, Name};
use netlink::nft::{
    AddChain, AddRule, AddSet, AddTable, Base, Chain, ChainKind, Chains, DeleteChain, DeleteTable,
    Element, ElementRecord, ElementValue, Elements, Existing, Family, Field, FlushChain,
    Generation, Hook, Protocol, Rule, Set, SetName, Status, Table, Transaction, Type, Value,
    Verdict, priority,
};
use netlink::{Errno, RequestError, Socket};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use sys::path::PathError;

const TABLE: &str = "rkt";
const PODS: &str = "pods";
const PORTS: &str = "ports";
const PORTS_AT: &str = "ports_at";
const GATES: &str = "gates";
/// How often a change is tried while others change the packet filter.
pub(crate) const ATTEMPTS: usize = 100;

/// Rules that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum NatError {
    /// The kernel refused a request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The name of an interface.
    #[error(transparent)]
    Name(#[from] BadName),
    /// A setting.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Another pod has the port.
    #[error("port {port}/{protocol} of the host leads to another pod already")]
    Taken {
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: &'static str,
    },
    /// Another pod has the address.
    #[error("address {0} is another pod's already")]
    TakenAddress(IpAddr),
    /// Others never stopped changing the packet filter.
    #[error("the packet filter is changed by others all the time")]
    Restless,
}

/// What one pod needs.
#[derive(Debug)]
pub(crate) struct Rules {
    mark: String,
    pods: Vec<Pod>,
    ports: Vec<Port>,
    gates: Vec<Name>,
}

/// An address of the pod in a network.
#[derive(Debug)]
struct Pod {
    address: IpAddr,
    network: Cidr,
    hidden: bool,
}

/// A port that leads to the pod.
#[derive(Debug)]
struct Port {
    forward: Forward,
    to: IpAddr,
}

impl Rules {
    /// None yet.
    pub(crate) fn new(uuid: &str) -> Self {
        Self { mark: crate::mark(uuid), pods: Vec::new(), ports: Vec::new(), gates: Vec::new() }
    }

    /// Hides these addresses behind the host's, or only has answers to packets that were sent to a port of the host, by a
    /// neighbour, go back the way they came.
    pub(crate) fn hide(&mut self, addresses: &[AssignedIp], hidden: bool) {
        for ip in addresses {
            let (address, network) = (ip.address.address(), ip.address.network());
            if !self.pods.iter().any(|pod| pod.address == address) {
                self.pods.push(Pod { address, network, hidden });
            }
        }
    }

    /// Has ports lead to the first addresses that a network gave.
    pub(crate) fn forward(&mut self, forwards: &[Forward], result: &CniResult) {
        for to in [result.ipv4(), result.ipv6()].into_iter().flatten() {
            let to = to.address.address();
            for forward in forwards {
                let fits = forward.host_ip.is_none_or(|ip| ip.is_ipv4() == to.is_ipv4());
                let same = |port: &Port| {
                    port.to.is_ipv4() == to.is_ipv4()
                        && port.forward.host_ip == forward.host_ip
                        && port.forward.host_port == forward.host_port
                        && port.forward.protocol == forward.protocol
                };
                if fits && !self.ports.iter().any(same) {
                    self.ports.push(Port { forward: *forward, to });
                }
            }
        }
    }

    /// Notes a bridge that is to take packets of loopback addresses for the sake of ports: it outlives them, and what keeps
    /// others from the host's loopback addresses goes with the last pod.
    pub(crate) fn gate(&mut self, name: Name) {
        self.gates.push(name);
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.ports.is_empty()
    }
}

/// One family's part of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Side {
    family: Family,
    address: Type,
    is_ipv4: bool,
}

const SIDES: [Side; 2] = [
    Side { family: Family::Ip, address: Type::Ipv4Addr, is_ipv4: true },
    Side { family: Family::Ip6, address: Type::Ipv6Addr, is_ipv4: false },
];

impl Side {
    const fn table(self) -> Table<'static> {
        Table::new(self.family, TABLE)
    }

    const fn set(self, name: &'static str) -> SetName<'static> {
        self.table().set(name)
    }

    const fn chain(self, name: &str) -> Chain<'_> {
        self.table().chain(name)
    }

    const fn source(self) -> Field {
        if self.is_ipv4 { Field::IpSaddr } else { Field::Ip6Saddr }
    }

    const fn destination(self) -> Field {
        if self.is_ipv4 { Field::IpDaddr } else { Field::Ip6Daddr }
    }

    fn loopback(self) -> Prefix {
        if self.is_ipv4 {
            Prefix::new(Ipv4Addr::new(127, 0, 0, 0), 8)
        } else {
            Prefix::host(Ipv6Addr::LOCALHOST)
        }
    }

    fn multicast(self) -> Prefix {
        if self.is_ipv4 {
            Prefix::new(Ipv4Addr::new(224, 0, 0, 0), 4)
        } else {
            Prefix::new(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8)
        }
    }

    /// The chains that are in the table now; `None` if there is no table.
    fn chains(self, socket: &Socket) -> Result<Option<Vec<String>>, NatError> {
        let all = socket.dump(&Chains(Some(self.family)))?;
        let own = all.into_iter().filter(|c| c.table == TABLE && c.family == self.family);
        let names: Vec<String> = own.map(|chain| chain.name).collect();
        Ok((!names.is_empty()).then_some(names))
    }

    fn elements(self, socket: &Socket, name: &'static str) -> Result<Vec<ElementRecord>, NatError> {
        Ok(socket.dump(&Elements { name: self.set(name), set: None })?)
    }

    /// The table with all that does not depend on pods.
    fn lay_out(self, change: &mut Transaction) -> Result<(), NatError> {
        let ports = [Type::InetProto, Type::InetService];
        let target = [self.address, Type::InetService];
        change.add(&AddTable { existing: Existing::Refuse, ..AddTable::new(self.table()) });
        change.add(&AddSet::new(self.set(PODS), Set::verdicts([self.address])));
        change.add(&AddSet::new(self.set(PORTS), Set::map(ports, target)));
        let ports_at = [self.address, Type::InetProto, Type::InetService];
        change.add(&AddSet::new(self.set(PORTS_AT), Set::map(ports_at, target)));
        if self.is_ipv4 {
            change.add(&AddSet::new(self.set(GATES), Set::of([Type::Ifname])));
        }
        for (name, kind, hook, priority) in [
            ("loopback", ChainKind::Filter, Hook::Prerouting, priority::RAW),
            ("prerouting", ChainKind::Nat, Hook::Prerouting, priority::DNAT),
            ("output", ChainKind::Nat, Hook::Output, priority::DNAT),
            ("postrouting", ChainKind::Nat, Hook::Postrouting, priority::SNAT),
        ] {
            change.add(&AddChain::base(self.chain(name), Base::new(kind, hook, priority)));
        }
        let lo = Name::new("lo")?;
        for field in [self.destination(), self.source()] {
            let guard = Rule::new().is_not(Field::Iifname, lo);
            let guard = guard.inside(field, self.loopback()).drop();
            change.add(&AddRule::last(self.chain("loopback"), guard));
        }
        for name in ["prerouting", "output"] {
            let at = [self.destination(), Field::L4proto, Field::Dport];
            let rule = Rule::new().dnat_of(&at, self.set(PORTS_AT));
            change.add(&AddRule::last(self.chain(name), rule));
            let mut rule = Rule::new().to_this_host();
            if !self.is_ipv4 {
                // A packet to ::1 cannot leave the host.
                rule = rule.outside(self.destination(), self.loopback());
            }
            let rule = rule.dnat_of(&[Field::L4proto, Field::Dport], self.set(PORTS));
            change.add(&AddRule::last(self.chain(name), rule));
        }
        let own = Rule::new().is_not(Field::Oifname, lo);
        let own = own.inside(self.source(), self.loopback()).ct_status(Status::DNAT).masquerade();
        change.add(&AddRule::last(self.chain("postrouting"), own));
        let pods = Rule::new().verdict_of(&[self.source()], self.set(PODS));
        change.add(&AddRule::last(self.chain("postrouting"), pods));
        Ok(())
    }

    /// The chain that packets from pods of a network go through.
    fn add_network(self, change: &mut Transaction, pod: &Pod) {
        let name = chain_of(pod);
        let chain = self.chain(&name);
        let network = Prefix::new(pod.network.address(), pod.network.prefix());
        change.add(&AddChain::regular(chain));
        // Who is reached by a port of the host answers by way of the host, also to a neighbour.
        let back = Rule::new().inside(self.destination(), network).ct_status(Status::DNAT);
        change.add(&AddRule::last(chain, back.masquerade()));
        if pod.hidden {
            let near = Rule::new().inside(self.destination(), network).done();
            change.add(&AddRule::last(chain, near));
            let far = Rule::new().outside(self.destination(), self.multicast()).masquerade();
            change.add(&AddRule::last(chain, far));
        }
    }

    /// The elements of a pod, map by map.
    fn elements_of(self, rules: &Rules) -> [(&'static str, Vec<Element>); 3] {
        let (mut pods, mut ports, mut ports_at) = (Vec::new(), Vec::new(), Vec::new());
        for pod in rules.pods.iter().filter(|pod| pod.address.is_ipv4() == self.is_ipv4) {
            let jump = Verdict::Jump(chain_of(pod));
            pods.push(Element::new(&[pod.address.into()]).verdict(jump).comment(&rules.mark));
        }
        for port in rules.ports.iter().filter(|port| port.to.is_ipv4() == self.is_ipv4) {
            let Forward { protocol, host_ip, host_port, pod_port } = port.forward;
            let key = [Value::from(Protocol(protocol.number())), Value::from(host_port)];
            let to = [Value::from(port.to), Value::from(pod_port)];
            let (list, key) = match host_ip {
                None => (&mut ports, key.to_vec()),
                Some(ip) => (&mut ports_at, [&[Value::from(ip)][..], &key].concat()),
            };
            list.push(Element::new(&key).value(&to).comment(&rules.mark));
        }
        [(PODS, pods), (PORTS, ports), (PORTS_AT, ports_at)]
    }

    fn add_elements(self, change: &mut Transaction, rules: &Rules) {
        for (name, elements) in self.elements_of(rules) {
            change.add_elements(self.set(name), &elements, Existing::Refuse);
        }
    }

    fn add_gates(self, change: &mut Transaction, gates: &[Name]) {
        if self.is_ipv4 {
            let gates = gates.iter().map(|name| Element::new(&[Value::Link(*name)]));
            change.add_elements(self.set(GATES), &gates.collect::<Vec<_>>(), Existing::Keep);
        }
    }

    /// Those of a pod's bridges that take packets of loopback addresses for the sake of pods alone: they do not yet, or only
    /// since a pod needed it, which the table knows, or the pods themselves if somebody has taken the table away.
    fn opened(
        self,
        socket: &Socket,
        rules: &Rules,
        has_table: bool,
        beside: Beside<'_>,
    ) -> Result<Vec<Name>, NatError> {
        let gates = rules.gates.iter().copied();
        let (closed, open): (Vec<Name>, Vec<Name>) = gates
            .filter(|_| self.is_ipv4)
            .partition(|gate| sysctl::get(&local_setting(&gate.text())).as_deref() == Some("0"));
        if open.is_empty() {
            return Ok(closed);
        }
        let known = if has_table { self.gates(socket)? } else { beside.opened() };
        let known = |gate: &Name| known.iter().any(|known| *known == *gate.text());
        Ok(closed.into_iter().chain(open.into_iter().filter(known)).collect())
    }

    /// The names of those bridges, as the table has them.
    fn gates(self, socket: &Socket) -> Result<Vec<String>, NatError> {
        if !self.is_ipv4 {
            return Ok(Vec::new());
        }
        let name = |record: ElementRecord| {
            let key = record.element.key;
            let end = key.iter().position(|byte| *byte == 0).unwrap_or(key.len());
            String::from_utf8(key.into_iter().take(end).collect()).ok()
        };
        match self.elements(socket, GATES) {
            // The last pod has just left.
            Err(NatError::Request(error)) if error.errno() == Some(Errno::NOENT) => Ok(Vec::new()),
            other => Ok(other?.into_iter().filter_map(name).collect()),
        }
    }

    /// Adds a pod, and what it is the first to need. It is looked first what is there: a transaction that fails costs as
    /// much as ten that do not, since the kernel waits before it takes back what nobody has seen. Elements alone do not
    /// depend on what others do meanwhile, so that pods that start at once do not fail each other's transactions.
    fn add(
        self,
        socket: &Socket,
        rules: &Rules,
        beside: Beside<'_>,
    ) -> Result<Vec<Name>, NatError> {
        let mut tidied = false;
        for _ in 0..ATTEMPTS {
            let generation = self::generation(socket)?;
            let chains = self.chains(socket)?;
            // Who leaves closes bridges before it takes the table away, so that it is looked only now.
            let opened = self.opened(socket, rules, chains.is_some(), beside)?;
            let mut layout = Transaction::of(generation);
            if chains.is_none() {
                self.lay_out(&mut layout)?;
            }
            let mut known = chains.unwrap_or_default();
            for pod in rules.pods.iter().filter(|pod| pod.address.is_ipv4() == self.is_ipv4) {
                let name = chain_of(pod);
                if !known.contains(&name) {
                    self.add_network(&mut layout, pod);
                    known.push(name);
                }
            }
            let mut change = if layout.is_empty() { Transaction::new() } else { layout };
            self.add_elements(&mut change, rules);
            self.add_gates(&mut change, &opened);
            match change.commit(socket) {
                Ok(()) => return Ok(opened),
                Err(error) if is_stale(socket, &error, generation)? => {}
                Err(error) if error.errno() == Some(Errno::EXIST) => {
                    let (taken, owners) = self.taken(socket, rules);
                    // Who has just left is in nobody's way, and who was killed need not wait for gc.
                    let owners = owners.iter().map(String::as_str);
                    if tidied || (taken.is_some() && !beside.have_left(owners)) {
                        return Err(taken.unwrap_or(error.into()));
                    }
                    tidied = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(NatError::Restless)
    }

    /// What is another pod's, if anything, and the UUIDs of all such pods.
    fn taken(self, socket: &Socket, rules: &Rules) -> (Option<NatError>, Vec<String>) {
        let (mut taken, mut owners) = (None, Vec::new());
        for (name, own) in self.elements_of(rules) {
            for ElementRecord { element, .. } in self.elements(socket, name).unwrap_or_default() {
                if !own.iter().any(|own| own.key == element.key) {
                    continue;
                }
                let owner = element.comment.as_deref().and_then(crate::marked);
                owners.extend(owner.map(str::to_owned));
                taken = taken.or_else(|| Self::refusal(name, &element.key, rules));
            }
        }
        (taken, owners)
    }

    /// What to say of an element that is taken.
    fn refusal(map: &str, key: &[u8], rules: &Rules) -> Option<NatError> {
        let is = |other: &[Value]| Element::new(other).key == key;
        if map == PODS {
            let mut addresses = rules.pods.iter().map(|pod| pod.address);
            return addresses.find(|ip| is(&[(*ip).into()])).map(NatError::TakenAddress);
        }
        rules.ports.iter().find_map(|Port { forward, .. }| {
            let Forward { protocol, host_ip, host_port, .. } = *forward;
            let mut own = vec![Value::from(Protocol(protocol.number())), Value::from(host_port)];
            own.splice(0..0, host_ip.map(Value::from));
            is(&own).then_some(NatError::Taken { port: host_port, protocol: protocol.name() })
        })
    }

    /// Removes a pod; with the last one, everything. `opened` are bridges that are closed then, or left to the pods that
    /// stay. Which ports led to it.
    fn remove(self, socket: &Socket, mark: &str, opened: &[String]) -> Result<Vec<Led>, NatError> {
        for _ in 0..ATTEMPTS {
            let generation = self::generation(socket)?;
            let Some(chains) = self.chains(socket)? else {
                // Somebody has taken the table away, and no port leads anywhere.
                set_gates(opened, "0")?;
                return Ok(Vec::new());
            };
            let (mut used, mut elements, mut others) = (Vec::new(), Vec::new(), false);
            for name in [PODS, PORTS, PORTS_AT] {
                let all = self.elements(socket, name)?;
                let is_own = |r: &ElementRecord| r.element.comment.as_deref() == Some(mark);
                let (own, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(is_own);
                others |= !rest.is_empty();
                used.extend(rest.iter().filter_map(|record| match &record.element.value {
                    ElementValue::Verdict(Verdict::Jump(chain)) => Some(chain.clone()),
                    _ => None,
                }));
                let own: Vec<Element> = own.into_iter().map(|record| record.element).collect();
                elements.push((name, own));
            }
            let is_unused = |name: &&String| name.starts_with(NETWORK) && !used.contains(name);
            let unused: Vec<&String> = chains.iter().filter(is_unused).collect();
            // Elements alone do not depend on what others do meanwhile.
            let alone = others && unused.is_empty();
            let mut change = if alone { Transaction::new() } else { Transaction::of(generation) };
            if others {
                let opened = opened.iter().filter_map(|name| Name::new(name).ok());
                self.add_gates(&mut change, &opened.collect::<Vec<_>>());
                for (name, own) in &elements {
                    change.delete_elements(self.set(name), own);
                }
                for chain in unused {
                    change.add(&FlushChain(self.chain(chain)));
                    change.add(&DeleteChain(self.chain(chain)));
                }
            }
            let mut gates = Vec::new();
            if !others {
                change.add(&DeleteTable(self.table()));
                gates = self.gates(socket)?;
                gates.extend(opened.iter().cloned());
                // Before the chain that guards loopback addresses goes.
                set_gates(&gates, "0")?;
            }
            match change.commit(socket) {
                Ok(()) => {
                    let own = elements.iter();
                    let own = own.flat_map(|(name, own)| own.iter().map(|one| (*name, one)));
                    return Ok(own.filter_map(|(name, element)| self.led(name, element)).collect());
                }
                // Somebody has come.
                Err(error) if is_stale(socket, &error, generation)? => set_gates(&gates, "1")?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(NatError::Restless)
    }

    /// What an element of a map of ports says.
    fn led(self, map: &str, element: &Element) -> Option<Led> {
        let length = if self.is_ipv4 { 4 } else { 16 };
        let address = |bytes: &[u8]| -> Option<IpAddr> {
            match bytes.get(..length)? {
                four if self.is_ipv4 => Some(<[u8; 4]>::try_from(four).ok()?.into()),
                sixteen => Some(<[u8; 16]>::try_from(sixteen).ok()?.into()),
            }
        };
        let (at, key) = match map {
            PORTS => (None, element.key.as_slice()),
            PORTS_AT => (Some(address(&element.key)?), element.key.get(length..)?),
            _ => return None,
        };
        let ElementValue::Bytes(value) = &element.value else { return None };
        // Each of them lies in a multiple of four bytes.
        let (protocol, port) = (*key.first()?, key.get(4..6)?);
        let port = u16::from_be_bytes(<[u8; 2]>::try_from(port).ok()?);
        Some(Led { protocol, at, port, to: address(value)? })
    }
}

/// Whether a transaction failed since the packet filter is no longer what it was at this generation. The kernel also says
/// that something is not there of what it was built without.
fn is_stale(socket: &Socket, error: &RequestError, then: u32) -> Result<bool, NatError> {
    Ok(match error.errno() {
        Some(Errno::RESTART) => true,
        Some(Errno::NOENT) => generation(socket)? != then,
        _ => false,
    })
}

/// The setting by which an interface takes packets of loopback addresses.
pub(crate) fn local_setting(interface: &str) -> String {
    format!("ipv4/conf/{interface}/route_localnet")
}

/// Has the bridges that take loopback addresses for our sake do so or not.
fn set_gates(gates: &[String], value: &str) -> Result<(), NatError> {
    for gate in gates {
        sysctl::set_where_there(&local_setting(gate), value)?;
    }
    Ok(())
}

/// How names of networks' chains begin.
const NETWORK: &str = "net-";

/// The chain of a pod's network: `net-10.1.0.0/16`, and `-hidden` if its addresses are.
fn chain_of(pod: &Pod) -> String {
    let network = pod.network.to_string().replace(':', "_");
    format!("{NETWORK}{network}{}", if pod.hidden { "-hidden" } else { "" })
}

fn generation(socket: &Socket) -> Result<u32, NatError> {
    Ok(socket.get(&Generation)?.unwrap_or_default())
}

/// Adds a pod's rules, in place of those of pods beside it that are over. `host` is a socket to the routing part. Which
/// bridges are to take packets of loopback addresses for the sake of pods alone; the caller notes them, and has them do so.
pub(crate) fn add(
    socket: &Socket,
    host: &Socket,
    rules: &Rules,
    beside: Beside<'_>,
) -> Result<Vec<Name>, NatError> {
    let mut opened = Vec::new();
    for side in SIDES {
        let own = |ip: &IpAddr| ip.is_ipv4() == side.is_ipv4;
        let any = rules.pods.iter().any(|pod| own(&pod.address))
            || rules.ports.iter().any(|port| own(&port.to));
        if any {
            opened.extend(side.add(socket, rules, beside)?);
        }
    }
    let led = rules.ports.iter().map(|Port { forward, to }| Led {
        protocol: forward.protocol.number(),
        at: forward.host_ip,
        port: forward.host_port,
        to: *to,
    });
    stale::forget_others(socket, host, &led.collect::<Vec<_>>())?;
    Ok(opened)
}

/// Removes whatever rules there are of a pod, which had these bridges opened.
pub(crate) fn remove(socket: &Socket, uuid: &str, opened: &[String]) -> Result<(), NatError> {
    for side in SIDES {
        let opened = if side.is_ipv4 { opened } else { &[] };
        let led = side.remove(socket, &crate::mark(uuid), opened)?;
        stale::forget_own(socket, &led)?;
    }
    Ok(())
}

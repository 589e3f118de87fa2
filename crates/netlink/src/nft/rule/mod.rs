//! Rules: written as their text reads, found by their comments, deleted by their handles.

mod request;

pub use request::{AddRule, DeleteRule, FlushChain, Place, RuleRecord, Rules};

use super::expression::{FIB_DESTINATION, NAT_RANDOM};
use super::{
    Chain, Ct, Expression, Family, FibResult, Field, Meta, NatKind, Protocol, Register, Reject,
    SetName, State, Status, Test, Type, Value, Verdict,
};
use crate::address::{Prefix, family};
use std::net::IpAddr;

/// An address of this host, in the numbers of routes.
const LOCAL: u32 = 2;
const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// A rule: conditions in their order, then what is done. Each method adds a part of its text.
///
/// ```
/// # use netlink::nft::{Field, Protocol, Rule, Test};
/// # use netlink::address::Prefix;
/// # use std::net::Ipv4Addr;
/// let pod = Ipv4Addr::new(10, 98, 0, 2);
/// let network = Prefix::new(Ipv4Addr::new(10, 98, 0, 0), 24);
/// // ip saddr 10.98.0.2 ip daddr != 10.98.0.0/24 masquerade comment "rkt 1"
/// Rule::new().is(Field::IpSaddr, pod).outside(Field::IpDaddr, network).masquerade().comment("rkt 1");
/// // fib daddr type local tcp dport 18080 dnat to 10.98.0.2:80
/// Rule::new().to_this_host().protocol(Protocol::TCP).is(Field::Dport, 18080).dnat(pod, Some(80));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// What it is made of.
    pub expressions: Vec<Expression>,
    /// A text about it.
    pub comment: Option<String>,
}

impl Rule {
    /// One that does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A step as it is.
    #[must_use]
    pub fn then(mut self, expression: Expression) -> Self {
        self.expressions.push(expression);
        self
    }

    /// `comment "…"`: up to 127 bytes.
    #[must_use]
    pub fn comment(self, comment: impl Into<String>) -> Self {
        Self { comment: Some(comment.into()), ..self }
    }

    fn compare(self, test: Test, with: Vec<u8>) -> Self {
        self.then(Expression::Compare { from: Register::FIRST, test, with })
    }

    fn load(self, field: Field, to: Register) -> Self {
        self.then(field.load(to, field.of().length()))
    }

    fn test(self, field: Field, test: Test, value: &Value) -> Self {
        self.load(field, Register::FIRST).compare(test, value.bytes())
    }

    /// `iifname "eth0"`, `ip saddr 10.0.0.1`, `th dport 80`: it is this. The value is of the field's type.
    #[must_use]
    pub fn is(self, field: Field, value: impl Into<Value>) -> Self {
        self.test(field, Test::Is, &value.into())
    }

    /// `iifname != "eth0"`: it is anything but this.
    #[must_use]
    pub fn is_not(self, field: Field, value: impl Into<Value>) -> Self {
        self.test(field, Test::IsNot, &value.into())
    }

    /// `ip saddr 10.0.0.0/8`: it is in this network.
    #[must_use]
    pub fn inside(self, field: Field, network: Prefix) -> Self {
        self.network(field, Test::Is, network)
    }

    /// `ip daddr != 10.0.0.0/8`: it is in any other network.
    #[must_use]
    pub fn outside(self, field: Field, network: Prefix) -> Self {
        self.network(field, Test::IsNot, network)
    }

    fn network(self, field: Field, test: Test, network: Prefix) -> Self {
        let mut bytes = Value::from(network.network().address).bytes();
        if network.length > 0 && network.length.is_multiple_of(8) {
            // As nft writes it: the bytes that count, and no mask.
            let length = network.length / 8;
            bytes.truncate(length.into());
            return self.then(field.load(Register::FIRST, length)).compare(test, bytes);
        }
        let mask = mask(network.length, bytes.len());
        let xor = vec![0; mask.len()];
        let (from, to) = (Register::FIRST, Register::FIRST);
        self.load(field, from)
            .then(Expression::Bitwise { from, to, mask, xor })
            .compare(test, bytes)
    }

    /// `meta nfproto ipv4`: in a table of both families, before what looks at IPv4 addresses.
    #[must_use]
    pub fn ipv4(self) -> Self {
        self.nfproto(IPV4)
    }

    /// `meta nfproto ipv6`: in a table of both families, before what looks at IPv6 addresses.
    #[must_use]
    pub fn ipv6(self) -> Self {
        self.nfproto(IPV6)
    }

    fn nfproto(self, family: u8) -> Self {
        self.then(Expression::Meta { key: Meta::Nfproto, to: Register::FIRST })
            .compare(Test::Is, vec![family])
    }

    /// `meta l4proto tcp`: before what looks at ports.
    #[must_use]
    pub fn protocol(self, protocol: Protocol) -> Self {
        self.is(Field::L4proto, protocol)
    }

    /// `fib daddr type local`: its destination is an address of this host.
    #[must_use]
    pub fn to_this_host(self) -> Self {
        let (result, to) = (FibResult::AddressType, Register::FIRST);
        self.then(Expression::Fib { result, flags: FIB_DESTINATION, to })
            .compare(Test::Is, LOCAL.to_ne_bytes().to_vec())
    }

    /// `ct state established,related`: its connection is in one of these states.
    #[must_use]
    pub fn ct_state(self, states: State) -> Self {
        self.ct_bits(Ct::State, states.0)
    }

    /// `ct status dnat`: one of these was done to its connection.
    #[must_use]
    pub fn ct_status(self, status: Status) -> Self {
        self.ct_bits(Ct::Status, status.0)
    }

    /// `-m conntrack --ctstate RELATED,ESTABLISHED,DNAT`: an answer, or something for a port that leads elsewhere; as
    /// iptables writes it, which calls a table useless that has it in nft's words.
    #[must_use]
    pub fn ct_answers_or_dnat_by_xtables(self) -> Self {
        const INFO: usize = 168;
        // `struct xt_conntrack_mtinfo3`: what is matched at 146, the states at 150.
        const STATE: u16 = 1;
        const ESTABLISHED_RELATED_DNAT: u16 = 1 << 1 | 1 << 2 | 1 << 7;
        let mut info = [0; INFO];
        for (at, value) in [(146, STATE), (150, ESTABLISHED_RELATED_DNAT)] {
            for (to, from) in info.iter_mut().skip(at).zip(value.to_ne_bytes()) {
                *to = from;
            }
        }
        let mut data = Vec::new();
        let parts: [(u16, &[u8]); 3] = [(1, b"conntrack\0"), (2, &3_u32.to_be_bytes()), (3, &info)];
        for (kind, value) in parts {
            let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
            data.extend(length.to_ne_bytes().into_iter().chain(kind.to_ne_bytes()));
            data.extend(value);
            data.resize(crate::wire::aligned(data.len()), 0);
        }
        self.then(Expression::Other { name: "match".to_owned(), data })
    }

    fn ct_bits(self, key: Ct, bits: u32) -> Self {
        let (from, to) = (Register::FIRST, Register::FIRST);
        let mask = bits.to_ne_bytes().to_vec();
        self.then(Expression::Ct { key, to })
            .then(Expression::Bitwise { from, to, mask, xor: vec![0; 4] })
            .compare(Test::IsNot, vec![0; 4])
    }

    /// `ct direction original`: it goes the way of its connection's first packet.
    #[must_use]
    pub fn ct_original(self) -> Self {
        self.then(Expression::Ct { key: Ct::Direction, to: Register::FIRST })
            .compare(Test::Is, vec![0])
    }

    /// `ct mark & MASK == VALUE`.
    #[must_use]
    pub fn ct_mark(self, value: u32, mask: u32) -> Self {
        self.then(Expression::Ct { key: Ct::Mark, to: Register::FIRST }).mark_bits(value, mask)
    }

    /// `meta mark & MASK == VALUE`.
    #[must_use]
    pub fn mark(self, value: u32, mask: u32) -> Self {
        self.then(Expression::Meta { key: Meta::Mark, to: Register::FIRST }).mark_bits(value, mask)
    }

    fn mark_bits(self, value: u32, mask: u32) -> Self {
        let (from, to) = (Register::FIRST, Register::FIRST);
        let bits =
            Expression::Bitwise { from, to, mask: mask.to_ne_bytes().to_vec(), xor: vec![0; 4] };
        let masked = if mask == u32::MAX { self } else { self.then(bits) };
        masked.compare(Test::Is, value.to_ne_bytes().to_vec())
    }

    /// `meta mark set meta mark | BITS`.
    #[must_use]
    pub fn add_mark(self, bits: u32) -> Self {
        let (from, to) = (Register::FIRST, Register::FIRST);
        let xor = bits.to_ne_bytes().to_vec();
        let mask = (!bits).to_ne_bytes().to_vec();
        self.then(Expression::Meta { key: Meta::Mark, to })
            .then(Expression::Bitwise { from, to, mask, xor })
            .then(Expression::SetMeta { key: Meta::Mark, from })
    }

    /// `meta mark set VALUE`.
    #[must_use]
    pub fn set_mark(self, value: u32) -> Self {
        let value = value.to_ne_bytes().to_vec();
        self.then(Expression::Immediate { to: Register::FIRST, value })
            .then(Expression::SetMeta { key: Meta::Mark, from: Register::FIRST })
    }

    /// `ct mark set VALUE`.
    #[must_use]
    pub fn set_ct_mark(self, value: u32) -> Self {
        let value = value.to_ne_bytes().to_vec();
        self.then(Expression::Immediate { to: Register::FIRST, value })
            .then(Expression::SetCt { key: Ct::Mark, from: Register::FIRST })
    }

    /// `meta mark set ct mark`.
    #[must_use]
    pub fn restore_mark(self) -> Self {
        self.then(Expression::Ct { key: Ct::Mark, to: Register::FIRST })
            .then(Expression::SetMeta { key: Meta::Mark, from: Register::FIRST })
    }

    /// `ct mark set meta mark`.
    #[must_use]
    pub fn save_mark(self) -> Self {
        self.then(Expression::Meta { key: Meta::Mark, to: Register::FIRST })
            .then(Expression::SetCt { key: Ct::Mark, from: Register::FIRST })
    }

    /// Loads several fields, as a key of theirs lies.
    fn load_all(mut self, fields: &[Field]) -> Self {
        let mut register = Register::FIRST;
        for field in fields {
            self = self.load(*field, register);
            register = register.after(field.of().registers());
        }
        self
    }

    fn lookup(self, set: SetName<'_>, to: Option<Register>, verdict: bool) -> Self {
        let (set, from) = (set.name.to_owned(), Register::FIRST);
        self.then(Expression::Lookup { set, from, to, verdict, inverted: false })
    }

    /// `ip saddr . th dport @set`: the set has it.
    #[must_use]
    pub fn among(self, fields: &[Field], set: SetName<'_>) -> Self {
        self.load_all(fields).lookup(set, None, false)
    }

    /// `iifname != @set`: the set does not have it.
    #[must_use]
    pub fn not_among(self, fields: &[Field], set: SetName<'_>) -> Self {
        let (set, from) = (set.name.to_owned(), Register::FIRST);
        let (to, verdict, inverted) = (None, false, true);
        self.load_all(fields).then(Expression::Lookup { set, from, to, verdict, inverted })
    }

    /// `iifname vmap @map`: what the map says.
    #[must_use]
    pub fn verdict_of(self, fields: &[Field], map: SetName<'_>) -> Self {
        self.load_all(fields).lookup(map, None, true)
    }

    /// `dnat ip to meta l4proto . th dport map @map`: to the address and the port that the map has. The table is of one family.
    #[must_use]
    pub fn dnat_of(self, fields: &[Field], map: SetName<'_>) -> Self {
        let (family, address) = match map.table.family {
            Family::Ip6 => (IPV6, Type::Ipv6Addr),
            _ => (IPV4, Type::Ipv4Addr),
        };
        let port = Register::FIRST.after(address.registers());
        self.load_all(fields).lookup(map, Some(Register::FIRST), false).then(Expression::Nat {
            kind: NatKind::Destination,
            family,
            address: Some(Register::FIRST),
            port: Some(port),
            flags: 0,
        })
    }

    /// `dnat to 10.0.0.2:80`.
    #[must_use]
    pub fn dnat(self, address: impl Into<IpAddr>, port: Option<u16>) -> Self {
        self.nat(NatKind::Destination, address.into(), port)
    }

    /// `snat to 10.0.0.1`.
    #[must_use]
    pub fn snat(self, address: impl Into<IpAddr>) -> Self {
        self.nat(NatKind::Source, address.into(), None)
    }

    fn nat(self, kind: NatKind, address: IpAddr, port: Option<u16>) -> Self {
        let to = Register::FIRST;
        let rule = self.then(Expression::Immediate { to, value: Value::from(address).bytes() });
        let (family, address, second) = (family(address), Some(to), to.after(4));
        match port {
            None => rule.then(Expression::Nat { kind, family, address, port: None, flags: 0 }),
            Some(port) => {
                let (value, port) = (Value::Port(port).bytes(), Some(second));
                rule.then(Expression::Immediate { to: second, value }).then(Expression::Nat {
                    kind,
                    family,
                    address,
                    port,
                    flags: 0,
                })
            }
        }
    }

    /// `masquerade`.
    #[must_use]
    pub fn masquerade(self) -> Self {
        self.then(Expression::Masquerade { flags: 0 })
    }

    /// `masquerade fully-random`.
    #[must_use]
    pub fn masquerade_randomly(self) -> Self {
        self.then(Expression::Masquerade { flags: NAT_RANDOM })
    }

    /// `redirect to :8080`.
    #[must_use]
    pub fn redirect(self, port: u16) -> Self {
        let (to, value) = (Register::FIRST, Value::Port(port).bytes());
        self.then(Expression::Immediate { to, value })
            .then(Expression::Redirect { port: Some(to), flags: 0 })
    }

    /// `counter`.
    #[must_use]
    pub fn counter(self) -> Self {
        self.then(Expression::Counter { packets: 0, bytes: 0 })
    }

    /// `accept`.
    #[must_use]
    pub fn accept(self) -> Self {
        self.then(Expression::Verdict(Verdict::Accept))
    }

    /// `drop`.
    #[must_use]
    pub fn drop(self) -> Self {
        self.then(Expression::Verdict(Verdict::Drop))
    }

    /// `return`.
    #[must_use]
    pub fn done(self) -> Self {
        self.then(Expression::Verdict(Verdict::Return))
    }

    /// `jump NAME`: to a chain of the same table.
    #[must_use]
    pub fn jump(self, chain: Chain<'_>) -> Self {
        self.then(Expression::Verdict(Verdict::Jump(chain.name.to_owned())))
    }

    /// `goto NAME`: to a chain of the same table.
    #[must_use]
    pub fn goto(self, chain: Chain<'_>) -> Self {
        self.then(Expression::Verdict(Verdict::Goto(chain.name.to_owned())))
    }

    /// `reject`.
    #[must_use]
    pub fn reject(self, how: Reject) -> Self {
        self.then(Expression::Reject(how))
    }
}

/// So many bytes, of which so many bits are set.
fn mask(bits: u8, bytes: usize) -> Vec<u8> {
    let of = |byte: usize| {
        let left = usize::from(bits).saturating_sub(byte.saturating_mul(8)).min(8);
        u32::try_from(left).ok().and_then(|left| 0xff00_u16.checked_shr(left))
    };
    (0..bytes)
        .map(|byte| of(byte).unwrap_or(0).to_be_bytes().last().copied().unwrap_or(0))
        .collect()
}

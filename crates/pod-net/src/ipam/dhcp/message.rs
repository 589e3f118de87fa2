//! Messages of DHCP as bytes.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::cidr::Cidr;
use crate::result::Route;
use std::net::{IpAddr, Ipv4Addr};

/// What every message has before its options, and what its options begin with.
const HEADER: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Relays of old times drop what is smaller.
const LEAST: usize = 300;
/// No message is larger.
const MOST: usize = 4096;

const PAD: u8 = 0;
const END: u8 = 255;
pub(super) const MASK: u8 = 1;
pub(super) const ROUTERS: u8 = 3;
pub(super) const SERVERS: u8 = 6;
pub(super) const DOMAIN: u8 = 15;
pub(super) const MTU: u8 = 26;
pub(super) const STATIC_ROUTES: u8 = 33;
pub(super) const ADDRESS: u8 = 50;
pub(super) const LEASE: u8 = 51;
const OVERLOAD: u8 = 52;
const SAY: u8 = 53;
pub(super) const SERVER: u8 = 54;
pub(super) const REQUESTED: u8 = 55;
pub(super) const LARGEST: u8 = 57;
pub(super) const T1: u8 = 58;
pub(super) const T2: u8 = 59;
pub(super) const CLIENT_ID: u8 = 61;
pub(super) const ROUTES: u8 = 121;
/// Options that the protocol itself needs; no configuration sets them.
pub(super) const OURS: [u8; 7] = [ADDRESS, LEASE, OVERLOAD, SAY, SERVER, REQUESTED, LARGEST];

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// Shorter than its header, or larger than 4 KiB.
    #[error("a message of {0} bytes")]
    Size(usize),
    /// It is neither a request nor a reply for an Ethernet.
    #[error("a message for another kind of network")]
    Kind,
    /// Its options are none of DHCP's.
    #[error("a message without options")]
    Cookie,
    /// An option ends behind the message.
    #[error("option {0} is cut off")]
    Cut(u8),
    /// It does not say what it is.
    #[error("a message of no known type")]
    Type,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// A client.
    Request,
    /// A server.
    Reply,
}

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// Who is there?
    Discover,
    /// You may have this.
    Offer,
    /// I take this.
    Request,
    /// It is used by somebody else.
    Decline,
    /// It is yours.
    Ack,
    /// It is not.
    Nak,
    /// I need it no longer.
    Release,
    /// I have an address and want to know the rest.
    Inform,
}

impl Say {
    const ALL: [Self; 8] = [
        Self::Discover,
        Self::Offer,
        Self::Request,
        Self::Decline,
        Self::Ack,
        Self::Nak,
        Self::Release,
        Self::Inform,
    ];

    fn number(self) -> u8 {
        let at = Self::ALL.iter().position(|say| *say == self).unwrap_or(0);
        u8::try_from(at).unwrap_or(0).saturating_add(1)
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub op: Op,
    /// What is said.
    pub say: Say,
    /// The transaction.
    pub xid: u32,
    /// For how many seconds the client has been asking.
    pub secs: u16,
    /// The answer must be a broadcast.
    pub broadcast: bool,
    /// The address that the client has.
    pub ciaddr: Ipv4Addr,
    /// The address that it is to have.
    pub yiaddr: Ipv4Addr,
    /// The client's hardware address.
    pub mac: [u8; 6],
    /// All other options, each code once.
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Message {
    /// A request without addresses and options.
    pub(super) fn request(say: Say, xid: u32, mac: [u8; 6]) -> Self {
        Self {
            op: Op::Request,
            say,
            xid,
            secs: 0,
            broadcast: false,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            mac,
            options: Vec::new(),
        }
    }

    /// Reads the bytes of a message.
    ///
    /// # Errors
    /// See [`BadMessage`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BadMessage> {
        let size = BadMessage::Size(bytes.len());
        if bytes.len() > MOST {
            return Err(size);
        }
        let (header, rest) = bytes.split_at_checked(HEADER).ok_or(size)?;
        let array = |at: usize| -> [u8; 4] {
            header.get(at..).and_then(|tail| tail.first_chunk()).copied().unwrap_or_default()
        };
        let op = match array(0) {
            [1, 1, 6, _] => Op::Request,
            [2, 1, 6, _] => Op::Reply,
            _ => return Err(BadMessage::Kind),
        };
        let rest = rest.strip_prefix(&COOKIE).ok_or(BadMessage::Cookie)?;
        let mut options = Vec::new();
        collect(rest, &mut options)?;
        // The fields for names may hold further options.
        let overload = find(&options, OVERLOAD).and_then(|value| value.first()).copied();
        let overload = overload.unwrap_or(0);
        if overload & 1 != 0 {
            collect(header.get(108..236).unwrap_or_default(), &mut options)?;
        }
        if overload & 2 != 0 {
            collect(header.get(44..108).unwrap_or_default(), &mut options)?;
        }
        let say = find(&options, SAY).and_then(|value| value.first()).copied();
        let say = Say::ALL.into_iter().find(|known| Some(known.number()) == say);
        options.retain(|(code, _)| *code != SAY && *code != OVERLOAD);
        let [secs_high, secs_low, flags, _] = array(8);
        let [m0, m1, m2, m3] = array(28);
        let [m4, m5, ..] = array(32);
        Ok(Self {
            op,
            say: say.ok_or(BadMessage::Type)?,
            xid: u32::from_be_bytes(array(4)),
            secs: u16::from_be_bytes([secs_high, secs_low]),
            broadcast: flags & 0x80 != 0,
            ciaddr: array(12).into(),
            yiaddr: array(16).into(),
            mac: [m0, m1, m2, m3, m4, m5],
            options,
        })
    }

    /// The bytes of the message.
    pub fn encode(&self) -> Vec<u8> {
        let op = if self.op == Op::Request { 1 } else { 2 };
        let mut bytes = vec![op, 1, 6, 0];
        bytes.extend(self.xid.to_be_bytes());
        bytes.extend(self.secs.to_be_bytes());
        bytes.extend(if self.broadcast { [0x80, 0] } else { [0, 0] });
        bytes.extend(self.ciaddr.octets());
        bytes.extend(self.yiaddr.octets());
        // The next server and the relay.
        bytes.extend([0; 8]);
        bytes.extend(self.mac);
        bytes.resize(HEADER, 0);
        bytes.extend(COOKIE);
        bytes.extend([SAY, 1, self.say.number()]);
        for (code, value) in &self.options {
            // What is longer comes in pieces (RFC 3396).
            let empty: [&[u8]; 1] = [&[]];
            let pieces = value.chunks(255).chain(empty.into_iter().filter(|_| value.is_empty()));
            for piece in pieces {
                bytes.extend([*code, u8::try_from(piece.len()).unwrap_or(u8::MAX)]);
                bytes.extend(piece);
            }
        }
        bytes.push(END);
        bytes.resize(bytes.len().max(LEAST), PAD);
        bytes
    }

    /// The value of an option.
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        find(&self.options, code)
    }

    /// A number of four bytes.
    pub(super) fn number(&self, code: u8) -> Option<u32> {
        self.option(code)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// An address.
    pub(super) fn address(&self, code: u8) -> Option<Ipv4Addr> {
        self.option(code)?.first_chunk::<4>().copied().map(Ipv4Addr::from)
    }

    /// A list of addresses.
    pub(super) fn addresses(&self, code: u8) -> Vec<Ipv4Addr> {
        let (whole, _) = self.option(code).unwrap_or_default().as_chunks::<4>();
        whole.iter().copied().map(Ipv4Addr::from).collect()
    }

    /// Text, as far as it is some.
    pub(super) fn text(&self, code: u8) -> Option<String> {
        let text = String::from_utf8_lossy(self.option(code)?).into_owned();
        let text = text.trim_matches('\0').to_owned();
        Some(text).filter(|text| !text.is_empty() && !text.contains(char::is_control))
    }

    /// The network of an address: its mask, or that of its class in old times.
    pub(super) fn prefix(&self) -> Option<u8> {
        let Some(mask) = self.number(MASK) else {
            return match self.yiaddr.octets() {
                [0..=127, ..] => Some(8),
                [128..=191, ..] => Some(16),
                _ => Some(24),
            };
        };
        let ones = mask.leading_ones();
        let whole = mask.checked_shl(ones).unwrap_or(0) == 0;
        u8::try_from(ones).ok().filter(|_| whole)
    }

    /// Routes: classless ones where there are some, which then say everything; else static ones and the first router.
    pub(super) fn routes(&self) -> Vec<Route> {
        if let Some(value) = self.option(ROUTES) {
            let mut routes = classless(value);
            // Others may lead through what is on the link.
            routes.sort_by_key(|route| route.gw.is_some());
            return routes;
        }
        let (pairs, _) = self.option(STATIC_ROUTES).unwrap_or_default().as_chunks::<8>();
        let pairs = pairs.iter().filter_map(|pair| {
            let (to, gw) = (pair.first_chunk::<4>()?, pair.last_chunk::<4>()?);
            let to = Ipv4Addr::from(*to);
            (!to.is_unspecified()).then(|| route(Cidr::host(IpAddr::V4(to)), Ipv4Addr::from(*gw)))
        });
        let mut routes: Vec<Route> = pairs.collect();
        if let Some(router) = self.address(ROUTERS) {
            routes.extend(
                Cidr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0).map(|all| route(all, router)),
            );
        }
        routes
    }
}

fn route(dst: Cidr, gw: Ipv4Addr) -> Route {
    if gw.is_unspecified() {
        // It is on the link, and not through the router.
        return Route { scope: Some(Route::ON_LINK), ..Route::new(dst, None) };
    }
    Route::new(dst, Some(IpAddr::V4(gw)))
}

/// Routes of RFC 3442: the length of a prefix, as many bytes of it as count, a gateway. What is cut off is not one.
fn classless(mut bytes: &[u8]) -> Vec<Route> {
    let mut routes = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let count = usize::from(length.div_ceil(8));
        if *length > 32 {
            break;
        }
        let Some((given, rest)) = rest.split_at_checked(count) else { break };
        let Some((gw, rest)) = rest.split_first_chunk::<4>() else { break };
        bytes = rest;
        let mut network = [0; 4];
        for (to, from) in network.iter_mut().zip(given) {
            *to = *from;
        }
        let dst = Cidr::new(IpAddr::V4(network.into()), *length).map(Cidr::network);
        routes.extend(dst.map(|dst| route(dst, Ipv4Addr::from(*gw))));
    }
    routes
}

fn find(options: &[(u8, Vec<u8>)], code: u8) -> Option<&[u8]> {
    options.iter().find(|(other, _)| *other == code).map(|(_, value)| value.as_slice())
}

/// Adds the options of one field; a code that comes again goes on where it stopped.
fn collect(mut bytes: &[u8], options: &mut Vec<(u8, Vec<u8>)>) -> Result<(), BadMessage> {
    while let Some((code, rest)) = bytes.split_first() {
        bytes = rest;
        match *code {
            PAD => continue,
            END => break,
            _ => {}
        }
        let cut = BadMessage::Cut(*code);
        let (length, rest) = bytes.split_first().ok_or(cut)?;
        let (value, rest) = rest.split_at_checked(usize::from(*length)).ok_or(cut)?;
        bytes = rest;
        match options.iter_mut().find(|(other, _)| other == code) {
            Some((_, known)) => known.extend(value),
            None => options.push((*code, value.to_vec())),
        }
    }
    Ok(())
}

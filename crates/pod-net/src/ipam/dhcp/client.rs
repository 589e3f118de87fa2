//! The client as a value: what it does when a packet or a point in time comes.

use super::message::{self, Message, Op, Say};
use crate::cidr::Cidr;
use crate::result::{AssignedIp, CniResult, Dns, Route};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// How long an answer is waited for before asking again, in seconds, each more or less by up to one; the last for ever.
pub const RETRIES: [u64; 6] = [2, 4, 8, 16, 32, 64];
/// How often an offer is asked for before looking for another.
const REQUESTS: usize = 4;
/// A lease is not asked for again more often than this.
const LEAST_RENEWAL: Duration = Duration::from_mins(1);
/// A lease for ever.
const FOREVER: u32 = u32::MAX;
/// The largest message that is accepted.
const LARGEST: u16 = 1500;

/// Who a client is for servers, and what it wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The hardware address.
    pub mac: [u8; 6],
    /// Options that every message has, the client's id among them.
    pub options: Vec<(u8, Vec<u8>)>,
    /// Options that are asked for.
    pub requested: Vec<u8>,
}

/// What a server has given. Points in time are counted as the caller counts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address in its network.
    pub address: Cidr,
    /// The first router.
    pub gateway: Option<Ipv4Addr>,
    /// Routes.
    pub routes: Vec<Route>,
    /// DNS.
    pub dns: Dns,
    /// The largest packet.
    pub mtu: Option<u32>,
    /// The server.
    pub server: Ipv4Addr,
    /// When it is to be renewed, when with any server, and when it is over; `None` is never.
    pub times: Option<[Duration; 3]>,
}

impl Lease {
    /// The lease of an acknowledgement for what was asked for at this time; `None` if it says too little.
    fn of(message: &Message, asked: Duration, server: Option<Ipv4Addr>) -> Option<Self> {
        let octets = message.yiaddr.octets();
        let usable = !message.yiaddr.is_loopback()
            && !message.yiaddr.is_multicast()
            && !message.yiaddr.is_broadcast()
            && octets.first() != Some(&0);
        let prefix = message.prefix().filter(|prefix| *prefix > 0 && usable)?;
        let seconds = message.number(message::LEASE).filter(|seconds| *seconds > 0)?;
        let whole = Duration::from_secs(u64::from(seconds));
        let time = |code, default: Duration, least: Duration| {
            let said = message.number(code).map(|s| Duration::from_secs(u64::from(s)));
            said.filter(|said| *said >= least && *said < whole).unwrap_or(default)
        };
        let first = time(message::T1, whole / 2, Duration::from_secs(1));
        let second = time(message::T2, whole / 8 * 7, first).max(first);
        let times = [first, second, whole].map(|time| asked.saturating_add(time));
        let servers = message.addresses(message::SERVERS);
        Some(Self {
            address: Cidr::new(IpAddr::V4(message.yiaddr), prefix)?,
            gateway: message.address(message::ROUTERS),
            routes: message.routes(),
            dns: Dns {
                nameservers: servers.iter().map(ToString::to_string).collect(),
                domain: message.text(message::DOMAIN),
                ..Dns::default()
            },
            mtu: message
                .option(message::MTU)
                .and_then(|value| value.try_into().ok())
                .map(|value| u32::from(u16::from_be_bytes(value)))
                // Less than every host must take is a mistake or an attack.
                .filter(|mtu| *mtu >= 576),
            server: message.address(message::SERVER).or(server)?,
            times: (seconds != FOREVER).then_some(times),
        })
    }

    /// The lease as the result of an allocator.
    pub fn result(&self) -> CniResult {
        let ip = AssignedIp {
            address: self.address,
            gateway: self.gateway.map(IpAddr::V4),
            interface: None,
        };
        CniResult {
            interfaces: Vec::new(),
            ips: vec![ip],
            routes: self.routes.clone(),
            dns: self.dns.clone(),
        }
    }
}

/// Whom a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Everybody on the link, from no address.
    Everybody,
    /// Everybody on the link, from the address of the lease.
    EverybodyFrom(Ipv4Addr),
    /// One server, from the address of the lease.
    Server {
        /// The address of the lease.
        from: Ipv4Addr,
        /// The server.
        server: Ipv4Addr,
    },
}

/// What a step came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Did {
    /// Nothing that the caller need do.
    Nothing,
    /// A message is to be sent from port 68 to port 67.
    Send(To, Vec<u8>),
    /// There is a lease, new or renewed.
    Bound(Lease),
    /// The lease is over and the address must go; the client looks for another.
    Lost,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Selecting,
    Requesting { address: Ipv4Addr, server: Ipv4Addr },
    Bound(Lease),
    Renewing(Lease),
    Rebinding(Lease),
    Released,
}

/// A client for one interface.
#[derive(Debug, Clone)]
pub struct Client {
    identity: Identity,
    state: State,
    seed: u64,
    xid: u32,
    tries: usize,
    /// When the current exchange began, and when the last message of it was sent.
    began: Duration,
    asked: Duration,
    next: Option<Duration>,
}

impl Client {
    /// A client that begins to look for a lease now; `seed` is random.
    pub fn new(identity: Identity, seed: u64, now: Duration) -> Self {
        let mut client = Self {
            identity,
            state: State::Selecting,
            seed: seed | 1,
            xid: 0,
            tries: 0,
            began: now,
            asked: now,
            next: Some(now),
        };
        client.begin(State::Selecting, now);
        client
    }

    /// When [`Self::step`] must be called next, if no packet comes before.
    pub fn deadline(&self) -> Option<Duration> {
        self.next
    }

    /// What it has.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Bound(lease) | State::Renewing(lease) | State::Rebinding(lease) => Some(lease),
            State::Selecting | State::Requesting { .. } | State::Released => None,
        }
    }

    /// Whether it waits for an answer.
    pub fn is_listening(&self) -> bool {
        !matches!(self.state, State::Bound(_) | State::Released)
    }

    /// Goes on at a point in time. It may have to be called again at once: see [`Self::deadline`].
    pub fn step(&mut self, now: Duration) -> Did {
        if self.next.is_none_or(|next| now < next) {
            return Did::Nothing;
        }
        match self.state.clone() {
            State::Selecting => self.ask(Say::Discover, now),
            State::Requesting { .. } if self.tries >= REQUESTS => {
                self.begin(State::Selecting, now);
                self.ask(Say::Discover, now)
            }
            State::Requesting { .. } => self.ask(Say::Request, now),
            State::Bound(lease) => {
                self.begin(State::Renewing(lease), now);
                self.step(now)
            }
            State::Renewing(lease) => match lease.times {
                Some([_, second, _]) if now < second => self.ask_until(second, now),
                _ => {
                    self.begin(State::Rebinding(lease), now);
                    self.step(now)
                }
            },
            State::Rebinding(lease) => match lease.times {
                Some([_, _, end]) if now < end => self.ask_until(end, now),
                _ => {
                    self.begin(State::Selecting, now);
                    Did::Lost
                }
            },
            State::Released => Did::Nothing,
        }
    }

    /// Takes a packet. What is not for this client or not expected is dropped.
    pub fn receive(&mut self, bytes: &[u8], now: Duration) -> Did {
        let Ok(message) = Message::decode(bytes) else { return Did::Nothing };
        let ours =
            message.op == Op::Reply && message.xid == self.xid && message.mac == self.identity.mac;
        if !ours {
            return Did::Nothing;
        }
        let from = message.address(message::SERVER);
        match (&self.state, message.say) {
            (State::Selecting, Say::Offer) => {
                let Some(server) = from.filter(|_| Lease::of(&message, now, from).is_some()) else {
                    return Did::Nothing;
                };
                self.state = State::Requesting { address: message.yiaddr, server };
                self.tries = 0;
                self.ask(Say::Request, now)
            }
            (State::Requesting { server, .. }, Say::Ack) if from.is_none_or(|f| f == *server) => {
                let server = *server;
                self.bind(&message, server)
            }
            (State::Renewing(lease) | State::Rebinding(lease), Say::Ack) => {
                let server = lease.server;
                self.bind(&message, server)
            }
            (State::Requesting { server, .. }, Say::Nak) if from.is_none_or(|f| f == *server) => {
                self.begin(State::Selecting, now);
                // Who says no at once would do so again at once.
                self.wait(now);
                Did::Nothing
            }
            (State::Renewing(_) | State::Rebinding(_), Say::Nak) => {
                self.begin(State::Selecting, now);
                self.wait(now);
                Did::Lost
            }
            _ => Did::Nothing,
        }
    }

    /// Gives the lease back; the message that says so, if there is anything to give back.
    pub fn release(&mut self) -> Option<(To, Vec<u8>)> {
        let lease = self.lease().cloned();
        self.state = State::Released;
        self.next = None;
        let lease = lease?;
        let IpAddr::V4(from) = lease.address.address() else { return None };
        let mut message = Message::request(Say::Release, self.random(), self.identity.mac);
        message.ciaddr = from;
        message.options.push((message::SERVER, lease.server.octets().to_vec()));
        let id = self.identity.options.iter().filter(|(code, _)| *code == message::CLIENT_ID);
        message.options.extend(id.cloned());
        Some((To::Server { from, server: lease.server }, message.encode()))
    }

    fn begin(&mut self, state: State, now: Duration) {
        self.state = state;
        self.xid = self.random();
        self.tries = 0;
        (self.began, self.asked, self.next) = (now, now, Some(now));
    }

    fn bind(&mut self, message: &Message, server: Ipv4Addr) -> Did {
        let Some(lease) = Lease::of(message, self.asked, Some(server)) else { return Did::Nothing };
        self.next = lease.times.map(|[first, ..]| first);
        self.state = State::Bound(lease.clone());
        Did::Bound(lease)
    }

    /// Asks with the next pause of the table.
    fn ask(&mut self, say: Say, now: Duration) -> Did {
        self.wait(now);
        self.said(say, now)
    }

    /// Asks, and again in half of the time that is left.
    fn ask_until(&mut self, end: Duration, now: Duration) -> Did {
        let half = end.saturating_sub(now) / 2;
        self.next = Some(now.saturating_add(half.max(LEAST_RENEWAL)).min(end));
        self.said(Say::Request, now)
    }

    fn wait(&mut self, now: Duration) {
        let seconds = RETRIES.get(self.tries).or(RETRIES.last()).copied().unwrap_or(64);
        let jitter = u64::from(self.random() % 2001);
        let pause = Duration::from_millis(seconds * 1000 - 1000 + jitter);
        self.tries = self.tries.saturating_add(1);
        self.next = Some(now.saturating_add(pause));
    }

    fn said(&mut self, say: Say, now: Duration) -> Did {
        self.asked = now;
        let mut message = Message::request(say, self.xid, self.identity.mac);
        let seconds = now.saturating_sub(self.began).as_secs();
        message.secs = u16::try_from(seconds).unwrap_or(u16::MAX);
        let own = |lease: &Lease| match lease.address.address() {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        let to = match &self.state {
            State::Requesting { address, server } => {
                message.options.push((message::ADDRESS, address.octets().to_vec()));
                message.options.push((message::SERVER, server.octets().to_vec()));
                message.broadcast = true;
                To::Everybody
            }
            State::Renewing(lease) => {
                message.ciaddr = own(lease);
                To::Server { from: message.ciaddr, server: lease.server }
            }
            State::Rebinding(lease) => {
                message.ciaddr = own(lease);
                To::EverybodyFrom(message.ciaddr)
            }
            State::Selecting | State::Bound(_) | State::Released => {
                message.broadcast = true;
                To::Everybody
            }
        };
        message.options.push((message::LARGEST, LARGEST.to_be_bytes().to_vec()));
        if !self.identity.requested.is_empty() {
            message.options.push((message::REQUESTED, self.identity.requested.clone()));
        }
        message.options.extend(self.identity.options.iter().cloned());
        Did::Send(to, message.encode())
    }

    /// A number that others cannot guess as long as they do not know the seed: splitmix64.
    fn random(&mut self) -> u32 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(0)
    }
}

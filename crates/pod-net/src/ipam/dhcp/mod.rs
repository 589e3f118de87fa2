//! A lease of a DHCP server: RFC 2131 with the options of RFC 2132 and the routes of RFC 3442.
//!
//! ```text
//!            DISCOVER           OFFER, REQUEST           ACK
//! start ───► Selecting ───────► Requesting ───────────► Bound ──T1──► Renewing ──T2──► Rebinding
//!              ▲  ▲                 │ NAK, no answer       ▲               │ ACK            │ ACK
//!              │  └─────────────────┘                      └───────────────┴────────────────┤
//!              └─── NAK, or the lease is over ──────────────────────────────────────────────┘
//! ```
//!
//! Pure: messages and points in time go in, messages and leases come out; whoever supervises the pod has the socket and the
//! clock. Packets are believed as far as their transaction and their hardware address are ours. That an address is used by
//! somebody else already is not looked for.

mod client;
pub mod datagram;
mod message;
#[cfg(test)]
mod tests;

pub use client::{Client, Did, Identity, Lease, RETRIES, To};
pub use message::{BadMessage, Message, Op, Say};

use super::{IpamError, IpamRequest};
use crate::config::{FieldError, Fields};
use appc::json::Json;

/// An option that has a name in configurations.
const NAMED: [(&str, u8); 12] = [
    ("subnet-mask", 1),
    ("routers", 3),
    ("domain-name-servers", 6),
    ("host-name", 12),
    ("domain-name", 15),
    ("interface-mtu", 26),
    ("broadcast-address", 28),
    ("static-routes", 33),
    ("vendor-class-identifier", 60),
    ("dhcp-client-identifier", 61),
    ("user-class", 77),
    ("classless-static-routes", 121),
];

/// What is asked of servers unless told otherwise: mask, routers, DNS, domain, size, static and classless routes.
const REQUESTED: [u8; 7] = [121, 1, 3, 33, 6, 15, 26];

/// The identity of an interface for servers, as the plugin `dhcp` makes it: container, network and interface.
///
/// # Errors
/// The configuration breaks a rule.
pub fn identity(request: &IpamRequest<'_>, mac: [u8; 6]) -> Result<Identity, IpamError> {
    let fields = request.ipam()?.fields;
    let text = format!("{}/{}/{}", request.container, request.network, request.ifname);
    // With the byte before it, it must fit into one option.
    let name: Vec<u8> = std::iter::once(0).chain(text.bytes().take(254)).collect();
    let mut identity =
        Identity { mac, options: vec![(message::CLIENT_ID, name)], requested: REQUESTED.to_vec() };
    let wishes = fields.objects("request")?;
    if wishes
        .iter()
        .map(|wish| wish.is_set("skipDefault"))
        .collect::<Result<Vec<_>, _>>()?
        .contains(&true)
    {
        identity.requested.clear();
    }
    for wish in &wishes {
        let Some(code) = option(wish)? else { continue };
        if !identity.requested.contains(&code) {
            identity.requested.push(code);
        }
    }
    for given in fields.objects("provide")? {
        let code = option(&given)?.ok_or_else(|| given.bad("option", "is missing"))?;
        let value = match given.text("fromArg")? {
            Some(key) => {
                let pairs = request.args.pairs()?;
                pairs.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
            }
            None => given.owned("value")?,
        };
        let Some(value) = value else { continue };
        if value.len() > 255 {
            return Err(given.bad("value", "is too long").into());
        }
        identity.options.retain(|(other, _)| *other != code);
        identity.options.push((code, value.into_bytes()));
    }
    Ok(identity)
}

/// An option by its name or its number.
fn option(fields: &Fields<'_>) -> Result<Option<u8>, FieldError> {
    let said = match fields.json().get("option") {
        Some(Json::Number(number)) => Some(number.to_string()),
        _ => fields.owned("option")?,
    };
    let Some(text) = said else { return Ok(None) };
    let named = NAMED.iter().find(|(name, _)| *name == text).map(|(_, code)| *code);
    let code = named.or_else(|| text.parse().ok()).filter(|code| (1..=254).contains(code));
    let code = code.filter(|code| !message::OURS.contains(code));
    code.map(Some).ok_or_else(|| fields.bad("option", format!("{text:?} is no option to set")))
}

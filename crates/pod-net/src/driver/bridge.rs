//! `bridge`: a cable to a bridge of the host's, which is made where it is missing and stays.

use super::pod_side::{self, Reach};
use super::{DriverError, Outcome, Place, mac_for, prefix, veth};
use crate::cidr::Cidr;
use crate::config::Plugin;
use crate::config::kinds::BridgeConfig;
use crate::forwarding;
use crate::result::{CniResult, Interface, Route};
use crate::sysctl;
use netlink::address::{self, Add, Delete, Flags};
use netlink::link::{
    self, Create, Get, Index, Kind, Name, Port, PortVlan, Record, Set, Settings, Switch,
};
use netlink::{Batch, Errno};
use std::net::IpAddr;

/// Joins a pod to a network of this type.
pub(super) fn add(
    place: &Place<'_>,
    plugin: &Plugin,
    given: &CniResult,
) -> Result<Outcome, DriverError> {
    let config = BridgeConfig::read(plugin)?;
    let odd = [
        ("macspoofchk", config.check_mac),
        ("enabledad", config.detect_duplicates),
        // The gateway would have to be an interface of that VLAN, and not the bridge.
        ("isGateway together with vlan", config.is_gateway && config.vlan.is_some()),
    ];
    super::refuse(&plugin.fields(), &odd)?;
    let given = with_gateways(given, &config);
    let name = Name::new(&config.bridge)?;
    if config.is_gateway {
        forwarding::enable(&given)?;
    }
    let bridge = ensure(place, name, &config, &given)?;
    if config.is_gateway {
        give_addresses(place, &bridge, &config, &given)?;
    }
    let veth = veth::make(place, &given, config.mtu, Some(bridge.index))?;
    set_port(place, veth.host_index, &config)?;
    pod_side::configure(place, veth.pod_index, &given, Reach::Direct)?;
    if config.keep_down {
        place.pod.one(&Set::new(veth.pod_index, Settings::new().down()))?;
    }
    let mut interfaces = vec![Interface {
        name: config.bridge.clone(),
        mac: bridge.mac.map(|mac| mac.to_string()),
        ..Interface::default()
    }];
    interfaces.extend(veth.interfaces(place));
    let result = super::result(interfaces, &given, config.dns);
    Ok(Outcome { result, gate: Some(name), masquerade: config.masquerade })
}

/// What was allocated, with the gateways and routes that the bridge adds.
fn with_gateways(given: &CniResult, config: &BridgeConfig) -> CniResult {
    let mut given = given.clone();
    for ip in &mut given.ips {
        if config.is_gateway && ip.gateway.is_none() {
            ip.gateway = Some(ip.address.gateway());
        }
    }
    if config.is_default_gateway {
        for ip in &given.ips {
            let everything = Cidr::everything(ip.address.is_ipv4());
            if !given.routes.iter().any(|route| route.dst == everything) {
                given.routes.push(Route::new(everything, ip.gateway));
            }
        }
    }
    given
}

/// The bridge, made if it is missing.
fn ensure(
    place: &Place<'_>,
    name: Name,
    config: &BridgeConfig,
    given: &CniResult,
) -> Result<Record, DriverError> {
    let bridge = match place.host.get(&Get::new(name))? {
        Some(record) => record,
        None => create(place, name, config, given)?,
    };
    if bridge.kind.as_deref() != Some("bridge") {
        return Err(DriverError::NoBridge(config.bridge.clone()));
    }
    let mut settings = Settings::new();
    if !bridge.is_up() {
        settings = settings.up();
    }
    if config.promiscuous && !bridge.is_promiscuous() {
        settings = settings.promiscuous(Switch::On);
    }
    if settings.up.is_some() || settings.promiscuous.is_some() {
        place.host.one(&Set::new(bridge.index, settings))?;
    }
    Ok(bridge)
}

fn create(
    place: &Place<'_>,
    name: Name,
    config: &BridgeConfig,
    given: &CniResult,
) -> Result<Record, DriverError> {
    let mut settings = Settings::new().up();
    if let Some(mtu) = config.mtu {
        settings = settings.mtu(mtu);
    }
    // Without an address of its own a bridge takes that of one of its ports, and changes it when that goes.
    let gateway = given.ips.iter().find_map(|ip| mac_for(ip.gateway?));
    if let Some(mac) = gateway {
        settings = settings.mac(mac);
    }
    let kind =
        link::Bridge { vlan_filtering: config.vlan.map(|_| true), ..link::Bridge::default() };
    let mut batch = Batch::new();
    // Another pod may be making it, too.
    let made = batch
        .add_unless(&Create::new(name, Kind::Bridge(kind)).settings(settings), &[Errno::EXIST]);
    let asked = batch.add(&Get::new(name));
    let replies = place.host.run(batch)?;
    if replies.get(made).is_some_and(|reply| reply.refused.is_none()) {
        sysctl::set_where_there(&format!("ipv6/conf/{}/accept_ra", name.text()), "0")?;
    }
    let found = replies.get(asked).and_then(|reply| reply.read::<Get>().ok().flatten());
    found.ok_or_else(|| DriverError::NoInterface(config.bridge.clone()))
}

/// Gives the bridge the addresses of the gateways.
fn give_addresses(
    place: &Place<'_>,
    bridge: &Record,
    config: &BridgeConfig,
    given: &CniResult,
) -> Result<(), DriverError> {
    let mut known: Option<Vec<address::Record>> = None;
    let mut batch = Batch::new();
    let mut wanted: Vec<Cidr> = Vec::new();
    for ip in &given.ips {
        let Some(gateway) = ip.gateway else { continue };
        let Some(gateway) = Cidr::new(gateway, ip.address.prefix()) else { continue };
        if wanted.contains(&gateway) {
            continue;
        }
        wanted.push(gateway);
        if known.is_none() {
            known = Some(place.host.dump(&address::All::Of(bridge.index))?);
        }
        let known = known.as_deref().unwrap_or_default();
        let own = |record: &&address::Record| record.link == bridge.index;
        let mut has = false;
        for record in known.iter().filter(own) {
            let (address, length) = (record.prefix.address, record.prefix.length);
            let Some(other) = Cidr::new(address, length) else { continue };
            has |= other == gateway;
            if other == gateway || !other.overlaps(gateway) || is_link_local(address) {
                continue;
            }
            if !config.force_address {
                return Err(DriverError::BridgeAddress {
                    bridge: config.bridge.clone(),
                    found: other.to_string(),
                    wanted: gateway.address(),
                });
            }
            let delete = Delete { link: bridge.index, prefix: record.prefix };
            batch.add_unless(&delete, &[Errno::ADDRNOTAVAIL]);
        }
        if !has {
            let add = Add::new(bridge.index, prefix(gateway)).flags(Flags::NODAD);
            batch.add_unless(&add, &[Errno::EXIST]);
        }
    }
    if !batch.is_empty() {
        place.host.run(batch)?;
    }
    Ok(())
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn set_port(place: &Place<'_>, port: Index, config: &BridgeConfig) -> Result<(), DriverError> {
    let mut batch = Batch::new();
    if config.hairpin || config.isolate_port {
        let mut settings = Port::new(port);
        settings.hairpin = Some(config.hairpin);
        settings.isolated = Some(config.isolate_port);
        batch.add(&settings);
    }
    if let Some(vlan) = config.vlan {
        batch.add(&PortVlan { index: port, vlan, untagged: true });
    }
    if !batch.is_empty() {
        place.host.run(batch)?;
    }
    Ok(())
}

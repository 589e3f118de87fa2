//! Networks: configurations, results and packets are refused or understood, and what was understood is written as
//! something that is understood as the same.

use crate::bytes::Bytes;
use pod_net::config::kinds::{
    BandwidthConfig, BridgeConfig, FirewallConfig, FlannelConfig, HostDeviceConfig, IpvlanConfig,
    MacvlanConfig, PortmapConfig, PtpConfig, TuningConfig, VlanConfig,
};
use pod_net::config::{Network, Plugin};
use pod_net::flannel::{SubnetEnv, delegate};
use pod_net::info;
use pod_net::ipam::dhcp::{Client, Did, Identity, Message, identity};
use pod_net::ipam::host_local::HostLocalConfig;
use pod_net::ipam::{IpamRequest, fixed};
use pod_net::request::{NetRequest, NetworkArgs};
use pod_net::result::{CniResult, PluginFailure};
use pod_net::version::Version;
use pod_net::wishes::Wishes;
use std::path::Path;
use std::time::Duration;

/// The first byte says which file it is.
pub(crate) fn config(data: &[u8]) {
    let mut bytes = Bytes(data);
    match bytes.byte() % 4 {
        0 => network("n.conflist", bytes.0),
        1 => {
            let _ = NetRequest::parse(&String::from_utf8_lossy(bytes.0));
        }
        2 => {
            let text = String::from_utf8_lossy(bytes.0);
            let _ = SubnetEnv::parse(Path::new("subnet.env"), &text);
        }
        _ => network("n.conf", bytes.0),
    }
}

fn network(file: &str, text: &[u8]) {
    let Ok(network) = Network::parse(Path::new(file), text) else { return };
    assert!(!network.name().as_str().contains('/') && !network.name().as_str().starts_with('.'));
    let env = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.2.1/24\nFLANNEL_MTU=1400\n\
               FLANNEL_IPMASQ=true\n";
    let env = SubnetEnv::parse(Path::new("subnet.env"), env).expect("it is one");
    for plugin in network.plugins() {
        drivers(plugin);
        allocators(&network, plugin);
        if let Ok(delegate) = delegate(&network, plugin, &env) {
            drivers(&delegate);
            allocators(&network, &delegate);
        }
    }
}

fn drivers(plugin: &Plugin) {
    assert!(!plugin.kind().as_str().contains('/') && !plugin.kind().as_str().starts_with('.'));
    let _ = PtpConfig::read(plugin);
    let _ = MacvlanConfig::read(plugin);
    let _ = IpvlanConfig::read(plugin);
    let _ = VlanConfig::read(plugin);
    let _ = HostDeviceConfig::read(plugin);
    let _ = TuningConfig::read(plugin);
    let _ = BandwidthConfig::read(plugin);
    let _ = PortmapConfig::read(plugin);
    let _ = FirewallConfig::read(plugin);
    let _ = FlannelConfig::read(plugin);
    if let Ok(bridge) = BridgeConfig::read(plugin) {
        assert!(bridge.bridge.len() < 16 && !bridge.bridge.contains('/'));
    }
}

fn allocators(network: &Network, plugin: &Plugin) {
    let (args, wishes) = (NetworkArgs::default(), Wishes::default());
    let request = IpamRequest {
        network: network.name(),
        version: network.version(),
        plugin,
        container: "c",
        ifname: "eth0",
        args: &args,
        wishes: &wishes,
    };
    let _ = fixed::add(&request);
    let _ = identity(&request, [2; 6]);
    let Ok(config) = HostLocalConfig::read(&request) else { return };
    for set in &config.sets {
        for (address, range) in set.after(None).take(8) {
            assert!(range.subnet.contains(address) && address != range.gateway);
            assert!(set.after(Some(address)).take(8).all(|(next, _)| set.range_of(next).is_some()));
        }
    }
}

/// The first byte says which version is expected.
pub(crate) fn result(data: &[u8]) {
    let mut bytes = Bytes(data);
    let version = Version::ALL[usize::from(bytes.byte()) % Version::ALL.len()];
    if let Some(failure) = PluginFailure::parse(bytes.0) {
        let _ = failure.to_string();
    }
    if let Ok(networks) = info::parse(bytes.0) {
        let text = info::write(&networks);
        let again = info::parse(text.as_bytes()).expect("it is understood");
        assert_eq!(info::write(&again), text);
    }
    let Ok(result) = CniResult::parse(bytes.0, version) else { return };
    // The latest form says everything.
    let again = CniResult::read(&result.write(Version::V1_1_0), Version::V0_1_0);
    assert_eq!(again.expect("it is understood"), result);
    for form in Version::ALL {
        CniResult::read(&result.write(form), form).expect("it is understood");
    }
}

/// A client that asks, and what comes: packets of any length, later and later. What they lack of being for the client is
/// put right, so that more than the first check is reached.
pub(crate) fn dhcp(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut now = Duration::ZERO;
    let mac = [2, 0, 0, 0, 0, 7];
    let identity = Identity { mac, options: Vec::new(), requested: vec![1, 3] };
    let mut client = Client::new(identity, u64::from(bytes.half()), now);
    let mut xid = 0;
    while !bytes.is_empty() {
        now += Duration::from_secs(u64::from(bytes.byte()) * u64::from(bytes.byte()));
        for _ in 0..8 {
            let did = client.step(now);
            if let Did::Send(_, sent) = &did {
                xid = Message::decode(sent).expect("it is understood").xid;
            }
            if client.deadline().is_none_or(|next| next > now) {
                break;
            }
        }
        let length = usize::from(bytes.half()) % 700;
        let mut packet = bytes.take(length).to_vec();
        if let Ok(message) = Message::decode(&packet) {
            let again = Message::decode(&message.encode()).expect("it is understood");
            assert_eq!(again, message);
        }
        if packet.len() > 240 {
            packet[0..4].copy_from_slice(&[2, 1, 6, 0]);
            packet[4..8].copy_from_slice(&xid.to_be_bytes());
            packet[28..34].copy_from_slice(&mac);
            packet[236..240].copy_from_slice(&[99, 130, 83, 99]);
        }
        if let Did::Bound(lease) = client.receive(&packet, now) {
            assert!(lease.address.is_ipv4() && client.lease() == Some(&lease));
            if let Some([first, second, end]) = lease.times {
                assert!(first <= second && second <= end);
            }
        }
    }
    let _ = client.release();
    assert!(client.deadline().is_none());
}

//! A pod joins its networks.
//!
//! ```text
//! records first:   netns, net/FILE (a copy of each configuration), net-info.json (which, as what)
//! then:            the namespace ─► each network in the order of files: ADD of each of its plugins
//!                  ─► rules of the host: addresses hidden, ports forwarded, packets let through
//! at last:         net-info.json once more, with addresses
//! ```
//!
//! Invariant: whatever is made has its record before, and [`leave`](crate::teardown::leave) finds everything by the records
//! and by the pod's UUID alone. A failure is followed by leaving what was joined.

use crate::attach::{self, AttachError, Hand, Hands, Joined};
use crate::config::{LoadError, Networks, SelectError, Selected};
use crate::driver::Driver;
use crate::driver::Place;
use crate::firewall::{self, FirewallError};
use crate::info::{self, NetInfo};
use crate::lease::Leases;
use crate::name::NetworkName;
use crate::namespace::{self, PodNamespace};
use crate::nat::{self, NatError};
use crate::ports::Forward;
use crate::request::NetRequest;
use crate::result::CniResult;
use crate::teardown::{self, Depth};
use crate::wishes::{PortMapping, Wishes};
use crate::{resolv, sysctl};
use appc::PodUuid;
use appc::json::Json;
use netlink::link::{BadName, Index, Name, Set, Settings};
use netlink::{RequestError, Socket};
use stage1_abi::{PodDir, PodDirError};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::path::Path;
use sys::path::PathError;

/// Where the path of the namespace stands in a pod's folder.
pub(crate) const NETNS: &str = "netns";
/// No pod joins more networks.
const MOST: usize = 64;

/// What a pod lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habitat {
    /// Namespaces: its apps use the interfaces that are made.
    Namespaces,
    /// A virtual machine: interfaces on one of the host's are made so that a machine can read them.
    Machine,
}

/// A pod that is to join networks.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Its UUID.
    pub uuid: &'a str,
    /// The same, checked.
    pub pod_uuid: &'a PodUuid,
    /// Which networks.
    pub request: &'a NetRequest,
    /// The administrator's configuration directory.
    pub local_config: &'a Path,
    /// The root of the stage1, which may have plugins.
    pub stage1_root: &'a Path,
    /// The pod's folder.
    pub dir: &'a PodDir,
    /// Ports of the host that shall lead to it.
    pub forwards: &'a [Forward],
    /// What it lives in.
    pub habitat: Habitat,
    /// The pods beside it.
    pub beside: Beside<'a>,
}

/// The pods of the same data folder. One that was killed has what it had until gc comes, which may be long, and whoever
/// needs it meanwhile has it leave.
#[derive(Debug, Clone, Copy)]
pub struct Beside<'a> {
    dir: &'a PodDir,
    leave: fn(&PodDir, &str) -> bool,
}

impl<'a> Beside<'a> {
    /// The folders, in that of pods, of those that may have networks. A pod only moves forward.
    pub const FOLDERS: [&'static str; 2] = ["run", "exited-garbage"];

    /// Those beside the pod of a folder. `leave` is given that and the UUID of another: if it is one of them and over, it
    /// leaves its networks, and `true` is returned.
    pub fn new(dir: &'a PodDir, leave: fn(&PodDir, &str) -> bool) -> Self {
        Self { dir, leave }
    }

    /// The bridges that take packets of loopback addresses for the sake of any of them, by their records.
    pub(crate) fn opened(self) -> Vec<String> {
        let Some(pods) = self.dir.pods() else { return Vec::new() };
        let folders = Self::FOLDERS.map(|name| std::fs::read_dir(pods.join(name)));
        let pods = folders.into_iter().flatten().flatten().flatten();
        // Who cannot be read now has been deleted, and so has left.
        let dirs = pods.filter_map(|entry| PodDir::open(entry.path()).ok());
        let infos = dirs.filter_map(|dir| info::load(&dir).ok().flatten()).flatten();
        infos.filter_map(|info| info.opened).collect()
    }

    /// Has each of these leave that is over; whether one has.
    pub(crate) fn have_left<'b>(self, uuids: impl IntoIterator<Item = &'b str>) -> bool {
        let mut uuids: Vec<&str> = uuids.into_iter().collect();
        uuids.sort_unstable();
        uuids.dedup();
        // Every one of them, not the first.
        uuids.into_iter().filter(|uuid| (self.leave)(self.dir, uuid)).count() > 0
    }
}

/// Why a pod could not join its networks.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The configuration of networks cannot be read.
    #[error("cannot read the configuration of networks")]
    Load(#[from] LoadError),
    /// They are not there.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// More than anybody needs.
    #[error("a pod can join 64 networks at most")]
    TooMany,
    /// A file of the pod.
    #[error(transparent)]
    Dir(#[from] PodDirError),
    /// The namespace, or a setting in it.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The namespace cannot be entered.
    #[error("cannot enter the pod's network namespace")]
    Enter(#[source] io::Error),
    /// The kernel refused a request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// No name for an interface.
    #[error(transparent)]
    Name(#[from] BadName),
    /// One of the networks.
    #[error("network {:?}", name.as_str())]
    Network {
        /// Which.
        name: NetworkName,
        /// Why not.
        #[source]
        cause: AttachError,
    },
    /// Ports have nowhere to lead.
    #[error("ports cannot be forwarded: no network gave the pod an address")]
    NoAddress,
    /// A port has nowhere to lead.
    #[error(
        "port {port} of {from} cannot be forwarded: the network gave the pod no address of that version of IP"
    )]
    OtherVersion {
        /// The port of the host.
        port: u16,
        /// The address of the host.
        from: IpAddr,
    },
    /// Rules that hide addresses and forward ports.
    #[error("cannot set the rules of the pod's network")]
    Nat(#[from] NatError),
    /// Rules that let packets pass.
    #[error("cannot let the pod's packets pass")]
    Firewall(#[from] FirewallError),
}

/// The networks of a pod that runs.
#[derive(Debug)]
pub struct PodNetworks {
    namespace: PodNamespace,
    joined: Vec<Joined>,
}

impl PodNetworks {
    /// The pod's network namespace.
    pub fn namespace(&self) -> &PodNamespace {
        &self.namespace
    }

    /// What `/etc/resolv.conf` of the apps shall say, if a network knows.
    pub fn resolv_conf(&self) -> Option<String> {
        let all = self.joined.iter().map(|joined| (&joined.name, &joined.result.dns));
        let written = resolv::write(all)?;
        for network in written.passed_over {
            log::warn!(
                "networking: DNS of network \"{network}\" is not used: another network has some, too"
            );
        }
        Some(written.text)
    }

    /// The names of its interfaces, in the order of its networks.
    pub fn interfaces(&self) -> Vec<String> {
        let has = self.namespace.has();
        // Older plugins do not say what they made, and some make nothing: what is there counts.
        (0..self.joined.len()).map(interface).filter(|name| has(name)).collect()
    }

    /// The settings that the namespace was given: paths below `/proc/sys` and values, in order. Where the pod has
    /// a kernel of its own, they are not in force there yet.
    pub fn settings(&self) -> Vec<(String, String)> {
        self.joined.iter().flat_map(|joined| joined.settings.iter().cloned()).collect()
    }

    /// The leases of its addresses, which somebody must tend from now on.
    pub fn leases(&mut self) -> Leases {
        Leases::new(self.joined.iter_mut().filter_map(|joined| joined.lease.take()))
    }

    /// What each network came to.
    pub fn joined(&self) -> &[Joined] {
        &self.joined
    }
}

/// Makes a network namespace with a loopback interface that is up and nothing else, for a pod without networks that others
/// shall find by its name.
///
/// # Errors
/// See [`JoinError`]; nothing is left.
fn namespace(uuid: &str) -> Result<(PodNamespace, Socket), JoinError> {
    let namespace = PodNamespace::make(uuid)?;
    let socket = sys::namespace::inside_network(namespace.as_fd(), || {
        // Pods are hosts, and believe no router that speaks up on a network they share with others.
        sysctl::set_where_there("ipv6/conf/default/accept_ra", "0")?;
        sysctl::set_where_there("ipv6/conf/all/accept_ra", "0")?;
        Ok::<Socket, JoinError>(Socket::route()?)
    });
    let socket = socket.map_err(JoinError::Enter)??;
    Ok((namespace, socket))
}

/// A pod whose namespace is there, so that the pod can move in, and which is yet to join its networks.
#[derive(Debug)]
pub struct Joining {
    selected: Vec<Selected>,
    namespace: PodNamespace,
    pod: Socket,
}

/// Has a pod join its networks.
///
/// # Errors
/// See [`JoinError`]; nothing is left.
pub fn join(wanted: &Wanted<'_>) -> Result<PodNetworks, JoinError> {
    begin(wanted)?.finish(wanted)
}

/// Makes what a pod needs before it can join its networks.
///
/// # Errors
/// See [`JoinError`]; nothing is left.
pub fn begin(wanted: &Wanted<'_>) -> Result<Joining, JoinError> {
    let networks = Networks::load(&wanted.local_config.join("net.d"))?;
    let (selected, warnings) = networks.select(wanted.request)?;
    for warning in warnings {
        log::warn!("networking: {}", sys::cause::chain(&warning));
    }
    if selected.len() > MOST {
        return Err(JoinError::TooMany);
    }
    let _nobody_collects = crate::collect::hold_off(wanted.dir, &selected)?;
    record(wanted, &selected)?;
    match namespace(wanted.uuid) {
        Ok((namespace, pod)) => Ok(Joining { selected, namespace, pod }),
        Err(error) => {
            give_up(wanted);
            Err(error)
        }
    }
}

/// Undoes what there is of a pod's networks: the first cause is what is told.
fn give_up(wanted: &Wanted<'_>) {
    for error in teardown::leave(&teardown::Pod::of(wanted), Depth::Everything) {
        log::warn!("networking: {}", sys::cause::chain(&error));
    }
}

impl Joining {
    /// The pod's network namespace.
    pub fn namespace(&self) -> &PodNamespace {
        &self.namespace
    }

    /// Whether it is certain already that no network says where names are looked up.
    pub fn is_silent_about_names(&self, wanted: &Wanted<'_>) -> bool {
        let hands = Hands::new(wanted);
        let plugins = self.selected.iter().flat_map(|selected| selected.network.plugins());
        let mut silent = plugins.map(|plugin| {
            let ours =
                matches!(hands.of(plugin), Hand::Driver(driver) if driver != Driver::Flannel);
            let Ok(ipam) = plugin.ipam() else { return false };
            let allocated = ipam.is_none_or(|ipam| {
                ipam.kind.as_str() == "host-local" && !hands.overrides(&ipam.kind)
            });
            let says = |json: &Json| json.get("dns").is_some() || json.get("resolvConf").is_some();
            let ipam_says = plugin.json().get("ipam").is_some_and(says);
            ours && allocated && !says(plugin.json()) && !ipam_says
        });
        silent.all(|silent| silent)
    }

    /// Joins them.
    ///
    /// # Errors
    /// See [`JoinError`]; nothing is left.
    pub fn finish(self, wanted: &Wanted<'_>) -> Result<PodNetworks, JoinError> {
        let joined = try_join(wanted, self);
        if joined.is_err() {
            give_up(wanted);
        }
        joined
    }
}

/// Says in the pod's folder what is about to be.
fn record(wanted: &Wanted<'_>, selected: &[Selected]) -> Result<(), JoinError> {
    let path = namespace::path_of(wanted.uuid);
    wanted.dir.write(NETNS, path.as_os_str().as_encoded_bytes())?;
    if selected.is_empty() {
        return Ok(());
    }
    wanted.dir.ensure_dir(info::FOLDER, 0o750)?;
    let mut infos = Vec::with_capacity(selected.len());
    for (number, selected) in selected.iter().enumerate() {
        wanted.dir.write(&info::config_path(&selected.network), selected.network.text())?;
        infos.push(described(number, selected));
    }
    Ok(info::save(wanted.dir, &infos)?)
}

/// What the interface of a network is called in the pod.
pub(crate) fn interface(number: usize) -> String {
    format!("eth{number}")
}

fn try_join(wanted: &Wanted<'_>, joining: Joining) -> Result<PodNetworks, JoinError> {
    let Joining { selected, namespace, pod } = joining;
    let host = Socket::route()?;
    pod.one(&Set::new(Index::LOOPBACK, Settings::new().up()))?;
    let mut hands = Hands::new(wanted);
    let wishes = Wishes {
        ports: wanted.forwards.iter().map(PortMapping::from).collect(),
        ..Wishes::default()
    };
    let mut joined: Vec<Joined> = Vec::with_capacity(selected.len());
    for (number, selected) in selected.iter().enumerate() {
        let name = selected.network.name();
        let interface = interface(number);
        // Whoever has allocated addresses says what is wrong with arguments.
        let mac = selected.args.mac().ok().flatten();
        let wishes = Wishes { mac, ..wishes.clone() };
        let place = Place {
            uuid: wanted.uuid,
            pod_uuid: wanted.pod_uuid,
            network: name,
            interface: Name::new(&interface)?,
            interface_text: &interface,
            number,
            host: &host,
            pod: &pod,
            namespace: &namespace,
            wishes: &wishes,
            habitat: wanted.habitat,
            beside: wanted.beside,
        };
        let one = attach::join(&mut hands, &place, selected)
            .map_err(|cause| JoinError::Network { name: name.clone(), cause })?;
        joined.push(one);
    }
    let rules = add_rules(wanted, &host, &joined)?;
    let opened = rules.as_ref().map(|rules| &*rules.opened).unwrap_or_default();
    if !joined.is_empty() {
        let infos = selected.iter().zip(&joined).enumerate().map(|(number, (selected, joined))| {
            let result = &joined.result;
            NetInfo {
                plugin: joined.plugin_path.clone(),
                ipv4: result.ipv4().map(|ip| ip.address),
                ipv6: result.ipv6().map(|ip| ip.address),
                result: joined.has_programs.then(|| result.clone()),
                opened: joined
                    .gate
                    .filter(|gate| opened.contains(gate))
                    .map(|gate| gate.text().into()),
                ..described(number, selected)
            }
        });
        info::save(wanted.dir, &infos.collect::<Vec<_>>())?;
    }
    // Not before it is on record what must be undone.
    if let Some(rules) = rules {
        let_through(wanted, rules, &joined)?;
    }
    Ok(PodNetworks { namespace, joined })
}

/// What is known of a network before it is joined.
fn described(number: usize, selected: &Selected) -> NetInfo {
    NetInfo {
        name: selected.network.name().to_string(),
        config: info::config_path(&selected.network),
        ifname: interface(number),
        args: selected.args.as_str().to_owned(),
        cni_path: std::env::var(attach::CNI_PATH).unwrap_or_default(),
        ..NetInfo::default()
    }
}

/// Rules of the host that are there, and what they need to be of use.
struct Ruled {
    netfilter: Socket,
    /// Settings by which interfaces take packets of loopback addresses.
    local: Vec<String>,
    /// Bridges that are to do so for the sake of pods alone.
    opened: Vec<Name>,
}

/// The rules of the host for all networks of a pod; `None` if there are none.
fn add_rules(
    wanted: &Wanted<'_>,
    host: &Socket,
    joined: &[Joined],
) -> Result<Option<Ruled>, JoinError> {
    let forwarding = forwarding_networks(joined);
    let by_plugin = joined.iter().any(|joined| joined.forwards == attach::Forwards::Plugin);
    if !by_plugin {
        let to: Vec<IpAddr> = forwarding.iter().flat_map(|one| addresses(&one.result)).collect();
        check_forwards(wanted.forwards, &to)?;
    }
    let mut rules = nat::Rules::new(wanted.uuid);
    for one in joined {
        if one.masquerade || (one.gate.is_some() && !wanted.forwards.is_empty()) {
            rules.hide(&one.result.ips, one.masquerade);
        }
    }
    let mut local = Vec::new();
    for one in forwarding {
        rules.forward(wanted.forwards, &one.result);
        // There is no such setting for the addresses of IPv6, nor a guard where there are no others.
        let is_reached = !wanted.forwards.is_empty() && one.result.ipv4().is_some();
        if let Some(gate) = one.gate.filter(|_| is_reached) {
            // What the host sends to its own loopback addresses may go out there.
            local.push(nat::local_setting(&gate.text()));
            if one.driver == Some(Driver::Bridge) {
                rules.gate(gate);
            }
        }
    }
    if rules.is_empty() && joined.iter().all(|joined| joined.gate.is_none()) {
        return Ok(None);
    }
    let netfilter = Socket::netfilter()?;
    let opened = if rules.is_empty() {
        Vec::new()
    } else {
        nat::add(&netfilter, host, &rules, wanted.beside)?
    };
    Ok(Some(Ruled { netfilter, local, opened }))
}

/// Lets packets of the pod pass, now that there is what keeps others out.
fn let_through(wanted: &Wanted<'_>, rules: Ruled, joined: &[Joined]) -> Result<(), JoinError> {
    let socket = rules.netfilter;
    for setting in rules.local {
        sysctl::set(&setting, "1")?;
    }
    let ours = joined.iter().filter(|joined| joined.gate.is_some());
    let addresses: Vec<IpAddr> = ours.flat_map(|one| addresses(&one.result)).collect();
    for warning in firewall::admit(&socket, wanted.uuid, &addresses)? {
        log::warn!("networking: {warning}");
    }
    // Another pod may be leaving.
    socket.close_behind();
    Ok(())
}

/// Whether each port has an address of the pod's to lead to. What comes to an address of one version of IP can go to none of
/// the other.
fn check_forwards(forwards: &[Forward], to: &[IpAddr]) -> Result<(), JoinError> {
    if !forwards.is_empty() && to.is_empty() {
        return Err(JoinError::NoAddress);
    }
    for forward in forwards {
        let Some(from) = forward.host_ip else { continue };
        if !to.iter().any(|to| to.is_ipv4() == from.is_ipv4()) {
            return Err(JoinError::OtherVersion { port: forward.host_port, from });
        }
    }
    Ok(())
}

fn addresses(result: &CniResult) -> impl Iterator<Item = IpAddr> {
    result.ips.iter().map(|ip| ip.address.address())
}

/// The networks through which forwarded ports are reached: those that have a plugin for it, or the first that hides
/// addresses, or the last.
fn forwarding_networks(joined: &[Joined]) -> Vec<&Joined> {
    let own: Vec<&Joined> =
        joined.iter().filter(|joined| joined.forwards == attach::Forwards::Ours).collect();
    if !own.is_empty() || joined.iter().any(|joined| joined.forwards == attach::Forwards::Plugin) {
        return own;
    }
    let first = joined.iter().find(|joined| joined.masquerade);
    first.or(joined.last()).into_iter().collect()
}

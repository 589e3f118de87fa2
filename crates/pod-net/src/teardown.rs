//! A pod leaves its networks: at its end, and once more when it is collected.
//!
//! Everything is found by the records in the pod's folder and by its UUID, so that it does not matter how far joining got,
//! nor who leaves, nor how often. Interfaces in the pod's namespace go with it, behind us: nobody waits for the kernel to
//! take an interface apart, but for gc, which must be sure.

use crate::allocate;
use crate::attach::{Hand, Hands};
use crate::config::Plugin;
use crate::config::kinds::FlannelConfig;
use crate::driver::{self, Driver, DriverError, Leaving};
use crate::firewall::{self, FirewallError};
use crate::flannel;
use crate::info::{self, InfoError, NetInfo};
use crate::namespace::{self, PodNamespace};
use crate::nat::{self, NatError};
use crate::plugin::{Attachment, Call, PluginError};
use crate::request::NetworkArgs;
use crate::saved::{self, SavedError};
use crate::setup::{NETNS, Wanted};
use crate::sysctl;
use appc::PodUuid;
use netlink::address::{self, Flags, Prefix};
use netlink::link::{All, BadName, Delete, Get, Name};
use netlink::{Batch, Errno, RequestError, Socket};
use stage1_abi::{PodDir, PodDirError};
use std::os::fd::AsFd as _;
use std::path::Path;
use sys::path::PathError;

/// How much is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What a pod that has lived has of its own.
    Own,
    /// Also what the kernel has not taken apart yet, or what somebody keeps alive.
    Everything,
}

/// A pod that leaves.
#[derive(Debug)]
pub struct Pod<'a> {
    /// Its UUID.
    pub uuid: &'a str,
    /// The administrator's configuration directory.
    pub local_config: &'a Path,
    /// The root of the stage1, which may have plugins.
    pub stage1_root: &'a Path,
    /// The pod's folder.
    pub dir: &'a PodDir,
}

impl<'a> Pod<'a> {
    pub(crate) fn of(wanted: &Wanted<'a>) -> Self {
        Self {
            uuid: wanted.uuid,
            local_config: wanted.local_config,
            stage1_root: wanted.stage1_root,
            dir: wanted.dir,
        }
    }
}

/// Something that could not be undone.
#[derive(Debug, thiserror::Error)]
pub enum LeaveError {
    /// A file of the pod.
    #[error(transparent)]
    Dir(#[from] PodDirError),
    /// The record of its networks.
    #[error(transparent)]
    Info(#[from] InfoError),
    /// The namespace, or a file.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The kernel refused a request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// No name for an interface.
    #[error(transparent)]
    Name(#[from] BadName),
    /// The copy of a configuration.
    #[error("cannot leave network {name:?}")]
    Config {
        /// The network.
        name: String,
        /// Why not.
        #[source]
        cause: SavedError,
    },
    /// A program.
    #[error("cannot leave network {name:?}")]
    Plugin {
        /// The network.
        name: String,
        /// Why not.
        #[source]
        cause: PluginError,
    },
    /// A driver.
    #[error("cannot leave network {name:?}")]
    Driver {
        /// The network.
        name: String,
        /// Why not.
        #[source]
        cause: DriverError,
    },
    /// The allocator.
    #[error("cannot release the addresses in network {name:?}")]
    Release {
        /// The network.
        name: String,
        /// Why not.
        #[source]
        cause: allocate::AllocateError,
    },
    /// Rules that hide addresses and forward ports.
    #[error("cannot remove the rules of the pod's network")]
    Nat(#[from] NatError),
    /// Rules that let packets pass.
    #[error("cannot remove what let the pod's packets pass")]
    Firewall(#[from] FirewallError),
}

/// Undoes everything, whatever of it fails; the failures in their order.
pub fn leave(pod: &Pod<'_>, depth: Depth) -> Vec<LeaveError> {
    let mut failures = Vec::new();
    let mut note = |result: Result<(), LeaveError>| failures.extend(result.err());
    let named = match pod.dir.read_text(NETNS) {
        Ok(named) => named,
        Err(error) => {
            note(Err(error.into()));
            None
        }
    };
    // A pod without networks of rkt's has no record.
    if named.is_none() {
        return failures;
    }
    // The path follows from the UUID; what stands in the file is for others to read.
    let path = namespace::path_of(pod.uuid);
    let namespace = PodNamespace::open(&path).ok();
    let mut infos = match info::load(pod.dir) {
        Ok(infos) => infos.unwrap_or_default(),
        Err(error) => {
            note(Err(error.into()));
            Vec::new()
        }
    };
    // Ports first: nobody shall be led to an address that somebody else may have next.
    match Socket::netfilter() {
        Ok(socket) => {
            note(close(pod, &socket, &mut infos));
            note(firewall::dismiss(&socket, pod.uuid).map_err(LeaveError::from));
            socket.close_behind();
        }
        Err(error) => note(Err(error.into())),
    }
    for info in infos.iter().rev() {
        for result in leave_one(pod, info, namespace.as_ref()) {
            note(result);
        }
    }
    drop(namespace);
    note(namespace::remove(&path).map_err(LeaveError::from));
    if depth == Depth::Everything {
        note(delete_links(pod.uuid));
    }
    failures
}

/// Removes rules, and has bridges take no packets of loopback addresses any more if this pod was the last to need it: once,
/// since whoever collects the pod later may come after an administrator who wants it so.
fn close(pod: &Pod<'_>, socket: &Socket, infos: &mut [NetInfo]) -> Result<(), LeaveError> {
    let opened: Vec<String> = infos.iter().filter_map(|info| info.opened.clone()).collect();
    nat::remove(socket, pod.uuid, &opened)?;
    if opened.is_empty() {
        return Ok(());
    }
    for info in infos.iter_mut() {
        info.opened = None;
    }
    Ok(info::save(pod.dir, infos)?)
}

/// Leaves one network: every plugin in reverse, whatever fails.
fn leave_one(
    pod: &Pod<'_>,
    info: &NetInfo,
    namespace: Option<&PodNamespace>,
) -> Vec<Result<(), LeaveError>> {
    match try_leave_one(pod, info, namespace) {
        Ok(results) => results,
        Err(error) => vec![Err(error)],
    }
}

fn try_leave_one(
    pod: &Pod<'_>,
    info: &NetInfo,
    namespace: Option<&PodNamespace>,
) -> Result<Vec<Result<(), LeaveError>>, LeaveError> {
    let name = || info.name.clone();
    let number = info.ifname.strip_prefix("eth").and_then(|number| number.parse().ok());
    let saved = saved::network(pod.dir, info);
    let saved = saved.map_err(|cause| LeaveError::Config { name: name(), cause })?;
    let Some(network) = saved else { return Ok(Vec::new()) };
    let wishes = saved::wishes(pod.dir);
    let host = Socket::route()?;
    let home = sys::namespace::network()
        .map_err(|e| PathError::new("open", "/proc/thread-self/ns/net", e))?;
    let leaving = Leaving {
        uuid: pod.uuid,
        interface: Name::new(&info.ifname)?,
        number: number.unwrap_or(0),
        host: &host,
        home: home.as_fd(),
        namespace,
    };
    if let Some(namespace) = namespace
        && let Err(error) = give_back(info, namespace)
    {
        log::debug!("networking: {}: {}", info.name, sys::cause::chain(&error));
    }
    let mut hands = Hands::again(pod, info);
    let uuid = PodUuid::parse(pod.uuid).ok();
    let args = NetworkArgs::new(info.args.clone());
    let mut results = Vec::new();
    for plugin in network.plugins().iter().rev() {
        let flannel = match hands.of(plugin) {
            Hand::Driver(Driver::Flannel) => FlannelConfig::read(plugin).ok().zip(uuid),
            _ => None,
        };
        let before = results.len();
        let kept = saved::stood_for(&hands, plugin, pod.uuid);
        let plugin: &Plugin = kept.as_ref().unwrap_or(plugin);
        match hands.of(plugin) {
            Hand::Driver(driver) => {
                let done = driver::unmake(driver, &leaving, plugin);
                results.push(done.map_err(|cause| LeaveError::Driver { name: name(), cause }));
                if driver.makes_an_interface() {
                    let done = allocate::release(&mut hands, &leaving, info, &network, plugin);
                    results.push(done.map_err(|cause| LeaveError::Release { name: name(), cause }));
                }
            }
            Hand::Program => {
                let call = Call {
                    network: &network,
                    plugin,
                    attachment: Attachment {
                        container: pod.uuid,
                        netns: namespace.map(PodNamespace::path),
                        ifname: &info.ifname,
                        args: &args,
                        netns_override: false,
                    },
                    before: info.result.as_ref(),
                    wishes: &wishes,
                };
                let done = hands.runner.del(&call);
                results.push(done.map_err(|cause| LeaveError::Plugin { name: name(), cause }));
            }
        }
        // What has failed is tried again, for which it must be known what flannel stood for.
        let left = results.iter().skip(before).all(Result::is_ok);
        if let Some((config, uuid)) = flannel.filter(|_| left) {
            results.push(flannel::forget(&config.data_dir, &uuid).map_err(LeaveError::from));
        }
    }
    Ok(results)
}

/// Gives an interface back the addresses that programs gave it, which a machine has had in its place: it is by them that some
/// find the rules they made.
fn give_back(info: &NetInfo, namespace: &PodNamespace) -> Result<(), LeaveError> {
    let Some(result) = &info.result else { return Ok(()) };
    let setting = format!("ipv6/conf/{}/disable_ipv6", info.ifname);
    let enter = |error| PathError::new("enter", namespace.path(), error);
    let socket = sys::namespace::inside_network(namespace.as_fd(), || {
        sysctl::set_where_there(&setting, "0")?;
        Ok::<_, LeaveError>(Socket::route()?)
    });
    let socket = socket.map_err(enter)??;
    let Some(link) = socket.get(&Get::new(Name::new(&info.ifname)?))? else { return Ok(()) };
    let mut batch = Batch::new();
    for ip in &result.ips {
        let prefix = Prefix::new(ip.address.address(), ip.address.prefix());
        let add = address::Add::new(link.index, prefix).flags(Flags::NODAD | Flags::NOPREFIXROUTE);
        batch.add_unless(&add, &[Errno::EXIST, Errno::ACCESS, Errno::OPNOTSUPP]);
    }
    if !batch.is_empty() {
        socket.run(batch)?;
    }
    Ok(())
}

/// Deletes the interfaces on the host that say they belong to this pod, should they still be there.
fn delete_links(uuid: &str) -> Result<(), LeaveError> {
    let host = Socket::route()?;
    let mark = crate::mark(uuid);
    let mut batch = Batch::new();
    for link in host.dump(&All)? {
        // Who was killed right after making it has not marked it yet.
        let fresh = || link.alias.is_none() && driver::is_host_name(&link.name.text(), uuid);
        if link.alias.as_deref() == Some(&*mark) || fresh() {
            batch.add_unless(&Delete::new(link.index), &[Errno::NODEV]);
        }
    }
    if !batch.is_empty() {
        host.run(batch)?;
    }
    Ok(())
}

//! Addresses of ranges, each noted as a file; by the rules of the plugin `host-local`, with which the folder is shared.
//!
//! ```text
//! /var/lib/cni/networks/NAME/     or below `dataDir`
//!   lock                  flock, exclusive while any other file is looked at or changed
//!   10.1.2.3              a taken address: CONTAINERID CR LF IFNAME
//!   last_reserved_ip.N    the address that was last given of range set N: the search goes on behind it
//!   .reserving            an address file that is being made
//! ```
//!
//! An address file appears whole, by a link, under the lock; an empty one is what a plugin that was killed has left, and is
//! taken over. Which address comes next is decided in [`ranges`], without files.

pub mod ranges;
mod store;
#[cfg(test)]
mod tests;

pub use store::{Lease, Owner, Store};

use super::{IpamError, IpamRequest};
use crate::cidr::Cidr;
use crate::config::kinds::folder;
use crate::config::{FieldError, Fields};
use crate::result::{AssignedIp, CniResult, Dns, Route};
use crate::version::Version;
use ranges::RangeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Where addresses are noted unless told otherwise.
const DATA: &str = "/var/lib/cni/networks";

/// What the allocator of a network is configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLocalConfig {
    /// The folder of the network's addresses.
    pub folder: PathBuf,
    /// One address of each is given.
    pub sets: Vec<RangeSet>,
    /// Routes for the pod.
    pub routes: Vec<Route>,
    /// A file like resolv.conf that says the pod's DNS.
    pub resolv_conf: Option<PathBuf>,
}

impl HostLocalConfig {
    /// Reads the configuration.
    ///
    /// # Errors
    /// See [`IpamError`].
    pub fn read(request: &IpamRequest<'_>) -> Result<Self, IpamError> {
        let fields = request.ipam()?.fields;
        let mut sets = Vec::new();
        if let Some(wished) = &request.wishes.ip_ranges
            && request.plugin.is_capable("ipRanges")
        {
            let wish = appc::json::Json::object([("ranges", wished.clone())]);
            sets.extend(ranges::read_sets(&Fields::new(&wish, Path::new("ipRanges")))?);
        }
        if fields.text("subnet")?.is_some() {
            sets.push(RangeSet::new(vec![ranges::read_range(&fields)?], &fields)?);
        }
        sets.extend(ranges::read_sets(&fields)?);
        check_sets(&sets, request.version, &fields)?;
        let routes = fields.objects("routes")?;
        let resolv_conf = match fields.text("resolvConf")? {
            None => None,
            Some(_) => Some(folder(&fields, "resolvConf", "")?),
        };
        Ok(Self {
            folder: data_folder(request)?,
            sets,
            routes: routes.iter().map(crate::result::route).collect::<Result<_, _>>()?,
            resolv_conf,
        })
    }
}

/// The folder of a network's addresses.
fn data_folder(request: &IpamRequest<'_>) -> Result<PathBuf, IpamError> {
    let data = folder(&request.ipam()?.fields, "dataDir", DATA)?;
    // The name is plain: it cannot lead elsewhere.
    Ok(data.join(request.network.as_str()))
}

fn check_sets(sets: &[RangeSet], version: Version, fields: &Fields<'_>) -> Result<(), FieldError> {
    if sets.is_empty() {
        return Err(fields.bad("ranges", "no IP ranges specified"));
    }
    for (at, set) in sets.iter().enumerate() {
        if let Some(other) = sets.iter().take(at).position(|other| set.overlaps(other)) {
            return Err(fields.bad("ranges", format!("range set {at} overlaps with {other}")));
        }
    }
    let count = |v4: bool| sets.iter().filter(|set| set.is_ipv4() == v4).count();
    if version <= Version::V0_2_0 && (count(true) > 1 || count(false) > 1) {
        let problem = format!("CNI version {version} knows one address per family");
        return Err(fields.bad("ranges", problem));
    }
    Ok(())
}

/// Takes an address of each range set.
///
/// # Errors
/// See [`IpamError`]; nothing is taken then.
pub fn add(request: &IpamRequest<'_>) -> Result<CniResult, IpamError> {
    let config = HostLocalConfig::read(request)?;
    let wanted = request.wanted()?;
    let mut wanted: Vec<IpAddr> = [wanted.argued, wanted.configured, wanted.wished]
        .into_iter()
        .flatten()
        .map(|ip| ip.address)
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let dns = match &config.resolv_conf {
        Some(path) => crate::resolv::read(path)?,
        None => Dns::default(),
    };
    let store = Store::open(&config.folder)?;
    let mut ips = Vec::new();
    let outcome = take_all(request, &config, &store, &mut wanted, &mut ips);
    if let Err(error) = outcome {
        for AssignedIp { address, .. } in &ips {
            store.remove(address.address())?;
        }
        return Err(error);
    }
    Ok(CniResult { interfaces: Vec::new(), ips, routes: config.routes, dns })
}

fn take_all(
    request: &IpamRequest<'_>,
    config: &HostLocalConfig,
    store: &Store,
    wanted: &mut Vec<IpAddr>,
    ips: &mut Vec<AssignedIp>,
) -> Result<(), IpamError> {
    for (number, set) in config.sets.iter().enumerate() {
        let asked = wanted.iter().position(|address| set.range_of(*address).is_some());
        let asked = asked.map(|at| wanted.remove(at));
        ips.push(take(request, store, (number, set), asked)?);
    }
    match wanted.first() {
        Some(address) => Err(not_available(request, *address)),
        None => Ok(()),
    }
}

fn not_available(request: &IpamRequest<'_>, address: IpAddr) -> IpamError {
    IpamError::NotAvailable { address, network: request.network.clone() }
}

/// Takes an address of one range set: the one asked for, or the next.
fn take(
    request: &IpamRequest<'_>,
    store: &Store,
    (number, set): (usize, &RangeSet),
    asked: Option<IpAddr>,
) -> Result<AssignedIp, IpamError> {
    let owner = Lease::new(request.container, request.ifname);
    let (address, range) = if let Some(address) = asked {
        let range = set.range_of(address).filter(|range| range.gateway != address);
        let range = range.ok_or_else(|| not_available(request, address))?;
        if !store.reserve(address, &owner)? {
            return Err(not_available(request, address));
        }
        (address, range)
    } else {
        let mut found = None;
        for (address, range) in set.after(store.last(number)?) {
            if store.reserve(address, &owner)? {
                found = Some((address, range));
                break;
            }
        }
        let full = || IpamError::Full { ranges: set.to_string(), network: request.network.clone() };
        found.ok_or_else(full)?
    };
    if let Err(error) = store.set_last(number, address) {
        store.remove(address)?;
        return Err(error.into());
    }
    // The address was found in the range.
    let address = Cidr::new(address, range.subnet.prefix()).unwrap_or(Cidr::host(address));
    Ok(AssignedIp { address, gateway: Some(range.gateway), interface: None })
}

/// Gives back every address of an interface; none is fine.
///
/// # Errors
/// The folder cannot be read, or a file not removed.
pub fn del(request: &IpamRequest<'_>) -> Result<(), IpamError> {
    let Some(store) = Store::open_existing(&data_folder(request)?)? else { return Ok(()) };
    store.release(request.container, Some(request.ifname))?;
    Ok(())
}

/// Gives back addresses that are known to be an interface's, without looking through all others.
///
/// # Errors
/// As [`del`].
pub fn del_known(request: &IpamRequest<'_>, addresses: &[IpAddr]) -> Result<(), IpamError> {
    let Some(store) = Store::open_existing(&data_folder(request)?)? else { return Ok(()) };
    for address in addresses {
        store.release_one(*address, request.container, request.ifname)?;
    }
    Ok(())
}

/// Whether an interface still has an address.
///
/// # Errors
/// As [`del`].
pub fn check(request: &IpamRequest<'_>) -> Result<bool, IpamError> {
    let Some(store) = Store::open_existing(&data_folder(request)?)? else { return Ok(false) };
    let leases = store.leases()?;
    Ok(leases.iter().any(|(_, lease)| lease.is_of(request.container, Some(request.ifname))))
}

/// The containers that have what could not be taken: the address asked for, or any where all are taken.
///
/// # Errors
/// As [`del`].
pub fn owners(request: &IpamRequest<'_>, refused: &IpamError) -> Result<Vec<String>, IpamError> {
    let Some(store) = Store::open_existing(&data_folder(request)?)? else { return Ok(Vec::new()) };
    let asked = match refused {
        IpamError::NotAvailable { address, .. } => Some(*address),
        _ => None,
    };
    let mut owners: Vec<String> = store
        .leases()?
        .into_iter()
        .filter(|(address, _)| asked.is_none_or(|asked| asked == *address))
        .map(|(_, lease)| lease.container)
        .collect();
    owners.sort_unstable();
    owners.dedup();
    Ok(owners)
}

/// Gives back every address whose owner is gone, as `owner` says, which is asked under the lock: nobody can take an address
/// meanwhile.
///
/// # Errors
/// As [`del`].
pub fn collect(
    request: &IpamRequest<'_>,
    owner: &mut dyn FnMut(&str) -> Owner,
) -> Result<Vec<IpAddr>, IpamError> {
    let Some(store) = Store::open_existing(&data_folder(request)?)? else { return Ok(Vec::new()) };
    Ok(store.collect(owner)?)
}

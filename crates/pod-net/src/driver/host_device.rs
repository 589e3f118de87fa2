//! `host-device`: an interface of the host's moves into the pod, and back.

use super::pod_side::{self, Reach};
use super::{DriverError, Leaving, Outcome, Place};
use crate::config::Plugin;
use crate::config::kinds::{self, DeviceBy, HostDeviceConfig};
use crate::result::CniResult;
use netlink::link::{All, Get, Index, Mac, Move, Name, Set, SetAlias, Settings};
use netlink::{Batch, Socket};
use std::os::fd::AsFd as _;
use std::path::Path;

/// Joins a pod to a network of this type.
pub(super) fn add(
    place: &Place<'_>,
    plugin: &Plugin,
    given: &CniResult,
) -> Result<Outcome, DriverError> {
    let config = HostDeviceConfig::read(plugin)?;
    let by = config.device.or_else(|| place.wishes.device_id.clone().map(DeviceBy::PciBus));
    let device = find(place.host, by.as_ref())?;
    // The name that it has on the host comes back with it.
    let mut batch = Batch::new();
    batch.add(&SetAlias { which: device.0.into(), alias: device.1.text().into_owned() });
    batch.add(&Set::new(device.0, Settings::new().down()));
    batch.add(&Move {
        index: device.0,
        namespace: place.namespace.as_fd(),
        name: Some(place.interface),
    });
    place.host.run(batch)?;
    let own = place.pod.get(&Get::new(place.interface))?;
    let own = own.ok_or_else(|| DriverError::NoInterface(place.interface.text().into_owned()))?;
    place.pod.one(&Set::new(own.index, Settings::new().up()))?;
    pod_side::configure(place, own.index, given, Reach::Direct)?;
    let dns = kinds::dns(&plugin.fields())?;
    let result = super::result(vec![place.own_interface(own.mac)], given, dns);
    Ok(Outcome { result, gate: None, masquerade: false })
}

/// Gives the device back under the name that it had.
pub(super) fn del(place: &Leaving<'_>, _plugin: &Plugin) -> Result<(), DriverError> {
    let Some(namespace) = place.namespace else { return Ok(()) };
    let pod = sys::namespace::inside_network(namespace.as_fd(), Socket::route);
    let pod = pod.map_err(DriverError::Enter)??;
    let Some(own) = pod.get(&Get::new(place.interface))? else { return Ok(()) };
    let Some(name) = own.alias.as_deref().and_then(|alias| Name::new(alias).ok()) else {
        return Ok(());
    };
    let mut batch = Batch::new();
    batch.add(&Set::new(own.index, Settings::new().down()));
    batch.add(&Move { index: own.index, namespace: place.home, name: Some(name) });
    pod.run(batch)?;
    Ok(())
}

fn find(host: &Socket, by: Option<&DeviceBy>) -> Result<(Index, Name), DriverError> {
    let missing = |what: &str| DriverError::NoDevice(what.to_owned());
    match by {
        None => Err(missing("that the pod asks for")),
        Some(DeviceBy::Name(name)) => {
            let found = host.get(&Get::new(Name::new(name)?))?;
            found.map(|r| (r.index, r.name)).ok_or_else(|| missing(name))
        }
        Some(DeviceBy::HardwareAddress(text)) => {
            let mac: Mac = text.parse()?;
            let all = host.dump(&All)?;
            let found = all.into_iter().find(|record| record.mac == Some(mac));
            found.map(|r| (r.index, r.name)).ok_or_else(|| missing(text))
        }
        Some(DeviceBy::KernelPath(path)) => below(host, path),
        Some(DeviceBy::PciBus(place)) => {
            let folder = Path::new("/sys/bus/pci/devices").join(place);
            // A device behind virtio has one folder more.
            below(host, &folder).or_else(|error| {
                let inner = std::fs::read_dir(&folder).into_iter().flatten().flatten();
                let virtio =
                    |name: &std::ffi::OsString| name.to_string_lossy().starts_with("virtio");
                let inner = inner.map(|entry| entry.file_name()).find(virtio);
                inner.map_or(Err(error), |name| below(host, &folder.join(name)))
            })
        }
    }
}

/// The interface whose device has this folder.
fn below(host: &Socket, device: &Path) -> Result<(Index, Name), DriverError> {
    let missing = || DriverError::NoDevice(device.display().to_string());
    let mut names = std::fs::read_dir(device.join("net")).map_err(|_| missing())?;
    let name = names.next().and_then(Result::ok).ok_or_else(missing)?.file_name();
    let found = host.get(&Get::new(Name::new(name.as_encoded_bytes())?))?;
    found.map(|r| (r.index, r.name)).ok_or_else(missing)
}

//! The addresses of a pod in one network: from an allocator of ours, or from a program.

use crate::attach::Hands;
use crate::config::{Network, Plugin, Selected};
use crate::driver::{Leaving, Place};
use crate::info::NetInfo;
use crate::ipam::{Allocator, IpamError, IpamRequest, fixed, host_local};
use crate::namespace::PodNamespace;
use crate::plugin::{Attachment, Call, PluginError};
use crate::request::NetworkArgs;
use crate::result::CniResult;
use crate::wishes::Wishes;

/// Addresses that cannot be had, or given back.
#[derive(Debug, thiserror::Error)]
pub enum AllocateError {
    /// An allocator of ours.
    #[error(transparent)]
    Own(#[from] IpamError),
    /// A program.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] crate::config::FieldError),
}

/// Addresses for a pod; none where the plugin has no allocator.
pub(crate) fn add(
    hands: &mut Hands,
    place: &Place<'_>,
    selected: &Selected,
    plugin: &Plugin,
) -> Result<CniResult, AllocateError> {
    let Some(ipam) = plugin.ipam()? else { return Ok(CniResult::default()) };
    let own = Allocator::of(&ipam.kind).filter(|_| !hands.overrides(&ipam.kind));
    let request = IpamRequest {
        network: place.network,
        version: selected.network.version(),
        plugin,
        container: place.uuid,
        ifname: place.interface_text,
        args: &selected.args,
        wishes: place.wishes,
    };
    match own {
        Some(Allocator::HostLocal) => Ok(host_local::add(&request)?),
        Some(Allocator::Fixed) => Ok(fixed::add(&request)?),
        Some(Allocator::Dhcp) | None => {
            let stand_in = plugin.allocator()?.unwrap_or_else(|| plugin.clone());
            let attachment = Attachment {
                container: place.uuid,
                netns: Some(place.namespace.path()),
                ifname: place.interface_text,
                args: &selected.args,
                netns_override: false,
            };
            Ok(hands.runner.add(&Call {
                network: &selected.network,
                plugin: &stand_in,
                attachment,
                before: None,
                wishes: place.wishes,
            })?)
        }
    }
}

/// Gives a pod's addresses back.
pub(crate) fn release(
    hands: &mut Hands,
    leaving: &Leaving<'_>,
    info: &NetInfo,
    network: &Network,
    plugin: &Plugin,
) -> Result<(), AllocateError> {
    let Some(ipam) = plugin.ipam()? else { return Ok(()) };
    let own = Allocator::of(&ipam.kind).filter(|_| !hands.overrides(&ipam.kind));
    let (args, wishes) = (NetworkArgs::new(info.args.clone()), Wishes::default());
    match own {
        Some(Allocator::HostLocal) => Ok(host_local::del(&IpamRequest {
            network: network.name(),
            version: network.version(),
            plugin,
            container: leaving.uuid,
            ifname: &info.ifname,
            args: &args,
            wishes: &wishes,
        })?),
        Some(Allocator::Fixed) => Ok(()),
        Some(Allocator::Dhcp) | None => {
            let stand_in = plugin.allocator()?.unwrap_or_else(|| plugin.clone());
            let attachment = Attachment {
                container: leaving.uuid,
                netns: leaving.namespace.map(PodNamespace::path),
                ifname: &info.ifname,
                args: &args,
                netns_override: false,
            };
            let call =
                Call { network, plugin: &stand_in, attachment, before: None, wishes: &wishes };
            Ok(hands.runner.del(&call)?)
        }
    }
}

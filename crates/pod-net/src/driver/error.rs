//! Why a driver did not do what a network's file says.

use crate::config::FieldError;
use netlink::RequestError;
use netlink::link::{BadMac, BadName};
use std::io;
use std::net::IpAddr;
use sys::path::PathError;

/// A driver failed.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] FieldError),
    /// The kernel refused a request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A setting.
    #[error(transparent)]
    Setting(#[from] PathError),
    /// No name of an interface.
    #[error(transparent)]
    Name(#[from] BadName),
    /// No hardware address.
    #[error(transparent)]
    Mac(#[from] BadMac),
    /// The pod's namespace cannot be entered.
    #[error("cannot enter the pod's network namespace")]
    Enter(#[source] io::Error),
    /// An interface that must be there is not.
    #[error("there is no interface {0:?}")]
    NoInterface(String),
    /// Nothing says on which interface of the host it shall be.
    #[error("the host has no default route to take an interface from: \"master\" must name one")]
    NoMaster,
    /// Nothing of the name that the bridge should have is one.
    #[error("interface {0:?} exists and is not a bridge")]
    NoBridge(String),
    /// The bridge has another address.
    #[error(
        "bridge {bridge:?} has address {found} already, which is in the network of {wanted} (forceAddress would replace it)"
    )]
    BridgeAddress {
        /// The bridge.
        bridge: String,
        /// What it has.
        found: String,
        /// What it should have.
        wanted: IpAddr,
    },
    /// No address where there must be one.
    #[error("the allocator gave no address")]
    NoAddress,
    /// No interface to change.
    #[error("no plugin before this one made an interface in the pod")]
    NothingBefore,
    /// The device is not there.
    #[error("the host has no network device {0}")]
    NoDevice(String),
}

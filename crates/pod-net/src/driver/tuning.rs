//! `tuning`: settings of the pod's namespace, and of the interface that a plugin before made.

use super::{DriverError, Place};
use crate::config::Plugin;
use crate::config::kinds::TuningConfig;
use crate::result::CniResult;
use netlink::link::{Set, Settings, Switch};
use sys::path::At as _;

/// Changes what was made.
pub(super) fn add(
    place: &Place<'_>,
    plugin: &Plugin,
    result: &mut CniResult,
) -> Result<(), DriverError> {
    let config = TuningConfig::read(plugin)?;
    place.inside(|| {
        for (path, value) in &config.sysctl {
            let path = format!("/proc/sys/{path}");
            std::fs::write(&path, value).at("write", &path)?;
        }
        Ok::<(), DriverError>(())
    })??;
    let mac =
        place.wishes.mac.as_ref().filter(|_| plugin.is_capable("mac")).or(config.mac.as_ref());
    let mut settings = Settings::new();
    if let Some(mac) = mac {
        settings = settings.mac(mac.parse()?);
    }
    if let Some(mtu) = config.mtu {
        settings = settings.mtu(mtu);
    }
    if let Some(on) = config.promiscuous {
        settings = settings.promiscuous(switch(on));
    }
    if let Some(on) = config.all_multicast {
        settings = settings.all_multicast(switch(on));
    }
    if let Some(packets) = config.queue {
        settings = settings.queue_length(packets);
    }
    place.pod.one(&Set::new(place.interface, settings))?;
    let own = place.interface.text();
    for interface in &mut result.interfaces {
        if interface.sandbox.is_some() && interface.name == own {
            if let Some(mac) = mac {
                interface.mac = Some(mac.clone());
            }
            interface.mtu = config.mtu.or(interface.mtu);
        }
    }
    Ok(())
}

fn switch(on: bool) -> Switch {
    if on { Switch::On } else { Switch::Off }
}

//! `bandwidth`: limits in both directions, at the host's end of the pair that a plugin before made.
//!
//! What goes to the pod waits in the queue of the host's end. What comes from it is redirected to an interface that only
//! queues, before the host sees it. That one outlives the pair, and has a name that follows from the pod's.

use super::{DriverError, Leaving, Place, host_name};
use crate::config::Plugin;
use crate::config::kinds::{BandwidthConfig, Rate};
use crate::result::{CniResult, Interface};
use netlink::link::{Create, Delete, Get, Index, Kind, Name, SetAlias, Settings};
use netlink::traffic::{AddFilter, AddQdisc, Qdisc, TokenBucket};
use netlink::{Batch, Errno};
use std::time::Duration;

/// How long packets may wait for their turn.
const LATENCY: Duration = Duration::from_millis(25);

/// Limits what was made.
pub(super) fn add(
    place: &Place<'_>,
    plugin: &Plugin,
    result: &mut CniResult,
) -> Result<(), DriverError> {
    let mut config = BandwidthConfig::read(plugin)?;
    if plugin.is_capable("bandwidth") && place.wishes.bandwidth != BandwidthConfig::default() {
        config = place.wishes.bandwidth.clone();
    }
    if config == BandwidthConfig::default() {
        return Ok(());
    }
    let gate = gate(place, result)?;
    let mut batch = Batch::new();
    if let Some(rate) = config.ingress {
        batch.add(&AddQdisc::new(gate.index, bucket(rate)));
    }
    if let Some(rate) = config.egress {
        let name = Name::new(name_of(place.uuid, place.number))?;
        let settings = Settings::new().up().mtu(gate.mtu);
        let mut made = Batch::new();
        made.add(&Create::new(name, Kind::Ifb).settings(settings));
        made.add(&SetAlias { which: name.into(), alias: crate::mark(place.uuid) });
        place.host.run(made)?;
        let ifb = place.host.get(&Get::new(name))?;
        let ifb = ifb.ok_or_else(|| DriverError::NoInterface(name.text().into_owned()))?;
        batch.add(&AddQdisc::new(gate.index, Qdisc::Ingress));
        batch.add(&AddFilter::redirect(gate.index, ifb.index));
        batch.add(&AddQdisc::new(ifb.index, bucket(rate)));
        result.interfaces.push(Interface {
            name: name.text().into_owned(),
            mac: ifb.mac.map(|mac| mac.to_string()),
            ..Interface::default()
        });
    }
    place.host.run(batch)?;
    Ok(())
}

/// Removes what outlives the pair.
pub(super) fn del(place: &Leaving<'_>) -> Result<(), DriverError> {
    let mut batch = Batch::new();
    let name = Name::new(name_of(place.uuid, place.number))?;
    batch.add_unless(&Delete::new(name), &[Errno::NODEV]);
    place.host.run(batch)?;
    Ok(())
}

fn name_of(uuid: &str, number: usize) -> String {
    host_name("bw", uuid, number)
}

/// Bits become bytes. The burst was checked when it was read.
fn bucket(rate: Rate) -> Qdisc {
    let burst = u32::try_from(rate.burst / 8).unwrap_or(u32::MAX);
    Qdisc::TokenBucket(TokenBucket { rate: rate.rate / 8, burst, latency: LATENCY })
}

struct Gate {
    index: Index,
    mtu: u32,
}

/// The host's end of the pair.
fn gate(place: &Place<'_>, result: &CniResult) -> Result<Gate, DriverError> {
    for interface in result.interfaces.iter().filter(|interface| interface.sandbox.is_none()) {
        let Some(record) = place.host.get(&Get::new(Name::new(&interface.name)?))? else {
            continue;
        };
        if record.kind.as_deref() == Some("veth") {
            return Ok(Gate { index: record.index, mtu: record.mtu });
        }
    }
    Err(DriverError::NothingBefore)
}

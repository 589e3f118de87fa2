//! A scope of its own for a pod that was started by hand, asked of systemd over the system bus.
//!
//! A service has its place already: whoever wrote the unit decided about its slice and limits. What is typed in a login
//! would live in that login's scope, and end with it.

use crate::bus::{Body, Bus, BusError};

/// The slice that virtual machines and containers live in.
const SLICE: &str = "machine.slice";

/// Moves the calling process into a new scope, and returns when it is there.
///
/// # Errors
/// There is no bus, or systemd refuses: nothing has moved.
pub fn enter(uuid: &str) -> Result<(), BusError> {
    let mut bus = Bus::system()?;
    let name = unit_name(uuid);
    bus.watch("org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager", "JobRemoved")?;
    let mut body = Body::default();
    body.text(&name);
    body.text("fail");
    body.properties(|properties| {
        properties.text("Description", &format!("rkt pod {uuid}"));
        properties.text("Slice", SLICE);
        // Whoever sends this: the manager may number processes differently than we do.
        properties.numbers("PIDs", &[0]);
        // Else systemd may undo what is set up inside at any reload.
        properties.flag("Delegate", true);
        // A scope that failed would stay listed, with nobody to reset it.
        properties.text("CollectMode", "inactive-or-failed");
    });
    body.no_units();
    bus.call(
        ("org.freedesktop.systemd1", "/org/freedesktop/systemd1"),
        ("org.freedesktop.systemd1.Manager", "StartTransientUnit"),
        ("ssa(sv)a(sa(sv))", body),
    )?;
    // The call only queued a job.
    loop {
        let ended = bus.signal("JobRemoved")?;
        let [_, unit, result] = ended.texts::<3>(4)?;
        if unit == name {
            return if result == "done" { Ok(()) } else { Err(BusError::Job(result)) };
        }
    }
}

/// The name that the registry of machines would give it, in which `-` separates the levels of slices.
fn unit_name(uuid: &str) -> String {
    format!("machine-rkt\\x2d{}.scope", uuid.replace('-', "\\x2d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_named_like_a_machine() {
        assert_eq!(unit_name("1-2"), "machine-rkt\\x2d1\\x2d2.scope");
    }
}

//! Units of systemd, read off the paths of groups: no bus is needed to know who one belongs to.

use std::path::Path;

/// There while systemd is the host's init.
const RUNNING: &str = "/run/systemd/system";

/// Whether systemd runs this host.
pub fn has_systemd() -> bool {
    Path::new(RUNNING).exists()
}

/// A unit of systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    /// Its name, as the group is named.
    pub(super) name: String,
    /// Whether it is a service: its main process must stay where it is.
    service: bool,
    /// How many groups inside the unit's own lead to the path.
    pub(super) depth: usize,
}

impl Unit {
    /// The innermost unit on the path of a group.
    pub(super) fn of(path: &str) -> Option<Self> {
        path.rsplit('/').enumerate().find_map(|(depth, part)| {
            // systemd puts a `_` before names that the kernel has a use for.
            let name = part.strip_prefix('_').unwrap_or(part);
            let is = |kind| name.strip_suffix(kind).is_some();
            let service = is(".service") && !is_manager(name);
            (service || is(".scope")).then(|| Self { name: name.to_owned(), service, depth })
        })
    }

    /// Whether the unit's group holds one pod and nothing else: a service, or a scope made for the pod.
    pub(super) fn is_for_one_pod(&self) -> bool {
        self.depth == 0 && (self.service || self.name.starts_with("machine-"))
    }
}

/// A user's own manager is no service that anything was started as.
fn is_manager(name: &str) -> bool {
    name.starts_with("user@")
}

/// The group by which systemd knows a process, from its `/proc/PID/cgroup`; where systemd never ran, any.
pub(super) fn known(text: &str) -> String {
    let path = |wanted: &str| {
        text.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            (controllers == wanted).then(|| path.to_owned())
        })
    };
    path("name=systemd").or_else(|| path("")).unwrap_or_default()
}

/// Whether a group is that of a login, of what a user's manager started, or of no unit at all.
pub(super) fn is_session(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
    parts.peek().is_none()
        || parts.any(|part| {
            let scope = part.strip_suffix(".scope");
            is_manager(part) || scope.is_some_and(|s| s.starts_with("session-") || s == "init")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_off_paths() {
        let found = |path| Unit::of(path).map(|u| (u.name.clone(), u.service, u.is_for_one_pod()));
        let is = |name: &str, service, whole| Some((name.to_owned(), service, whole));
        assert_eq!(found("/system.slice/a.service"), is("a.service", true, true));
        assert_eq!(found("/system.slice/a.service/x"), is("a.service", true, false));
        let session = "/user.slice/user-0.slice/session-1.scope";
        assert_eq!(found(session), is("session-1.scope", false, false));
        let scope = "/machine.slice/machine-rkt\\x2d1.scope";
        assert_eq!(found(scope), is("machine-rkt\\x2d1.scope", false, true));
        assert_eq!(found("/user.slice/user@1.service/x.slice"), None);
        assert_eq!(found("/"), None);
    }

    #[test]
    fn sessions_are_told_from_units() {
        for path in [
            "/",
            "/init.scope",
            "/user.slice/user-0.slice/session-1.scope",
            "/user.slice/user-1.slice/user@1.service/app.slice/term.scope",
        ] {
            assert!(is_session(path), "{path}");
        }
        for path in ["/system.slice/a.service", "/system.slice/run-r1.scope", "/kubepods/pod1"] {
            assert!(!is_session(path), "{path}");
        }
    }

    #[test]
    fn the_group_that_systemd_knows_is_found() {
        assert_eq!(known("4:memory:/x\n1:name=systemd:/a.service\n0::/b\n"), "/a.service");
        assert_eq!(known("0::/b\n"), "/b");
        assert_eq!(known(""), "");
    }
}

//! Whether the ports that the host shall forward can be meant.

use super::error::PrepareError;
use appc::{ExposedPort, PodManifest, Port};
use std::net::{IpAddr, Ipv6Addr};

/// Checks the rules of a pod against the ports of its apps and against each other.
pub(super) fn check(manifest: &PodManifest) -> Result<(), PrepareError> {
    let mut seen: Vec<(&ExposedPort, &Port)> = Vec::new();
    for rule in &manifest.ports {
        let port = target(manifest, rule)?;
        if rule.host_ip == Some(IpAddr::V6(Ipv6Addr::LOCALHOST)) {
            return Err(PrepareError::Loopback(rule.name.to_string()));
        }
        let same = |(other, known): &(&ExposedPort, &Port)| {
            let alike = known.protocol.eq_ignore_ascii_case(&port.protocol)
                && overlap(other.host_ip, rule.host_ip);
            first_shared((other.host_port, known.count), (rule.host_port, port.count))
                .filter(|_| alike)
        };
        if let Some(shared) = seen.iter().find_map(same) {
            let protocol = port.protocol.to_ascii_lowercase();
            return Err(PrepareError::SameHostPort { port: shared, protocol });
        }
        seen.push((rule, port));
    }
    Ok(())
}

/// The first port that two ranges, each a first port and how many there are, have in common.
fn first_shared(one: (u16, u32), other: (u16, u32)) -> Option<u16> {
    let first = one.0.max(other.0);
    let has = |(from, count): (u16, u32)| u32::from(first - from) < count;
    (has(one) && has(other)).then_some(first)
}

/// The port that a rule leads to.
fn target<'a>(manifest: &'a PodManifest, rule: &'a ExposedPort) -> Result<&'a Port, PrepareError> {
    if let Some(port) = &rule.pod_port {
        return Ok(port);
    }
    let ports = manifest.apps.iter().filter_map(|app| app.app.as_ref()).flat_map(|app| &app.ports);
    let mut named = ports.filter(|port| port.name == rule.name);
    match (named.next(), named.next()) {
        (Some(port), None) => Ok(port),
        (None, _) => Err(PrepareError::NoPort(rule.name.to_string())),
        (Some(_), Some(_)) => Err(PrepareError::SharedPort(rule.name.to_string())),
    }
}

/// Whether two addresses of the host can mean one; no address means all of them.
fn overlap(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other || one.is_unspecified() || other.is_unspecified(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(ports: &str) -> PodManifest {
        let app = |name: &str, port: &str, protocol: &str| {
            format!(
                r#"{{"name":"{name}","image":{{}},"app":{{"exec":["/x"],"user":"0","group":"0","ports":[
                {{"name":"{port}","protocol":"{protocol}","port":80,"count":1,"socketActivated":false}},
                {{"name":"{name}-range","protocol":"TCP","port":90,"count":3,"socketActivated":false}},
                {{"name":"both","protocol":"tcp","port":81,"count":1,"socketActivated":false}}]}}}}"#
            )
        };
        let text = format!(
            r#"{{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{},{}],"ports":[{ports}]}}"#,
            app("a", "http", "tcp"),
            app("b", "dns", "udp"),
        );
        PodManifest::from_json(text.as_bytes()).unwrap()
    }

    #[test]
    fn each_rule_means_one_port() {
        for (ports, problem) in [
            (r#"{"name":"http","hostPort":80},{"name":"dns","hostPort":80}"#, None),
            (r#"{"name":"nope","hostPort":80}"#, Some("could not be found in any apps")),
            (r#"{"name":"both","hostPort":80}"#, Some("defined multiple apps")),
            (
                r#"{"name":"http","hostPort":80},{"name":"http","hostPort":80,"hostIP":"127.0.0.1"}"#,
                Some("forwarded more than once"),
            ),
            (
                r#"{"name":"a-range","hostPort":80},{"name":"http","hostPort":82}"#,
                Some("82/tcp is forwarded more than once"),
            ),
            (
                r#"{"name":"http","hostPort":65535},{"name":"a-range","hostPort":65533}"#,
                Some("65535/tcp is forwarded more than once"),
            ),
            (r#"{"name":"a-range","hostPort":80},{"name":"http","hostPort":83}"#, None),
            (r#"{"name":"http","hostPort":79},{"name":"a-range","hostPort":80}"#, None),
            (r#"{"name":"a-range","hostPort":80},{"name":"dns","hostPort":81}"#, None),
            (
                r#"{"name":"a-range","hostPort":80},{"name":"b-range","hostPort":78}"#,
                Some("80/tcp is forwarded more than once"),
            ),
            (r#"{"name":"http","hostPort":80,"hostIP":"::1"}"#, Some("cannot be forwarded")),
            (
                r#"{"name":"http","hostPort":80,"hostIP":"10.0.0.1"},{"name":"http","hostPort":80,"hostIP":"127.0.0.1"}"#,
                None,
            ),
            (
                r#"{"name":"http","hostPort":80,"hostIP":"0.0.0.0"},{"name":"http","hostPort":80,"hostIP":"127.0.0.1"}"#,
                Some("forwarded more than once"),
            ),
        ] {
            let found = check(&pod(ports)).err().map(|error| error.to_string());
            match (found, problem) {
                (None, None) => {}
                (Some(found), Some(problem)) => assert!(found.contains(problem), "{found}"),
                other => panic!("{ports}: {other:?}"),
            }
        }
    }
}

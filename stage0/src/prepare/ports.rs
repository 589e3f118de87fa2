//! Whether the ports that the host shall forward can be meant.

use super::error::PrepareError;
use appc::{ExposedPort, PodManifest, Port};
use std::net::IpAddr;

/// Checks the rules of a pod against the ports of its apps and against each other.
pub(super) fn check(manifest: &PodManifest) -> Result<(), PrepareError> {
    let mut seen: Vec<(&ExposedPort, &str)> = Vec::new();
    for rule in &manifest.ports {
        let port = target(manifest, rule)?;
        let protocol = port.protocol.as_str();
        let same = |(other, known): &&(&ExposedPort, &str)| {
            *known == protocol
                && other.host_port == rule.host_port
                && overlap(other.host_ip, rule.host_ip)
        };
        if seen.iter().find(same).is_some() {
            return Err(PrepareError::SameHostPort {
                port: rule.host_port,
                protocol: protocol.to_owned(),
            });
        }
        seen.push((rule, protocol));
    }
    Ok(())
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

//! What runs: the configuration of a process as the app of an appc manifest.

use super::FormError;
use crate::config::Process;
use appc::{AcName, App, EnvVar, MountPoint, Port};
use std::collections::{BTreeMap, BTreeSet};

/// As long may one argument or variable be, the NUL at its end included (`MAX_ARG_STRLEN` of Linux).
const LONGEST: usize = 128 << 10;

pub(super) fn app(process: &Process) -> Result<App, FormError> {
    let (user, group) = user(&process.user)?;
    let exec: Vec<String> = process.entrypoint.iter().chain(&process.cmd).cloned().collect();
    for word in &exec {
        check("argument", word.len(), word)?;
    }
    Ok(App {
        exec: if exec.is_empty() { None } else { Some(exec) },
        user,
        group,
        working_directory: directory(&process.working_dir)?,
        environment: environment(&process.env)?,
        mount_points: mount_points(&process.volumes)?,
        ports: ports(&process.exposed_ports)?,
        user_labels: process.labels.clone(),
        ..App::default()
    })
}

fn check(what: &'static str, length: usize, text: &str) -> Result<(), FormError> {
    if text.contains('\0') || length >= LONGEST { Err(FormError::Text(what)) } else { Ok(()) }
}

/// Whether the group follows from the user.
pub(super) fn group_of_user(text: &str) -> bool {
    !text.is_empty() && !text.contains(':')
}

/// `user[:group]`, where numbers must be ids: 2^32 is not root.
fn user(text: &str) -> Result<(String, String), FormError> {
    let bad = || FormError::User(text.to_owned());
    let (user, group) = match text.split_once(':') {
        None => (text, text),
        Some((user, group)) if !group.is_empty() => (user, group),
        Some(_) => return Err(bad()),
    };
    let part = |part: &str| {
        // An absolute path has a meaning of its own in appc, a colon none at all in passwd.
        let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | '/');
        let digits = part.strip_prefix(['-', '+']).unwrap_or(part);
        let number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if part.is_empty() {
            Ok("0".to_owned())
        } else if part.contains(odd) || number && !part.parse::<u32>().is_ok_and(|id| id < u32::MAX)
        {
            Err(bad())
        } else {
            Ok(part.to_owned())
        }
    };
    Ok((part(user)?, part(group)?))
}

/// Empty, or absolute without empty and `.` components. `..` at the root is the root; behind a name it is refused, since
/// the name may be a link and the way back a way out.
fn directory(text: &str) -> Result<String, FormError> {
    let bad = || FormError::Directory(text.to_owned());
    if text.is_empty() {
        return Ok(String::new());
    }
    if !text.starts_with('/') || text.contains('\0') {
        return Err(bad());
    }
    let mut clean = String::new();
    for component in text.split('/') {
        match component {
            "" | "." => {}
            ".." if clean.is_empty() => {}
            ".." => return Err(bad()),
            name => clean.extend(["/", name]),
        }
    }
    Ok(if clean.is_empty() { "/".to_owned() } else { clean })
}

/// Later values of a name replace earlier ones where those stand; what has no `=` is no variable.
fn environment(env: &[String]) -> Result<Vec<EnvVar>, FormError> {
    let mut all: Vec<EnvVar> = Vec::new();
    let mut places = BTreeMap::new();
    for (name, value) in env.iter().filter_map(|entry| entry.split_once('=')) {
        if !appc::is_env_name(name) {
            return Err(FormError::Variable(name.to_owned()));
        }
        check("variable", name.len().saturating_add(value.len()).saturating_add(1), value)?;
        let place = *places.entry(name).or_insert(all.len());
        match all.get_mut(place) {
            Some(earlier) => value.clone_into(&mut earlier.value),
            None => all.push(EnvVar { name: name.to_owned(), value: value.to_owned() }),
        }
    }
    Ok(all)
}

/// Volumes lie inside the root wherever they claim to; the root itself cannot be one.
fn mount_points(volumes: &[String]) -> Result<Vec<MountPoint>, FormError> {
    let mut paths = BTreeSet::new();
    for text in volumes {
        let mut components: Vec<&str> = Vec::new();
        for component in text.split('/') {
            match component {
                "" | "." => {}
                ".." => {
                    components.pop();
                }
                name => components.push(name),
            }
        }
        if components.is_empty() || text.contains('\0') {
            return Err(FormError::Volume(text.clone()));
        }
        paths.insert(format!("/{}", components.join("/")));
    }
    let mut names = BTreeSet::new();
    let mut tried: BTreeMap<String, u32> = BTreeMap::new();
    let mut points = Vec::new();
    for path in paths {
        let bad = |_| FormError::Volume(path.clone());
        let tail = path.strip_prefix('/').unwrap_or(&path);
        let wanted = AcName::sanitise(&format!("volume-{tail}")).map_err(bad)?.to_string();
        let number = tried.entry(wanted.clone()).or_default();
        let mut name = wanted.clone();
        while !names.insert(name.clone()) {
            *number = number.saturating_add(1);
            name = format!("{wanted}-{number}");
        }
        points.push(MountPoint {
            name: AcName::parse(&name).map_err(bad)?,
            path,
            read_only: false,
        });
    }
    points.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(points)
}

fn ports(exposed: &[String]) -> Result<Vec<Port>, FormError> {
    let mut ports = Vec::new();
    for text in exposed {
        let bad = || FormError::Port(text.clone());
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let port = number.parse::<u16>().ok().filter(|port| digits && *port > 0).ok_or_else(bad)?;
        let letters = |b: u8| b.is_ascii_alphanumeric();
        if protocol.is_empty() || protocol.len() > 16 || !protocol.bytes().all(letters) {
            return Err(bad());
        }
        let name = AcName::sanitise(text).map_err(|_| bad())?;
        let protocol = protocol.to_ascii_lowercase();
        ports.push(Port { name, protocol, port, count: 1, socket_activated: false });
    }
    ports.sort_by(|a, b| a.name.cmp(&b.name));
    ports.dedup_by(|a, b| a.name == b.name);
    Ok(ports)
}

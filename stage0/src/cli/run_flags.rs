//! The flags that `run`, `prepare` and `run-prepared` share, with the checks of single values.
//!
//! What several values mean together (two volumes of one name, `--dns=host` beside others) is judged by whoever
//! gathers them.

use appc::{AcIdentifier, ExposedPort, Mount, Quantity, Volume};

use super::flags::{Flag, boolean, join, key_value};
use super::print::quoted;

/// The flags of `run`.
pub(crate) const RUN: &[Flag] =
    &join::<{ FETCH.len() + POD.len() + PREPARED.len() + APP.len() }>(&[FETCH, POD, PREPARED, APP]);

/// The flags of `prepare`.
pub(crate) const PREPARE: &[Flag] =
    &join::<{ FETCH.len() + POD.len() + QUIET.len() + APP.len() }>(&[FETCH, POD, QUIET, APP]);

/// The flags of `run-prepared`.
pub(crate) const RUN_PREPARED: &[Flag] =
    &join::<{ PREPARED.len() + DECIDED.len() + NAMED.len() }>(&[PREPARED, DECIDED, NAMED]);

const NAMED: &[Flag] = &[super::pods::UUID_FILE];

/// The flags that select a stage1; one of them at most.
pub(crate) const STAGE1: &[&str] =
    &["stage1-path", "stage1-url", "stage1-name", "stage1-hash", "stage1-from-dir"];

/// Where images come from, for every command that may fetch: the pull policy in both spellings.
pub(crate) const FETCH: &[Flag] = &[
    Flag::value("pull-policy", "new", "when to pull an image: new, update or never")
        .check(pull_policy),
    Flag::bool("store-only", "use only available images in the store")
        .deprecated("please use --pull-policy=never"),
    Flag::bool("no-store", "fetch images ignoring the local store")
        .deprecated("please use --pull-policy=update"),
];

const QUIET: &[Flag] =
    &[Flag::bool("quiet", "suppress superfluous output on stdout, print only the UUID on success")];

/// Clients repeat this one although it was decided when the pod was prepared: it can only confirm or lose.
const DECIDED: &[Flag] =
    &[Flag::bool("no-overlay", "the pod's roots are what `prepare` made them").hidden()];

/// What is decided when a pod is prepared.
const POD: &[Flag] = &[
    Flag::value("port", "", "ports to expose on the host: NAME:[HOSTIP:]HOSTPORT")
        .all()
        .check(port),
    Flag::value("volume", "", "volumes to make available in the pod: NAME,kind=KIND,...")
        .all()
        .check(volume),
    Flag::bool("inherit-env", "inherit all environment variables not set by apps"),
    Flag::value("set-env", "", "environment variable to set for apps: NAME=VALUE").keys(),
    Flag::value("set-env-file", "", "path to an environment variables file").all().check(not_empty),
    Flag::bool("no-overlay", "disable overlay filesystem"),
    Flag::bool("private-users", "run within user namespaces").absent(),
    Flag::text(
        "pod-manifest",
        "",
        "the path to the pod manifest; images are then taken from the store",
    ),
    Flag::text("uuid-file-save", "", "write out the pod UUID to a file"),
    Flag::text("stage1-path", "", "path to a stage1 image").check(not_empty).one_of(STAGE1),
    Flag::text("stage1-url", "", "URL of a stage1 image").check(not_empty).one_of(STAGE1),
    Flag::text("stage1-name", "", "name of a stage1 image").check(not_empty).one_of(STAGE1),
    Flag::text("stage1-hash", "", "hash of a stage1 image in the store")
        .check(not_empty)
        .one_of(STAGE1),
    Flag::text("stage1-from-dir", "", "file name of a stage1 image in the stage1 images directory")
        .check(not_empty)
        .one_of(STAGE1),
];

/// What may be decided as late as when a pod is run.
const PREPARED: &[Flag] = &[
    Flag::optional("net", "default", "default", "the pod's networks, or host or none"),
    Flag::value(
        "dns",
        "",
        "name servers to write in /etc/resolv.conf; host copies the host's, none leaves it alone",
    )
    .all(),
    Flag::value("dns-search", "", "DNS search domains to write in /etc/resolv.conf").all(),
    Flag::value("dns-opt", "", "DNS options to write in /etc/resolv.conf").all(),
    Flag::text("dns-domain", "", "DNS domain to write in /etc/resolv.conf"),
    Flag::value(
        "hosts-entry",
        "",
        "entries to add to /etc/hosts: IP=HOSTNAME, or host for the host's file",
    )
    .all(),
    Flag::text("hostname", "", "the pod's hostname; rkt-UUID if empty").check(hostname),
    Flag::text("ipc", "", "whether the pod has its own IPC namespace: auto, private or parent")
        .check(ipc),
    Flag::bool("interactive", "run the pod interactively; if true, only one image may be supplied"),
    Flag::bool("mds-register", "register the pod with the metadata service").absent(),
];

/// What belongs to one app.
const APP: &[Flag] = &[
    Flag::text("exec", "", "override the exec command for the preceding image").app().once(),
    Flag::text("name", "", "set the name of the app").app(),
    Flag::text("user", "", "user override for the preceding image").app(),
    Flag::text("group", "", "group override for the preceding image").app(),
    Flag::text(
        "supplementary-gids",
        "",
        "supplementary group IDs override for the preceding image",
    )
    .app()
    .check(gids),
    Flag::text("working-dir", "", "override the working directory of the preceding image")
        .app()
        .check(absolute),
    Flag::value("environment", "", "set the app's environment variables: NAME=VALUE").app().keys(),
    Flag::value(
        "mount",
        "",
        "mount point binding a volume to a path within an app: volume=NAME,target=PATH",
    )
    .both()
    .all()
    .check(mount),
    Flag::value("readonly-rootfs", "", "if set, the app's rootfs will be mounted read-only")
        .app()
        .check(boolean),
    Flag::value("memory", "", "memory limit for the preceding image, such as 16M")
        .app()
        .check(memory),
    Flag::value("cpu", "", "CPU limit for the preceding image, such as 500m").app().check(cpu),
    Flag::value("cpu-shares", "", "weight of the app's share of the CPU (2-262144)")
        .app()
        .check(cpu_shares),
    Flag::value("oom-score-adj", "", "adjustment of the app's OOM score (-1000 to 1000)")
        .app()
        .check(oom_score),
    Flag::value("oom-score-adjust", "", "").app().check(oom_score).alias("oom-score-adj").hidden(),
    Flag::text("caps-retain", "", "capabilities to retain in the app's bounding set")
        .app()
        .check(capabilities),
    Flag::text("caps-remove", "", "capabilities to remove from the app's bounding set")
        .app()
        .check(capabilities),
    Flag::text("cap-retain", "", "")
        .app()
        .check(capabilities)
        .alias("caps-retain")
        .deprecated("please use --caps-retain"),
    Flag::text("cap-remove", "", "")
        .app()
        .check(capabilities)
        .alias("caps-remove")
        .deprecated("please use --caps-remove"),
    Flag::value("annotation", "", "set the app's annotations: NAME=VALUE")
        .app()
        .keys()
        .check(annotation),
    Flag::value("user-annotation", "", "set the app's user-defined annotations: NAME=VALUE")
        .app()
        .keys(),
    Flag::value("user-label", "", "set the app's user-defined labels: NAME=VALUE").app().keys(),
    Flag::text("seccomp", "", "").app().absent(),
    Flag::text("signature", "", "").app().absent(),
    Flag::text("stdin", "null", "").app().absent(),
    Flag::text("stdout", "log", "").app().absent(),
    Flag::text("stderr", "log", "").app().absent(),
];

/// The check of `--pull-policy`.
pub(crate) fn pull_policy(text: &str) -> Result<(), String> {
    match text {
        "new" | "update" | "never" => Ok(()),
        other => Err(format!("{} is not one of new, update, never", quoted(other))),
    }
}

fn not_empty(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("it must not be empty".to_owned()) } else { Ok(()) }
}

fn absolute(text: &str) -> Result<(), String> {
    if text.starts_with('/') {
        Ok(())
    } else {
        Err(format!("{} is not an absolute path", quoted(text)))
    }
}

fn volume(text: &str) -> Result<(), String> {
    let reason = |error| format!("invalid value in --volume flag {}: {error}", quoted(text));
    Volume::parse_flag(text).map(drop).map_err(|error| reason(error.to_string()))
}

fn mount(text: &str) -> Result<(), String> {
    Mount::parse_flag(text).map(drop)
}

fn port(text: &str) -> Result<(), String> {
    ExposedPort::parse_flag(text).map(drop).map_err(|error| error.to_string())
}

fn hostname(text: &str) -> Result<(), String> {
    // The kernel's limit; and no byte that could not stand in /etc/hosts.
    if text.len() > 64
        || text.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
    {
        return Err(format!("{} is not a valid hostname", quoted(text)));
    }
    Ok(())
}

fn ipc(text: &str) -> Result<(), String> {
    match text {
        "" | "auto" | "private" | "parent" => Ok(()),
        other => Err(format!("unknown value for --ipc parameter: {other}")),
    }
}

fn gids(text: &str) -> Result<(), String> {
    for gid in text.split(',') {
        gid.parse::<u32>().map_err(|_| format!("{} is not a group ID", quoted(gid)))?;
    }
    Ok(())
}

fn memory(text: &str) -> Result<(), String> {
    // `16m` means 16 thousandths of a byte, and somebody who types it means something else.
    const LEAST: u64 = 4096;
    let limit = quantity(text)?.value();
    if limit < LEAST {
        return Err(format!(
            "memory limit of {limit} bytes too low. Try a reasonable value, such as --memory=16M"
        ));
    }
    Ok(())
}

fn cpu(text: &str) -> Result<(), String> {
    quantity(text).map(drop)
}

fn quantity(text: &str) -> Result<Quantity, String> {
    Quantity::parse(text).map_err(|error| error.to_string())
}

fn cpu_shares(text: &str) -> Result<(), String> {
    match text.parse::<u64>() {
        Ok(2..=262_144) => Ok(()),
        _ => Err(format!("{} is not a number from 2 to 262144", quoted(text))),
    }
}

fn oom_score(text: &str) -> Result<(), String> {
    match text.parse::<i64>() {
        Ok(-1000..=1000) => Ok(()),
        _ => Err(format!("{} is not a number from -1000 to 1000", quoted(text))),
    }
}

fn annotation(text: &str) -> Result<(), String> {
    key_value(text)?;
    let name = text.split('=').next().unwrap_or_default();
    AcIdentifier::parse(name).map(drop).map_err(|error| error.to_string())
}

fn capabilities(text: &str) -> Result<(), String> {
    for name in text.split(',') {
        let letters = name.strip_prefix("CAP_").unwrap_or_default();
        let known = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if letters.is_empty() || !letters.bytes().all(known) {
            return Err(format!(
                "{} is not the name of a capability (such as CAP_NET_ADMIN)",
                quoted(name)
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::flags::{Check, Scope};
    use super::super::parse::{Asked, parse};
    use super::super::{Command, Grammar, Parsed};
    use super::*;

    #[test]
    fn judges_single_values() {
        let table: &[(Check, &[&str], &[&str])] = &[
            (pull_policy, &["new", "update", "never"], &["", "always"]),
            (ipc, &["", "auto", "private", "parent"], &["foo"]),
            (hostname, &["", "h", "a.example.com"], &["two words", "tab\t", &"x".repeat(65)]),
            (gids, &["0", "1,2", "4294967295"], &["", "1,", "root", "-1", "4294967296"]),
            (memory, &["16M", "4096", "512M", "128Mi", "1G"], &["16m", "4095", "", "x"]),
            (cpu, &["500m", "2", "500", "1.5"], &["", "x", "500M x"]),
            (cpu_shares, &["2", "1024", "262144"], &["1", "262145", "", "-2"]),
            (oom_score, &["-1000", "0", "1000"], &["-1001", "1001", ""]),
            (
                capabilities,
                &["CAP_NET_ADMIN", "CAP_CHOWN,CAP_SYS_PTRACE"],
                &["", "net_admin", "CAP_", "CAP_X,"],
            ),
            (annotation, &["example.com/k=v", "k="], &["k", "=v", "Upper=v", "a b=c"]),
            (absolute, &["/", "/x"], &["", "x", "./x"]),
            (
                volume,
                &["v,kind=empty", "v,kind=host,source=/x,readOnly=false"],
                &["foo", "v,kind=host", "v,kind=host,source=x"],
            ),
            (mount, &["volume=v,target=/x"], &["", "volume=v", "volume=v,target=/x,more=1"]),
            (port, &["http:8080", "http:127.0.0.1:8080"], &["http", "http:99999", "http:x:80"]),
        ];
        for (check, good, bad) in table {
            for text in *good {
                assert_eq!(check(text), Ok(()), "{text}");
            }
            for text in *bad {
                assert!(check(text).is_err(), "{text} passed");
            }
        }
        assert_eq!(
            memory("16m").unwrap_err(),
            "memory limit of 1 bytes too low. Try a reasonable value, such as --memory=16M"
        );
    }

    #[test]
    fn tables_hold_each_name_once() {
        for table in [RUN, PREPARE, RUN_PREPARED] {
            let mut names: Vec<_> = table.iter().map(|flag| flag.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), table.len());
            assert!(
                table.iter().all(|flag| flag.alias_of.is_none_or(|name| names.contains(&name)))
            );
        }
        assert!(RUN_PREPARED.iter().all(|flag| flag.scope == Scope::Pod));
    }

    static RUN_COMMAND: Command = command(Grammar::Apps, RUN);
    static PREPARE_COMMAND: Command = command(Grammar::Apps, PREPARE);
    static RUN_PREPARED_COMMAND: Command = command(Grammar::Words, RUN_PREPARED);

    const fn command(grammar: Grammar, flags: &'static [Flag]) -> Command {
        Command { name: "test", summary: "", usage: "", description: "", grammar, flags }
    }

    fn parsed(command: &'static Command, line: &str) -> Result<Parsed, String> {
        match parse(command, line.split(' ').map(OsString::from).collect()) {
            Ok(Asked::Run(parsed)) => Ok(parsed),
            Ok(Asked::Help) => Err("help".to_owned()),
            Err(failure) => Err(failure.text("run", false)),
        }
    }

    /// What programs in the wild type, with the names taken out.
    #[test]
    fn reads_what_clients_type() {
        for (command, line) in [
            (
                &PREPARE_COMMAND,
                "--insecure-options=all --debug=false --no-overlay=true --volume=a-t-alloc,kind=host,source=/d \
                 --mount=volume=a-t-alloc,target=/alloc --volume=a-t-n,kind=host,source=/s,readOnly=false \
                 --mount=volume=a-t-n,target=/t --set-env=K=V --set-env=L=W docker://redis:5 --exec=/bin/x \
                 --memory=268435456 --cpu=500 --port=http:8080 --user=1 --group=2 -- --flag {} $x \"q\"",
            ),
            (
                &RUN_COMMAND,
                "--no-overlay=true --uuid-file-save=/f --volume v,kind=host,source=/s,recursive=true \
                 --mount volume=v,target=/t example.com/a:1 --set-env=K=\"V\" --exec /x --memory=512M --cpu=500m \
                 --dns=8.8.8.8 --dns-search=d --net=host --port=http:8080 --insecure-options=all -- -c x",
            ),
            (
                &RUN_COMMAND,
                "--stage1-from-dir=stage1-fly.aci --volume etc,kind=host,source=/e,readOnly=true \
                 --mount volume=etc,target=/e --hosts-entry host --inherit-env \
                 example.com/hyperkube:v1.7.3_coreos.0 --exec=/kubelet --user=0 -- --x=y",
            ),
            (
                &RUN_COMMAND,
                "--uuid-file-save=/f --set-env-file=/etc/e --stage1-path=/s.aci --mds-register=false i:1 --name=etcd1 \
                 --debug --net=host --dns=host",
            ),
            (
                &PREPARE_COMMAND,
                "--quiet --pod-manifest /f --stage1-name=coreos.com/rkt/stage1-coreos",
            ),
            (
                &RUN_PREPARED_COMMAND,
                "--insecure-options=image,ondisk,none --no-overlay=false --net=rkt.kubernetes.io --dns=10.0.0.1 \
                 --dns-search=a --dns-opt=ndots:5 --hostname=h 0123",
            ),
            (&RUN_PREPARED_COMMAND, "--dns=host --net=default,b 0123"),
        ] {
            if let Err(message) = parsed(command, line) {
                assert_eq!(message, "", "{line}");
            }
        }
    }

    #[test]
    fn says_plainly_what_is_not_there() {
        for (line, flag) in [
            ("i --seccomp=mode=retain,read", "seccomp"),
            ("--private-users i", "private-users"),
            ("--mds-register i", "mds-register"),
            ("i --stdin=tty", "stdin"),
            ("i --stdout=stream", "stdout"),
            ("i --stderr=null", "stderr"),
            ("i --signature=/s", "signature"),
        ] {
            let message = parsed(&RUN_COMMAND, line).unwrap_err();
            assert_eq!(message, format!("run: --{flag} is not there yet\n"), "{line}");
        }
        let unknown = parsed(&PREPARE_COMMAND, "--interactive i").unwrap_err();
        assert!(unknown.starts_with("Error: unknown flag: --interactive\n"), "{unknown}");
    }

    #[test]
    fn one_stage1_at_most() {
        for (line, reason) in [
            (
                "--stage1-path=/a --stage1-name=b",
                "flags --stage1-path and --stage1-name are mutually exclusive",
            ),
            ("--stage1-path=/a --stage1-path=/b", "--stage1-path already used"),
        ] {
            let message = parsed(&RUN_COMMAND, line).unwrap_err();
            assert!(message.contains(reason), "{message}");
        }
    }
}

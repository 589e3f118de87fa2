use super::*;
use crate::result::{AssignedIp, Interface};
use crate::scratch::Scratch;
use crate::wishes::PortMapping;
use std::fs;
use std::os::unix::fs::symlink;
use sys::cause::chain;

/// Appends what it was called with to files beside it and answers with what lies there.
const FAKE: &str = r#"#!/bin/sh
here=${0%/*}
n=$(cat "$here/count" 2>/dev/null || echo 0)
n=$((n + 1))
echo $n > "$here/count"
env | grep '^CNI_\|^FROM_CALLER' | sort > "$here/env.$n"
pwd > "$here/cwd.$n"
cat > "$here/stdin.$n"
ls /proc/self/fd > "$here/fds.$n"
answer=$here/answer.$CNI_COMMAND
[ -e "$answer.$n" ] && answer=$answer.$n
[ -e "$answer" ] && cat "$answer"
[ -e "$answer.code" ] && exit $(cat "$answer.code")
exit 0
"#;

const VERSIONS: &str =
    r#"{"cniVersion":"1.1.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0","9.0.0"]}"#;

struct Stage {
    plugins: Scratch,
    pod: Scratch,
    wishes: Wishes,
    args: NetworkArgs,
}

impl Stage {
    fn new() -> Self {
        let stage = Self {
            plugins: Scratch::new(),
            pod: Scratch::new(),
            wishes: Wishes::default(),
            args: NetworkArgs::new("IP=1.2.3.4;X=a b"),
        };
        stage.plugins.program("fake", FAKE);
        stage.plugins.write("answer.VERSION", VERSIONS);
        stage
    }

    fn runner(&self) -> Runner {
        let folders = [PathBuf::from("/nowhere"), self.plugins.path().to_owned()];
        Runner::new(PluginPath::of(folders), self.pod.path())
    }

    fn call<'a>(&'a self, network: &'a Network, before: Option<&'a CniResult>) -> Call<'a> {
        let attachment = Attachment {
            container: "6a2c0a3d-57c6-4b7a-a3cc-7a0c9ee5b9c6",
            netns: Some(Path::new("/var/run/netns/cni-x")),
            ifname: "eth0",
            args: &self.args,
            netns_override: false,
        };
        let plugin = &network.plugins()[0];
        Call { network, plugin, attachment, before, wishes: &self.wishes }
    }

    fn told(&self, file: &str) -> String {
        fs::read_to_string(self.plugins.path().join(file)).unwrap()
    }

    fn answer(&self, verb: &str, text: &str, exit: i32) {
        self.plugins.write(&format!("answer.{verb}"), text);
        self.plugins.write(&format!("answer.{verb}.code"), &exit.to_string());
    }

    fn calls(&self) -> usize {
        self.told("count").trim().parse().unwrap()
    }
}

fn network(file: &str, text: &str) -> Network {
    Network::parse(Path::new(file), text.as_bytes()).unwrap()
}

/// A network of one plugin, `fake`, of a version.
fn fake(version: &str) -> Network {
    let text = format!(
        r#"{{"name":"n","cniVersion":"{version}","plugins":[{{"type":"fake","capabilities":{{"portMappings":true}},"cni.dev/x":1,"args":{{"a":1}}}}]}}"#
    );
    network("n.conflist", &text)
}

fn result() -> CniResult {
    CniResult {
        interfaces: vec![Interface { name: "eth0".into(), ..Interface::default() }],
        ips: vec![AssignedIp {
            address: crate::cidr::Cidr::parse("10.0.0.2/8").unwrap(),
            gateway: None,
            interface: Some(0),
        }],
        ..CniResult::default()
    }
}

#[test]
fn a_plugin_of_the_old_protocol_sees_all_variables_and_its_file() {
    let stage = Stage::new();
    let text = "{ \"name\": \"n\",  \"type\": \"fake\",\n \"odd\" : [1 ] }\n";
    let network = network("n.conf", text);
    stage.answer("ADD", r#"{"ip4":{"ip":"10.0.0.2/8"}}"#, 0);
    let mut runner = stage.runner();
    let found = runner.add(&stage.call(&network, None)).unwrap();
    assert_eq!(found.ipv4().unwrap().address.to_string(), "10.0.0.2/8");
    runner.del(&stage.call(&network, Some(&found))).unwrap();
    // No VERSION: programs of 0.1 do not know it.
    assert_eq!(stage.calls(), 2);
    for (number, verb) in [(1, "ADD"), (2, "DEL")] {
        assert_eq!(stage.told(&format!("stdin.{number}")), text);
        assert_eq!(
            stage.told(&format!("env.{number}")),
            format!(
                "CNI_ARGS=IP=1.2.3.4;X=a b\nCNI_COMMAND={verb}\n\
                 CNI_CONTAINERID=6a2c0a3d-57c6-4b7a-a3cc-7a0c9ee5b9c6\nCNI_IFNAME=eth0\n\
                 CNI_NETNS=/var/run/netns/cni-x\nCNI_PATH=/nowhere:{}\nCNI_VERSION=0.1.0\n",
                stage.plugins.path().display()
            )
        );
        assert_eq!(stage.told(&format!("cwd.{number}")).trim(), stage.pod.path().to_str().unwrap());
    }
}

#[test]
fn no_descriptor_of_the_caller_reaches_a_plugin() {
    let stage = Stage::new();
    // As every program of rkt does first of all.
    sys::descriptor::seal_inherited().unwrap();
    let _held = fs::File::open("/dev/null").unwrap();
    stage.runner().add(&stage.call(&fake("0.1.0"), None)).unwrap();
    let told = stage.told("fds.1");
    // 3 is the folder that ls reads, 10 the shell's script.
    let left: Vec<&str> = told.split_whitespace().filter(|fd| *fd != "10").collect();
    assert_eq!(left, ["0", "1", "2", "3"]);
}

#[test]
fn what_the_runtime_adds_to_a_configuration() {
    let mut stage = Stage::new();
    stage.wishes.ports =
        vec![PortMapping { host_port: 80, pod_port: 8080, protocol: "tcp".into(), host_ip: None }];
    let network = fake("0.4.0");
    let mut runner = stage.runner();
    runner.add(&stage.call(&network, Some(&result()))).unwrap();
    assert_eq!(runner.check(&stage.call(&network, Some(&result()))).unwrap(), Asked::Yes);
    runner.del(&stage.call(&network, Some(&result()))).unwrap();
    assert_eq!(stage.calls(), 4);
    assert_eq!(stage.told("stdin.1"), r#"{"cniVersion":"0.4.0"}"#);
    let input = r#"{"cniVersion":"0.4.0","name":"n","type":"fake","args":{"a":1},"runtimeConfig":{"portMappings":[{"hostPort":80,"containerPort":8080,"protocol":"tcp"}]},"prevResult":{"cniVersion":"0.4.0","interfaces":[{"name":"eth0"}],"ips":[{"version":"4","interface":0,"address":"10.0.0.2/8"}],"dns":{}}}"#;
    for (number, verb) in [(2, "ADD"), (3, "CHECK"), (4, "DEL")] {
        assert_eq!(stage.told(&format!("stdin.{number}")), input, "{verb}");
        assert!(stage.told(&format!("env.{number}")).contains(&format!("CNI_COMMAND={verb}\n")));
    }
}

#[test]
fn what_a_version_has_no_word_for_is_not_asked() {
    let stage = Stage::new();
    stage.plugins.write(
        "answer.VERSION",
        r#"{"supportedVersions":["0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}"#,
    );
    let valid = [ValidAttachment { container: "c".into(), ifname: "eth0".into() }];
    for (version, check, gc, del_before) in [
        ("0.1.0", Asked::No, Asked::No, false),
        ("0.3.1", Asked::No, Asked::No, false),
        ("0.4.0", Asked::Yes, Asked::No, true),
        ("1.0.0", Asked::Yes, Asked::No, true),
        ("1.1.0", Asked::Yes, Asked::Yes, true),
    ] {
        let network = fake(version);
        let mut runner = stage.runner();
        let before = CniResult::default();
        let call = stage.call(&network, Some(&before));
        assert_eq!(runner.check(&call).unwrap(), check, "{version}");
        assert_eq!(runner.gc(&network, call.plugin, &valid).unwrap(), gc, "{version}");
        if gc == Asked::Yes {
            let input = stage.told(&format!("stdin.{}", stage.calls()));
            assert!(
                input.contains(
                    r#""cni.dev/valid-attachments":[{"containerID":"c","ifname":"eth0"}]"#
                ),
                "{input}"
            );
            let variables = stage.told(&format!("env.{}", stage.calls()));
            assert!(!variables.contains("CNI_CONTAINERID"), "{variables}");
        }
        assert_eq!(runner.status(&network, call.plugin).unwrap(), gc, "{version}");
        runner.del(&call).unwrap();
        let input = stage.told(&format!("stdin.{}", stage.calls()));
        assert_eq!(input.contains("prevResult"), del_before, "{version}");
    }
    let text = r#"{"name":"n","cniVersion":"1.1.0","disableCheck":true,"disableGC":true,"plugins":[{"type":"fake"}]}"#;
    let quiet = network("n.conflist", text);
    let mut runner = stage.runner();
    assert_eq!(runner.check(&stage.call(&quiet, None)).unwrap(), Asked::No);
    assert_eq!(runner.gc(&quiet, &quiet.plugins()[0], &valid).unwrap(), Asked::No);
}

#[test]
fn versions_are_asked_for_once_and_hold() {
    let stage = Stage::new();
    let mut runner = stage.runner();
    runner.add(&stage.call(&fake("1.0.0"), None)).unwrap();
    runner.add(&stage.call(&fake("0.3.1"), None)).unwrap();
    assert_eq!(stage.calls(), 3);
    let error = runner.add(&stage.call(&fake("0.3.0"), None)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin \"fake\" does not support CNI version 0.3.0, only 0.3.1, 0.4.0, 1.0.0, 1.1.0"
    );
    // A program from before 0.2 does not know the word.
    stage.answer("VERSION", r#"{"code":4,"msg":"unknown CNI_COMMAND: VERSION"}"#, 1);
    let error = stage.runner().add(&stage.call(&fake("0.2.0"), None)).unwrap_err();
    assert!(error.to_string().ends_with("version 0.2.0, only 0.1.0"), "{error}");
}

#[test]
fn failures_are_shown_in_the_plugins_words() {
    let stage = Stage::new();
    let network = fake("0.1.0");
    for (answer, exit, expected) in [
        (
            r#"{"code":7,"msg":"bad","details":"no subnet"}"#,
            1,
            "plugin \"fake\" failed: bad; no subnet",
        ),
        ("oops", 3, "plugin \"fake\" ended with exit code 3"),
        ("", 1, "plugin \"fake\" ended with exit code 1"),
        ("oops", 0, "plugin \"fake\" answered badly: result is not valid JSON: "),
    ] {
        stage.answer("ADD", answer, exit);
        let error = chain(&stage.runner().add(&stage.call(&network, None)).unwrap_err());
        assert!(error.starts_with(expected), "{error}");
    }
    stage.answer("DEL", r#"{"code":3,"msg":"unknown container"}"#, 1);
    stage.runner().del(&stage.call(&network, None)).unwrap();
    stage.answer("DEL", r#"{"code":5,"msg":"I/O"}"#, 1);
    stage.runner().del(&stage.call(&network, None)).unwrap_err();
}

#[test]
fn a_gone_namespace_is_empty() {
    let stage = Stage::new();
    let network = fake("0.1.0");
    let mut call = stage.call(&network, None);
    call.attachment.netns = None;
    call.attachment.netns_override = true;
    stage.runner().del(&call).unwrap();
    let variables = stage.told("env.1");
    assert!(variables.contains("CNI_NETNS=\n"), "{variables}");
    assert!(variables.contains("CNI_NETNS_OVERRIDE=true\n"), "{variables}");
}

#[test]
fn what_may_work_later_is_tried_again() {
    let stage = Stage::new();
    let network = fake("0.1.0");
    stage.answer("ADD.1", r#"{"code":11,"msg":"later"}"#, 1);
    stage.answer("ADD", r#"{"ip4":{"ip":"10.0.0.2/8"}}"#, 0);
    stage.runner().add(&stage.call(&network, None)).unwrap();
    assert_eq!(stage.calls(), 2);
    // Not for ever.
    stage.answer("ADD", r#"{"code":11,"msg":"later"}"#, 1);
    let mut runner = stage.runner().within(Duration::from_secs(1));
    let error = chain(&runner.add(&stage.call(&network, None)).unwrap_err());
    assert_eq!(error, "plugin \"fake\" failed: later");
    assert!((4..=8).contains(&stage.calls()), "{}", stage.calls());
}

#[test]
fn a_plugin_has_bounds() {
    let stage = Stage::new();
    let network = fake("0.1.0");
    let add = |program: &str, limit| {
        stage.plugins.program("fake", program);
        let mut runner = stage.runner().within(limit);
        runner.add(&stage.call(&network, None)).map_err(|error| chain(&error))
    };
    let long = Duration::from_mins(1);
    assert_eq!(
        add("#!/bin/sh\nexec tail -f /dev/null\n", Duration::from_millis(200)).unwrap_err(),
        "cannot run plugin \"fake\": it did not end within 0 seconds"
    );
    assert_eq!(
        add("#!/bin/sh\nexec yes\n", long).unwrap_err(),
        "cannot run plugin \"fake\": it wrote more than 1 MiB"
    );
    assert_eq!(
        add("#!/bin/sh\nkill -9 $$\n", long).unwrap_err(),
        "plugin \"fake\" was ended by signal 9"
    );
    // Somebody it left behind holds the pipe; nobody waits for that.
    let begun = Instant::now();
    add("#!/bin/sh\ntail -f /dev/null & echo $! > \"${0%/*}/left\"\necho '{}'\n", long).unwrap();
    assert!(begun.elapsed() < long / 2);
    let left: i32 = stage.told("left").trim().parse().unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(left).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    assert_eq!(
        add("#!/nowhere/sh\n", long).unwrap_err(),
        format!(
            "cannot run plugin \"fake\": exec {}: no such file or directory",
            stage.plugins.path().join("fake").display()
        )
    );
}

#[test]
fn much_in_and_out_at_once_is_no_deadlock() {
    let stage = Stage::new();
    stage.plugins.program(
        "fake",
        "#!/bin/sh\necho '{\"x\":\"'\nhead -c 900000 /dev/zero | tr '\\0' x\necho '\"}' >&2\ncat > /dev/null\n",
    );
    let text = format!(r#"{{"name":"n","type":"fake","x":"{}"}}"#, "y".repeat(900_000));
    let network = network("n.conf", &text);
    let error = chain(&stage.runner().add(&stage.call(&network, None)).unwrap_err());
    assert!(error.contains("not valid JSON"), "{error}");
    // Nobody has to read what is told.
    stage.plugins.program("fake", "#!/bin/sh\necho '{}'\n");
    stage.runner().add(&stage.call(&network, None)).unwrap();
}

#[test]
fn plugins_are_programs_of_a_plain_name_in_the_first_folder() {
    let (first, second) = (Scratch::new(), Scratch::new());
    let path = PluginPath::of([first.path().to_owned(), second.path().to_owned()]);
    let find = |name: &str| path.find(&PluginType::parse(name).unwrap());
    let error = find("ptp").unwrap_err();
    assert_eq!(error.to_string(), "Could not find plugin \"ptp\"");
    let far = second.program("ptp", "");
    fs::create_dir(first.path().join("ptp")).unwrap();
    assert_eq!(find("ptp").unwrap(), far);
    fs::remove_dir(first.path().join("ptp")).unwrap();
    let plain = first.write("ptp", "");
    assert_eq!(find("ptp").unwrap(), far);
    fs::remove_file(&plain).unwrap();
    symlink(&far, &plain).unwrap();
    assert_eq!(find("ptp").unwrap(), plain);
}

#[test]
fn folders_of_plugins() {
    let path = PluginPath::new(
        Path::new("/etc/rkt"),
        Path::new("/pod/stage1/rootfs"),
        Some("/mine:relative::/opt/cni/bin:/mine".as_ref()),
    );
    assert_eq!(
        path.variable(),
        "/etc/rkt/net.d:/usr/lib/rkt/plugins/net:/pod/stage1/rootfs/usr/lib/rkt/plugins/net:/mine:\
         /opt/cni/bin"
    );
    let path = PluginPath::new(Path::new("/etc/rkt"), Path::new("/a:b"), None);
    assert_eq!(path.variable(), "/etc/rkt/net.d:/usr/lib/rkt/plugins/net:/opt/cni/bin");
}

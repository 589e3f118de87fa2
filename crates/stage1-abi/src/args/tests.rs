use super::*;
use proptest::prelude::*;

const UUID: &str = "465e8ea3-3206-4d98-a2db-0bb850dc3773";

fn uuid() -> PodUuid {
    PodUuid::parse(UUID).unwrap()
}

fn words(argv: &[OsString]) -> Vec<&str> {
    argv.iter().map(|w| w.to_str().unwrap()).collect()
}

#[test]
fn the_order_is_that_of_the_contract() {
    let mut args = RunArgs::new(uuid(), "none");
    args.switches = [Switch::Interactive, Switch::Debug, Switch::DisablePaths].into();
    args.local_config = Some("/etc/rkt".into());
    args.hostname = Some("h".into());
    args.hosts = DnsMode::Host;
    args.ipc = Some("parent".into());
    let (argv, left_out) = args.encode(InterfaceVersion(6));
    assert_eq!(
        words(&argv),
        [
            "--debug",
            "--net=none",
            "--interactive",
            "--local-config=/etc/rkt",
            "--hostname=h",
            "--dns-conf-mode=resolv=default,hosts=host",
            "--disable-paths",
            "--ipc=parent",
            UUID
        ]
    );
    assert_eq!(left_out, []);
}

#[test]
fn an_old_stage1_gets_nothing_newer() {
    let mut args = RunArgs::new(uuid(), "default");
    args.switches = [Switch::DisableSeccomp].into();
    args.hostname = Some("h".into());
    args.resolv = DnsMode::Stage0;
    args.ipc = Some("private".into());
    let (argv, left_out) = args.encode(InterfaceVersion::FIRST);
    assert_eq!(words(&argv), ["--net=default", UUID]);
    let names: Vec<_> = left_out.iter().map(|f| f.name()).collect();
    assert_eq!(names, ["hostname", "dns-conf-mode", "disable-seccomp", "ipc"]);
}

#[test]
fn what_breaks_the_contract_is_named() {
    let decode = |argv: &[&str]| RunArgs::decode(argv.iter().map(OsString::from)).unwrap_err();
    assert_eq!(decode(&[]), BadArgs::Uuid);
    assert_eq!(decode(&["--net=none"]), BadArgs::Uuid);
    assert_eq!(decode(&["--new", UUID]), BadArgs::Unknown("--new".into()));
    assert_eq!(
        decode(&["--dns-conf-mode=resolv=x", UUID]),
        BadArgs::Value { flag: "dns-conf-mode", value: "resolv=x".into() }
    );
    let enter = |argv: &[&str]| EnterArgs::decode(argv.iter().map(OsString::from)).unwrap_err();
    enter(&["--pid=0", "--appname=a", "--", "x"]);
    enter(&["--pid=1", "--appname=a", "--"]);
    let export = |argv: &[&str]| ExportArgs::decode(argv.iter().map(OsString::from)).unwrap_err();
    assert_eq!(export(&["--appname=a"]), BadArgs::Value { flag: "pid", value: String::new() });
    assert_eq!(export(&["--pid=1"]), BadArgs::Value { flag: "appname", value: String::new() });
    assert_eq!(export(&["--pid=1", "--appname=a", "x"]), BadArgs::Unknown("x".into()));
    assert_eq!(export(&["--pid=1", "--appname=a", "--", "x"]), BadArgs::Unknown("x".into()));
}

#[test]
fn gc_knows_the_directory_from_version_five_on() {
    let args = GcArgs { debug: true, local_config: Some("/c".into()), uuid: uuid() };
    assert_eq!(words(&args.encode(InterfaceVersion(4))), ["--debug", UUID]);
    let argv = args.encode(InterfaceVersion(5));
    assert_eq!(words(&argv), ["--debug", "--local-config", "/c", UUID]);
    assert_eq!(GcArgs::decode(argv.into_iter()).unwrap(), args);
}

#[test]
fn stop_enter_and_export_round_trip() {
    for force in [true, false] {
        let args = StopArgs { force, uuid: uuid() };
        assert_eq!(StopArgs::decode(args.encode().into_iter()).unwrap(), args);
    }
    let args = EnterArgs {
        pid: 7,
        app: "a".into(),
        command: ["sh", "--", "--pid=3"].map(OsString::from).into(),
    };
    assert_eq!(EnterArgs::decode(args.encode().into_iter()).unwrap(), args);
    let args = ExportArgs { pid: 7, app: "a".into() };
    assert_eq!(words(&args.encode()), ["--pid=7", "--appname=a"]);
    assert_eq!(ExportArgs::decode(args.encode().into_iter()).unwrap(), args);
}

fn mode() -> impl Strategy<Value = DnsMode> {
    prop::sample::select(DnsMode::ALL.map(|(mode, _)| mode).to_vec())
}

proptest! {
    #[test]
    fn run_round_trips(
        switches in prop::collection::btree_set(prop::sample::select(Switch::ALL.to_vec()), 0..6),
        net in "[a-z:=,.]{0,20}",
        texts in prop::array::uniform5(prop::option::of("[a-zA-Z0-9/:.=-]{1,12}")),
        resolv in mode(),
        hosts in mode(),
    ) {
        let [private_users, mds_token, local_config, hostname, ipc] = texts;
        let args = RunArgs {
            switches, net, private_users, mds_token, local_config, hostname, resolv, hosts, ipc, uuid: uuid(),
        };
        let (argv, left_out) = args.encode(InterfaceVersion::CURRENT);
        prop_assert!(left_out.is_empty());
        prop_assert_eq!(RunArgs::decode(argv.into_iter()).unwrap(), args);
    }
}

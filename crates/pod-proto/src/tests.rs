//! Round trips, the bytes of version 3, and what a hostile peer may send.

use crate::config::{
    AppConfig, Config, Dialogue, HostsFile, Interface, Network, Route, Seed, Setting, Share, Time,
};
use crate::frame::{Decoder, HEADER, Message, WireError};
use crate::limits;
use crate::message::{End, Exec, Export, FromGuest, FromHost, Process, Size, Usage, Used};
use crate::preamble::{LENGTH, Preamble, Stream, Token};
use crate::session::Session;
use crate::text::{Sentence, Word};
use proptest::prelude::*;
use stage2::identity::{GroupRule, Wanted};
use stage2::kernel_fs::KernelPaths;
use stage2::mounts::{Access, MountStep, Source};
use stage2::spec::Commands;
use stage2::{AppSpec, MountPlan};
use std::fmt::Debug;

const TOKEN: Token = Token::new([7; 32]);

fn step(source: &Source, target: &str) -> MountStep {
    let text = serde_json::json!({
        "source": source, "target": target, "access": "read-only", "depth": "recursive"
    });
    serde_json::from_value(text).unwrap()
}

fn address(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

fn network(text: &str, bits: u8) -> Network {
    Network { address: address(text), bits }
}

fn to(text: &str, bits: u8) -> Route {
    let to = network(text, bits);
    Route { to, gateway: None, source: None, metric: None, mtu: None, onlink: false }
}

fn setting(path: &str) -> Setting {
    Setting { path: path.into(), value: "7".into() }
}

fn config() -> Config {
    let rights = r#"{"capabilities":32,"no_new_privileges":true}"#;
    let limits = r#"{"memory":1048576,"cpu_milli":null,"cpu_shares":2,"pids":10}"#;
    let spec = format!(
        r#"{{"name":"web","commands":{{"main":["/bin/web","-x"],"pre_start":[],"post_stop":["/bye"]}},
        "identity":{{"user":"web","group":"","supplementary":[5],"rule":"of-user"}},"directory":"/srv",
        "environment":[["PATH","/bin"]],"rights":{rights},"limits":{limits},"oom_score_adj":-5,"root":"read-only",
        "stop_signal":3,"seeded":true}}"#
    );
    let empty = Source::Empty { name: "v".into(), mode: 0o755, uid: 1, gid: 2, seeded: true };
    Config {
        token: TOKEN,
        hostname: "pod".into(),
        hosts: HostsFile::Text("127.0.0.1 pod\n".into()),
        resolv: Some("nameserver 10.0.0.1\n".into()),
        interfaces: vec![Interface {
            name: "eth0".into(),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1400,
            addresses: vec![network("10.0.0.2", 24), network("fd00::2", 64)],
            routes: vec![
                Route { gateway: Some(address("10.0.0.1")), onlink: true, ..to("0.0.0.0", 0) },
                Route { metric: Some(9), mtu: Some(1300), ..to("fd01::", 16) },
            ],
        }],
        settings: vec![setting("net/core/somaxconn")],
        kernel_paths: KernelPaths::Protected,
        writable: 1 << 20,
        shares: vec![Share { tag: "host".into() }],
        apps: vec![AppConfig {
            spec: serde_json::from_str(&spec).unwrap(),
            mounts: MountPlan {
                steps: vec![step(&empty, "/v"), step(&Source::Host("host/data".into()), "/data")],
                implicit: vec!["v".into()],
            },
            layers: vec![1, 2],
            dialogue: Dialogue::Terminal(Size { rows: 24, columns: 80 }),
        }],
        time: Time { seconds: 1_700_000_000, nanoseconds: 5 },
        seed: Seed([9; 32]),
    }
}

fn exec(id: u32) -> FromHost {
    FromHost::Exec(Exec {
        id,
        app: 0,
        command: vec![Word(b"ls".to_vec()), Word(vec![0xff, 0])],
        term: Some(Word(b"xterm".to_vec())),
        dialogue: Dialogue::Streams,
    })
}

fn export(id: u32) -> FromHost {
    FromHost::Export(Export { id, app: 0 })
}

fn from_host() -> Vec<FromHost> {
    vec![
        FromHost::Configure(Box::new(config())),
        FromHost::Start,
        exec(1),
        FromHost::Resize(Process::App(0), Size { rows: 1, columns: 2 }),
        FromHost::Signal(Process::Exec(1), 15),
        FromHost::Stats,
        FromHost::SyncTime(Time { seconds: 1, nanoseconds: 2 }),
        FromHost::Stop(10_000),
        export(2),
        FromHost::Connect(Box::new(config().interfaces.remove(0))),
    ]
}

fn from_guest() -> Vec<FromGuest> {
    let used = Used { memory: Some(1), cpu: Some(2), tasks: None };
    vec![
        FromGuest::Ready,
        FromGuest::Started(Process::App(0), 12),
        FromGuest::Started(Process::Exec(1), 13),
        FromGuest::Usage(Usage { memory_total: 9, memory_free: 8, apps: vec![used] }),
        FromGuest::Exited(Process::Exec(1), End::Signal(9)),
        FromGuest::Exited(Process::App(0), End::Code(3)),
        FromGuest::Stopped(3),
    ]
}

fn decode<M: Message>(bytes: &[u8]) -> Result<Vec<M>, WireError> {
    let (mut decoder, mut rest, mut all) = (Decoder::<M>::default(), bytes, Vec::new());
    while let Some(message) = decoder.feed(&mut rest)? {
        all.push(message);
    }
    assert!(rest.is_empty());
    decoder.finish()?;
    Ok(all)
}

fn frame(length: u32, kind: u8, body: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes()[..], &[kind], body].concat()
}

fn whole(kind: u8, body: &str) -> Vec<u8> {
    frame(u32::try_from(body.len()).unwrap(), kind, body.as_bytes())
}

fn same_in_pieces<M: Message + PartialEq + Debug>(all: &[M], pieces: &[usize]) {
    let bytes: Vec<u8> = all.iter().flat_map(|m| m.encode().unwrap()).collect();
    let (mut decoder, mut found) = (Decoder::<M>::default(), Vec::new());
    let mut rest = bytes.as_slice();
    let mut sizes = pieces.iter().cycle();
    while !rest.is_empty() {
        let (mut piece, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        rest = later;
        while let Some(message) = decoder.feed(&mut piece).unwrap() {
            found.push(message);
        }
        assert!(piece.is_empty());
    }
    decoder.finish().unwrap();
    assert_eq!(found, all);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_arrive_however_the_bytes_are_cut(pieces in prop::collection::vec(1_usize..3000, 1..8)) {
        same_in_pieces(&from_host(), &pieces);
        same_in_pieces(&from_guest(), &pieces);
    }

    #[test]
    fn arbitrary_bytes_are_an_error_or_wait_for_more(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        drop(decode::<FromGuest>(&bytes));
        drop(decode::<FromHost>(&bytes));
        let mut session = Session::new(Preamble::Control).unwrap();
        let mut rest = bytes.as_slice();
        while let Ok(Some(_)) = session.feed(&mut rest) {}
        if let Some(first) = bytes.first_chunk::<LENGTH>() {
            prop_assert_eq!(Preamble::decode(first), Err(WireError::Foreign));
        }
    }

    /// Right headers, wrong bodies: every kind is reached.
    #[test]
    fn arbitrary_bodies_are_never_a_panic(kind in 1_u8..140, body in "[\\[\\]{}\",:0-9a-z\\\\-]{0,80}") {
        let bytes = whole(kind, &body);
        drop(decode::<FromGuest>(&bytes));
        drop(decode::<FromHost>(&bytes));
    }

    #[test]
    fn a_changed_byte_of_a_preamble_is_noticed_or_means_another_stream(at in 0..LENGTH, bit in 0_u32..8) {
        let one = Preamble::Stream { process: Process::App(0), stream: Stream::Input, token: TOKEN };
        let mut bytes = one.encode();
        bytes[at] ^= 1_u8 << bit;
        match Preamble::decode(&bytes) {
            Ok(other) => prop_assert!(other != one && other.encode() == bytes),
            Err(WireError::Foreign) => prop_assert!(at < 4),
            Err(WireError::Version { .. }) => prop_assert!((4..8).contains(&at)),
            Err(error) => prop_assert_eq!(error, WireError::Preamble),
        }
    }

    #[test]
    fn words_may_be_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let word = Word(bytes);
        let text = serde_json::to_string(&word).unwrap();
        prop_assert_eq!(serde_json::from_str::<Word>(&text).unwrap(), word);
    }
}

#[test]
fn preambles_come_back() {
    let token = TOKEN;
    for preamble in [
        Preamble::Control,
        Preamble::Stream { process: Process::App(1), stream: Stream::Error, token },
        Preamble::Stream { process: Process::Exec(u32::MAX), stream: Stream::Terminal, token },
    ] {
        assert_eq!(Preamble::decode(&preamble.encode()), Ok(preamble));
    }
}

/// The wire of version 3. If this fails, so would a peer: make a new version.
#[test]
fn version_3_has_these_bytes() {
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let other = Interface {
        name: "eth1".into(),
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1400,
        addresses: vec![network("10.0.0.3", 24)],
        routes: Vec::new(),
    };
    let expected: [(FromHost, &str); 9] = [
        (FromHost::Start, "\0\0\0\0\u{2}"),
        (
            exec(1),
            "M\0\0\0\u{3}{\"id\":1,\"app\":0,\"command\":[\"ls\",[255,0]],\"term\":\"xterm\",\"dialogue\":\"streams\"}",
        ),
        (
            FromHost::Resize(Process::App(0), Size { rows: 1, columns: 2 }),
            "\u{22}\0\0\0\u{4}[{\"app\":0},{\"rows\":1,\"columns\":2}]",
        ),
        (FromHost::Signal(Process::Exec(1), 15), "\u{f}\0\0\0\u{5}[{\"exec\":1},15]"),
        (FromHost::Stats, "\0\0\0\0\u{6}"),
        (
            FromHost::SyncTime(Time { seconds: 1, nanoseconds: 2 }),
            "\u{1d}\0\0\0\u{7}{\"seconds\":1,\"nanoseconds\":2}",
        ),
        (FromHost::Stop(10_000), "\u{5}\0\0\0\u{8}10000"),
        (export(2), "\u{10}\0\0\0\t{\"id\":2,\"app\":0}"),
        (
            FromHost::Connect(Box::new(other)),
            "i\0\0\0\n{\"name\":\"eth1\",\"mac\":[2,0,0,0,0,1],\"mtu\":1400,\
             \"addresses\":[{\"address\":\"10.0.0.3\",\"bits\":24}],\"routes\":[]}",
        ),
    ];
    for (message, text) in expected {
        assert_eq!(told(&message.encode().unwrap()), text);
    }
    let bodies = [
        "",
        "[{\"app\":0},12]",
        "[{\"exec\":1},13]",
        "{\"memory_total\":9,\"memory_free\":8,\"apps\":[{\"memory\":1,\"cpu\":2,\"tasks\":null}]}",
        "[{\"exec\":1},{\"signal\":9}]",
        "[{\"app\":0},{\"code\":3}]",
        "3",
    ];
    let kinds = [129, 131, 131, 134, 133, 133, 135];
    for ((message, body), kind) in from_guest().iter().zip(bodies).zip(kinds) {
        assert_eq!(message.encode().unwrap(), whole(kind, body));
    }
    let failed = FromGuest::Failed(Sentence::new("no"));
    assert_eq!(failed.encode().unwrap(), whole(130, "\"no\""));
    let refused = FromGuest::Refused(1, Sentence::new("no"));
    assert_eq!(refused.encode().unwrap(), whole(132, "[1,\"no\"]"));

    let golden = include_str!("golden/configure.json").trim_end();
    let configure = FromHost::Configure(Box::new(config()));
    assert_eq!(told(&configure.encode().unwrap()), told(&whole(1, golden)));

    let stream =
        Preamble::Stream { process: Process::Exec(258), stream: Stream::Error, token: TOKEN };
    let expected = [&b"rktp\x03\0\0\0\x01\x02\x01\0\x02\x01\0\0"[..], &[7; 32]].concat();
    assert_eq!(stream.encode().as_slice(), expected);
    let expected = [&b"rktp\x03\0\0\0"[..], &[0; 40]].concat();
    assert_eq!(Preamble::Control.encode().as_slice(), expected);
}

#[test]
fn what_is_announced_is_judged_before_it_comes() {
    let fed = |bytes: &[u8]| Decoder::<FromGuest>::default().feed(&mut &bytes[..]);
    assert_eq!(fed(&frame(u32::MAX, 0, b"")), Err(WireError::Kind(0)));
    assert_eq!(fed(&frame(0, 2, b"")), Err(WireError::Kind(2)));
    let limit = limits::SMALL_BODY;
    for (length, too_long) in [(limit, false), (limit + 1, true), (u32::MAX as usize, true)] {
        let answer = fed(&frame(u32::try_from(length).unwrap(), 131, b""));
        let expected = WireError::TooLong { name: "started", length, limit };
        assert_eq!(answer, if too_long { Err(expected) } else { Ok(None) });
    }
    let large = format!("a message started of 4294967295 bytes, where at most {limit} are allowed");
    assert_eq!(fed(&frame(u32::MAX, 131, b"")).unwrap_err().to_string(), large);
}

#[test]
fn a_decoder_that_failed_says_nothing_else() {
    let mut decoder = Decoder::<FromGuest>::default();
    decoder.feed(&mut &whole(9, "")[..]).unwrap_err();
    let good = FromGuest::Ready.encode().unwrap();
    let mut rest = good.as_slice();
    assert_eq!(decoder.feed(&mut rest), Err(WireError::Kind(9)));
    assert_eq!((rest.len(), decoder.finish()), (HEADER, Err(WireError::Kind(9))));
}

#[test]
fn an_end_within_a_message_is_told() {
    let bytes = FromGuest::Stopped(1).encode().unwrap();
    for length in 0..bytes.len() {
        let mut decoder = Decoder::<FromGuest>::default();
        assert_eq!(decoder.feed(&mut &bytes[..length]), Ok(None));
        let expected = if length == 0 { Ok(()) } else { Err(WireError::CutOff) };
        assert_eq!(decoder.finish(), expected);
    }
}

#[test]
fn bodies_that_say_something_else_are_malformed() {
    let deep = "[".repeat(200);
    for (kind, body) in [
        (129, "x"),
        (131, ""),
        (131, "[{\"app\":0}]"),
        (131, "[{\"app\":-1},1]"),
        (131, "[{\"app\":0},1,2]"),
        (131, "[{\"app\":0,\"exec\":0},1]"),
        (131, "[{\"other\":0},1]"),
        (131, deep.as_str()),
        (133, "[{\"app\":0},{\"code\":256}]"),
        (133, "[{\"app\":0},{\"signal\":0}]"),
        (133, "[{\"app\":0},{\"signal\":65}]"),
        (134, "{\"memory_total\":1,\"memory_free\":1,\"apps\":[],\"more\":1}"),
        (135, "300"),
        (135, "1 1"),
        (135, "\u{1b}[2J"),
    ] {
        let error = decode::<FromGuest>(&whole(kind, body)).unwrap_err();
        assert!(matches!(error, WireError::Malformed { .. }), "{kind} {body}: {error}");
        assert!(!error.to_string().contains('\u{1b}'));
    }
    for (kind, body) in [
        (5, "[{\"app\":0},0]"),
        (5, "[{\"app\":0},65]"),
        (8, "-1"),
        (2, "{}"),
        (9, "{\"id\":1}"),
        (9, "{\"id\":1,\"app\":0,\"path\":\"/\"}"),
    ] {
        decode::<FromHost>(&whole(kind, body)).unwrap_err();
    }
}

#[test]
fn configurations_that_cannot_be_are_refused_on_both_sides() {
    let change = |change: &dyn Fn(&mut Config)| {
        let mut config = config();
        change(&mut config);
        let bytes = FromHost::Configure(Box::new(config.clone())).encode().unwrap();
        let received = decode::<FromHost>(&bytes).map(drop);
        assert_eq!(received, config.check());
        received
    };
    change(&|_| {}).unwrap();
    let app = config().apps.remove(0);
    let mounted = |path: &str| {
        change(&|c| c.apps[0].mounts.steps = vec![step(&Source::Host(path.into()), "/x")])
    };
    mounted("host").unwrap();
    for path in ["other/x", "/host", "host/../x", "", "../host"] {
        mounted(path).unwrap_err();
    }
    change(&|c| c.apps.clear()).unwrap_err();
    change(&|c| c.apps.push(app.clone())).unwrap_err();
    change(&|c| c.apps[0].spec.name = "a/b".into()).unwrap_err();
    change(&|c| c.apps[0].layers.clear()).unwrap_err();
    change(&|c| c.apps[0].layers.push(0)).unwrap_err();
    change(&|c| c.apps[0].layers.push(limits::PARTITIONS + 1)).unwrap_err();
    change(&|c| c.shares.push(Share { tag: "..".into() })).unwrap_err();
    change(&|c| c.shares.push(Share { tag: "x".repeat(limits::TAG + 1) })).unwrap_err();
    change(&|c| c.time.nanoseconds = 1_000_000_000).unwrap_err();
    for bad in ["", "net", "net/", "/net/x", "net//x", "net/../kernel/x", "kernel/x", "net/x\0"] {
        change(&|c| c.settings = vec![setting(bad)]).unwrap_err();
    }
    let eth0 = "net/ipv4/conf/eth0.1/rp_filter";
    change(&|c| c.settings = vec![setting(eth0); limits::SETTINGS]).unwrap();
    change(&|c| c.settings = vec![setting(eth0); limits::SETTINGS + 1]).unwrap_err();
}

#[test]
fn interfaces_that_cannot_be_are_refused_on_both_sides() {
    let change = |change: &dyn Fn(&mut Interface)| {
        let mut config = config();
        change(&mut config.interfaces[0]);
        let bytes = FromHost::Configure(Box::new(config.clone())).encode().unwrap();
        let received = decode::<FromHost>(&bytes).map(drop);
        assert_eq!(received, config.check());
        received
    };
    for name in ["", ".", "..", "lo", "a/b", "a b", "a:1", "a\0", "sixteen-letters-"] {
        change(&|one| one.name = name.into()).unwrap_err();
    }
    change(&|one| one.name = "fifteen-letters".into()).unwrap();
    for mac in [[0; 6], [1, 0, 0, 0, 0, 1], [0xff; 6]] {
        change(&|one| one.mac = mac).unwrap_err();
    }
    change(&|one| one.mtu = 67).unwrap_err();
    change(&|one| one.mtu = u16::MAX).unwrap();
    for (bad, bits) in
        [("10.0.0.1", 33), ("fd00::1", 129), ("0.0.0.0", 8), ("224.0.0.1", 8), ("::", 8)]
    {
        change(&|one| one.addresses = vec![network(bad, bits)]).unwrap_err();
    }
    change(&|one| one.addresses = vec![network("10.0.0.1", 8); limits::ADDRESSES]).unwrap();
    change(&|one| one.addresses = vec![network("10.0.0.1", 8); limits::ADDRESSES + 1]).unwrap_err();
    change(&|one| one.routes = vec![to("10.0.0.0", 8); limits::ROUTES]).unwrap();
    change(&|one| one.routes = vec![to("10.0.0.0", 8); limits::ROUTES + 1]).unwrap_err();
    for bad in [
        to("10.0.0.0", 33),
        Route { gateway: Some(address("fd00::1")), ..to("10.0.0.0", 8) },
        Route { source: Some(address("10.0.0.2")), ..to("fd00::", 8) },
        Route { onlink: true, ..to("10.0.0.0", 8) },
    ] {
        change(&|one| one.routes = vec![bad]).unwrap_err();
    }
    let twice = |change: &dyn Fn(&mut Interface)| {
        let mut config = config();
        let mut other = config.interfaces[0].clone();
        change(&mut other);
        config.interfaces.push(other);
        config.check()
    };
    twice(&|other| other.name = "eth1".into()).unwrap_err();
    twice(&|other| other.mac = [2, 0, 0, 0, 0, 2]).unwrap_err();
    twice(&|other| (other.name, other.mac) = ("eth1".into(), [2, 0, 0, 0, 0, 2])).unwrap();
    let mut config = config();
    config.interfaces = (0..=limits::INTERFACES)
        .map(|n| Interface {
            name: format!("eth{n}"),
            mac: [2, 0, 0, 0, 0, u8::try_from(n).unwrap()],
            ..config.interfaces[0].clone()
        })
        .collect();
    config.check().unwrap_err();
    config.interfaces.pop();
    config.check().unwrap();
}

#[test]
fn the_network_of_an_address_has_no_host() {
    for (whole, bits, part) in [
        ("10.1.2.3", 32, "10.1.2.3"),
        ("10.1.2.3", 24, "10.1.2.0"),
        ("10.1.2.3", 0, "0.0.0.0"),
        ("fd00:1::7", 128, "fd00:1::7"),
        ("fd00:1:2:3:4::7", 64, "fd00:1:2:3::"),
        ("fd00::7", 0, "::"),
    ] {
        assert_eq!(network(whole, bits).network(), network(part, bits));
    }
}

#[test]
fn what_is_too_long_is_not_sent() {
    let mut config = config();
    config.resolv = Some("x".repeat(limits::CONFIGURE_BODY));
    let refused = FromHost::Configure(Box::new(config)).encode().unwrap_err();
    assert!(matches!(refused, WireError::TooLong { name: "configure", .. }));
}

#[test]
fn sentences_are_safe_to_show() {
    let long = "é".repeat(limits::SENTENCE);
    let read = |text: &str| -> Sentence {
        let quoted = serde_json::to_string(text).unwrap();
        let all = decode::<FromGuest>(&whole(130, &quoted)).unwrap();
        let [FromGuest::Failed(sentence)] = all.as_slice() else { panic!("{all:?}") };
        sentence.clone()
    };
    assert_eq!(read("a\u{1b}[2J\nb\u{202e}\u{9b}").as_str(), "a?[2J?b??");
    assert_eq!(read(" größe \u{7f}").as_str(), "größe ?");
    assert_eq!(read(&long).as_str().len(), limits::SENTENCE);
    // What a sentence may be, a message can carry, however JSON writes it.
    let worst = Sentence::new(&"\"".repeat(limits::SENTENCE));
    FromGuest::Refused(u32::MAX, worst).encode().unwrap();
}

#[test]
fn nothing_secret_is_shown() {
    let shown = format!("{:?}", config());
    assert!(shown.contains("token: Token") && shown.contains("seed: Seed"), "{shown}");
    assert!(!shown.contains('9') || !shown.contains("[9"));
}

#[test]
fn specifications_cross_unchanged() {
    let FromHost::Configure(config) =
        decode::<FromHost>(&FromHost::Configure(Box::new(config())).encode().unwrap())
            .unwrap()
            .remove(0)
    else {
        panic!("another message")
    };
    let AppSpec { commands, identity, root, stop_signal, .. } = &config.apps[0].spec;
    let main = vec!["/bin/web".to_owned(), "-x".to_owned()];
    let wanted = Commands { main, pre_start: vec![], post_stop: vec!["/bye".to_owned()] };
    assert_eq!(commands, &wanted);
    let wanted = Wanted {
        user: "web".into(),
        group: String::new(),
        supplementary: vec![5],
        rule: GroupRule::OfUser,
    };
    assert_eq!((identity, *root, *stop_signal), (&wanted, Access::ReadOnly, 3));
}

/// A session in which the apps run.
fn running() -> Session {
    let mut session = Session::new(Preamble::Control).unwrap();
    session.send(&FromHost::Configure(Box::new(config()))).unwrap();
    say(&mut session, &FromGuest::Ready).unwrap();
    session.send(&FromHost::Start).unwrap();
    session
}

fn say(session: &mut Session, message: &FromGuest) -> Result<(), WireError> {
    let bytes = message.encode().unwrap();
    session.feed(&mut bytes.as_slice()).map(|heard| assert_eq!(heard.as_ref(), Some(message)))
}

#[test]
fn a_whole_life_is_in_turn() {
    let mut session = Session::new(Preamble::Control).unwrap();
    for message in from_host().into_iter().take(1) {
        session.send(&message).unwrap();
    }
    let mut guest = from_guest();
    say(&mut session, &guest.remove(0)).unwrap();
    session.send(&FromHost::Start).unwrap();
    say(&mut session, &guest.remove(0)).unwrap();
    for message in from_host().split_off(2) {
        session.send(&message).unwrap();
    }
    for message in guest {
        say(&mut session, &message).unwrap();
    }
    session.finish().unwrap();
}

#[test]
fn what_the_guest_says_at_the_wrong_time_is_an_error() {
    let begun = || Session::new(Preamble::Control).unwrap();
    let app = Process::App(0);
    let failed = FromGuest::Failed(Sentence::new("x"));
    for early in [
        FromGuest::Ready,
        FromGuest::Started(app, 1),
        FromGuest::Stopped(0),
        FromGuest::Usage(Usage::default()),
        FromGuest::Exited(app, End::Code(0)),
    ] {
        say(&mut begun(), &early).unwrap_err();
    }
    for wrong in [
        FromGuest::Ready,
        FromGuest::Started(Process::App(1), 1),
        FromGuest::Started(Process::Exec(1), 1),
        FromGuest::Exited(Process::Exec(1), End::Code(1)),
        FromGuest::Refused(1, Sentence::default()),
        FromGuest::Usage(Usage::default()),
    ] {
        let error = say(&mut running(), &wrong).unwrap_err();
        assert!(matches!(error, WireError::OutOfTurn { .. }), "{wrong:?}: {error}");
    }
    for twice in [
        FromGuest::Started(app, 1),
        FromGuest::Exited(app, End::Code(0)),
        FromGuest::Stopped(0),
        failed.clone(),
    ] {
        let mut session = running();
        say(&mut session, &twice).unwrap();
        say(&mut session, &twice).unwrap_err();
        // Whatever it says now, it is not heard.
        say(&mut session, &FromGuest::Exited(app, End::Code(0))).unwrap_err();
    }
    for mut session in [begun(), running()] {
        say(&mut session, &failed).unwrap();
        session.finish().unwrap();
    }
    assert_eq!(running().finish(), Err(WireError::CutOff));
}

#[test]
fn what_the_host_would_say_at_the_wrong_time_is_an_error() {
    let mut session = Session::new(Preamble::Control).unwrap();
    session.send(&FromHost::Start).unwrap_err();
    session.send(&FromHost::Stop(0)).unwrap_err();
    session.send(&FromHost::Configure(Box::new(config()))).unwrap();
    session.send(&FromHost::Configure(Box::new(config()))).unwrap_err();
    session.send(&exec(1)).unwrap_err();
    session.send(&export(1)).unwrap_err();
    session.send(&FromHost::Stop(0)).unwrap();
    let mut session = running();
    session.send(&FromHost::Signal(Process::Exec(0), 9)).unwrap_err();
    for id in 0..limits::EXECS {
        session.send(&exec(u32::try_from(id).unwrap())).unwrap();
    }
    for further in [exec(1), exec(1_000), export(1_000)] {
        session.send(&further).unwrap_err();
    }
    say(&mut session, &FromGuest::Refused(1, Sentence::default())).unwrap();
    let nowhere = FromHost::Export(Export { id: 1_000, app: 1 });
    session.send(&nowhere).unwrap_err();
    session.send(&export(1_000)).unwrap();
    session.send(&exec(1_001)).unwrap_err();
}

#[test]
fn what_is_exported_comes_like_the_words_of_a_command() {
    let stream = |stream| Preamble::Stream { process: Process::Exec(1), stream, token: TOKEN };
    let mut session = running();
    session.send(&export(1)).unwrap();
    session.send(&exec(1)).unwrap_err();
    for wrong in [Stream::Input, Stream::Terminal] {
        session.admit(stream(wrong)).unwrap_err();
    }
    session.admit(stream(Stream::Output)).unwrap();
    say(&mut session, &FromGuest::Started(Process::Exec(1), 9)).unwrap();
    session.send(&FromHost::Signal(Process::Exec(1), 1)).unwrap();
    say(&mut session, &FromGuest::Exited(Process::Exec(1), End::Code(1))).unwrap();
    session.admit(stream(Stream::Error)).unwrap();
    // Now it is forgotten.
    session.send(&export(1)).unwrap();
}

#[test]
fn streams_need_the_token_and_a_process_and_come_once() {
    let stream =
        |process, stream, byte| Preamble::Stream { process, stream, token: Token::new([byte; 32]) };
    let (app, command) = (Process::App(0), Process::Exec(1));
    let terminal = stream(app, Stream::Terminal, 7);
    let mut session = Session::new(Preamble::Control).unwrap();
    assert_eq!(session.admit(terminal), Err(WireError::Token));
    Session::new(terminal).unwrap_err();
    let mut session = running();
    assert_eq!(session.admit(stream(app, Stream::Terminal, 8)), Err(WireError::Token));
    for wrong in [
        Preamble::Control,
        stream(Process::App(1), Stream::Terminal, 7),
        stream(command, Stream::Output, 7),
        // The app has a terminal, and nothing else.
        stream(app, Stream::Output, 7),
    ] {
        session.admit(wrong).unwrap_err();
    }
    // A connection may be seen after the word that its process has ended.
    say(&mut session, &FromGuest::Exited(app, End::Code(0))).unwrap();
    assert_eq!(session.admit(terminal), Ok((app, Stream::Terminal)));
    session.admit(terminal).unwrap_err();
    session.send(&exec(1)).unwrap();
    for which in [Stream::Output, Stream::Input] {
        session.admit(stream(command, which, 7)).unwrap();
    }
    say(&mut session, &FromGuest::Started(command, 1)).unwrap();
    say(&mut session, &FromGuest::Exited(command, End::Code(0))).unwrap();
    session.send(&exec(1)).unwrap_err();
    session.admit(stream(command, Stream::Error, 7)).unwrap();
    session.admit(stream(command, Stream::Error, 7)).unwrap_err();
    // Now it is forgotten.
    session.send(&exec(1)).unwrap();
}

//! Tables, chains and rules, beside those that nft makes of the same in its own words.

use crate::ground::{Namespace, alone, json, name, output};
use netlink::address::{self, Prefix};
use netlink::link::{Create, Index, Kind, Peer, Set as SetLink, Settings};
use netlink::nft::{
    AddChain, AddRule, AddSet, AddTable, Base, ChainKind, Chains, DeleteChain, DeleteRule,
    DeleteSet, DeleteTable, Element, Existing, Expression, Family, Field, FlushChain, Generation,
    Hook, Place, Policy, Protocol, Reject, Rule, Rules, Set, State, Status, Table, Tables,
    Transaction, Type, Value, Verdict, priority,
};
use netlink::route::{self, Route};
use netlink::{Batch, Errno, RequestError, Socket};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use testkit::needs;

const IP: Table<'static> = Table::new(Family::Ip, "rkt");

/// What nft lists in JSON, without the numbers that the kernel gave.
pub(crate) fn listed() -> serde_json::Value {
    let mut listed = json("nft", &["-j", "list", "ruleset"]);
    let items = listed["nftables"].as_array_mut().unwrap();
    items.remove(0);
    for item in items {
        for object in item.as_object_mut().unwrap().values_mut() {
            object.as_object_mut().unwrap().remove("handle");
        }
    }
    listed
}

/// What nft lists after it has read this text itself.
pub(crate) fn as_nft_writes(text: &str) -> serde_json::Value {
    Namespace::new().run(|| {
        let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        nft.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success());
        listed()
    })
}

pub(crate) fn changing(
    socket: &Socket,
    with: impl FnOnce(&mut Transaction),
) -> Result<(), RequestError> {
    let mut transaction = Transaction::new();
    with(&mut transaction);
    transaction.commit(socket)
}

fn ip(a: u8, b: u8, c: u8, d: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}

/// Rules, and their text in nft's language.
fn rules() -> Vec<(Rule, &'static str)> {
    let rule = Rule::new;
    let pod = ip(10, 98, 0, 2);
    let network = Prefix::new(ip(10, 98, 0, 0), 24);
    vec![
        (
            rule()
                .is(Field::IpSaddr, pod)
                .outside(Field::IpDaddr, network)
                .masquerade()
                .comment("rkt 1"),
            "ip saddr 10.98.0.2 ip daddr != 10.98.0.0/24 masquerade comment \"rkt 1\"",
        ),
        (rule().masquerade_randomly(), "masquerade fully-random"),
        (
            rule().inside(Field::IpDaddr, Prefix::new(ip(10, 98, 0, 0), 20)).counter().accept(),
            "ip daddr 10.98.0.0/20 counter accept",
        ),
        (rule().inside(Field::IpSaddr, Prefix::new(pod, 32)).done(), "ip saddr 10.98.0.2 return"),
        (rule().is(Field::Iifname, name("eth0")).accept(), "iifname \"eth0\" accept"),
        (rule().is_not(Field::Oifname, name("eth0")).accept(), "oifname != \"eth0\" accept"),
        (
            rule().ct_state(State::ESTABLISHED | State::RELATED).accept(),
            "ct state established,related accept",
        ),
        (rule().ct_state(State::NEW).accept(), "ct state new accept"),
        (rule().ct_status(Status::DNAT).accept(), "ct status dnat accept"),
        (rule().ct_original().accept(), "ct direction original accept"),
        (rule().mark(0x2000, 0x2000).accept(), "meta mark & 0x2000 == 0x2000 accept"),
        (rule().mark(5, u32::MAX).accept(), "meta mark 5 accept"),
        (rule().ct_mark(1, 0xff).accept(), "ct mark & 0xff == 1 accept"),
        (rule().add_mark(0x2000), "meta mark set meta mark or 0x2000"),
        (rule().set_mark(7), "meta mark set 7"),
        (rule().set_ct_mark(7), "ct mark set 7"),
        (rule().restore_mark(), "meta mark set ct mark"),
        (rule().save_mark(), "ct mark set meta mark"),
        (rule().protocol(Protocol::UDP).is(Field::Sport, 53).drop(), "udp sport 53 drop"),
        (rule().jump(IP.chain("other")), "jump other"),
        (rule().goto(IP.chain("other")), "goto other"),
        (
            rule()
                .to_this_host()
                .protocol(Protocol::TCP)
                .is(Field::Dport, 18080)
                .dnat(pod, Some(80)),
            "fib daddr type local tcp dport 18080 dnat to 10.98.0.2:80",
        ),
        (rule().dnat(pod, None), "dnat to 10.98.0.2"),
        (rule().snat(pod), "snat to 10.98.0.2"),
        (
            rule().protocol(Protocol::TCP).is(Field::Dport, 80).redirect(8080),
            "tcp dport 80 redirect to :8080",
        ),
    ]
}

/// Which chain of a table takes a rule: what changes addresses is for one, what refuses for another.
fn chain_for(text: &str) -> &'static str {
    match text {
        _ if text.contains("masquerade") || text.contains("snat") => "post",
        _ if text.contains("dnat to") || text.contains("redirect") => "pre",
        _ => "filter",
    }
}

const CHAINS: &str = "
    chain other { }
    chain post { type nat hook postrouting priority srcnat; policy accept; }
    chain pre { type nat hook prerouting priority dstnat; policy accept; }
    chain filter { type filter hook forward priority filter; policy drop; }
";

fn add_chains(table: Table<'_>, changes: &mut Transaction) {
    changes.add(&AddTable::new(table)).add(&AddChain::regular(table.chain("other")));
    let base = [
        ("post", Base::new(ChainKind::Nat, Hook::Postrouting, priority::SNAT)),
        ("pre", Base::new(ChainKind::Nat, Hook::Prerouting, priority::DNAT)),
        (
            "filter",
            Base::new(ChainKind::Filter, Hook::Forward, priority::FILTER).policy(Policy::Drop),
        ),
    ];
    for (called, base) in base {
        changes.add(&AddChain::base(table.chain(called), base));
    }
}

fn compare(family: Family, rules: &[(Rule, &'static str)]) {
    let socket = Socket::netfilter().unwrap();
    let table = Table::new(family, "rkt");
    changing(&socket, |changes| {
        add_chains(table, changes);
        for (rule, text) in rules {
            changes.add(&AddRule::last(table.chain(chain_for(text)), rule.clone()));
        }
    })
    .unwrap();
    let mut text = format!("table {family} rkt {{ {CHAINS} }}\n");
    for (_, rule) in rules {
        writeln!(text, "add rule {family} rkt {} {rule}", chain_for(rule)).unwrap();
    }
    let (ours, theirs) = (listed(), as_nft_writes(&text));
    let pairs =
        ours["nftables"].as_array().unwrap().iter().zip(theirs["nftables"].as_array().unwrap());
    for (ours, theirs) in pairs {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours, theirs);

    // And they are read as they were written.
    let read = socket.dump(&Rules::of_table(table)).unwrap();
    for (rule, text) in rules {
        let found =
            read.iter().find(|record| record.rule == *rule && record.chain == chain_for(text));
        let found = found.unwrap_or_else(|| panic!("{text}: {rule:#?} is not in {read:#?}"));
        assert_eq!((found.family, found.table.as_str()), (family, "rkt"));
    }
    assert_eq!(read.len(), rules.len());
}

#[test]
fn rules_are_as_nft_writes_them() {
    needs!(Root);
    alone(|| compare(Family::Ip, &rules()));
}

#[test]
fn rules_of_ipv6_are_as_nft_writes_them() {
    needs!(Root);
    let pod: Ipv6Addr = "fd00::2".parse().unwrap();
    let rule = Rule::new;
    alone(|| {
        compare(
            Family::Ip6,
            &[
                (
                    rule()
                        .is(Field::Ip6Saddr, pod)
                        .outside(Field::Ip6Daddr, Prefix::new(pod, 64))
                        .masquerade(),
                    "ip6 saddr fd00::2 ip6 daddr != fd00::/64 masquerade",
                ),
                (
                    rule().inside(Field::Ip6Daddr, Prefix::new(pod, 61)).accept(),
                    "ip6 daddr fd00::/61 accept",
                ),
                (
                    rule()
                        .to_this_host()
                        .protocol(Protocol::TCP)
                        .is(Field::Dport, 80)
                        .dnat(pod, Some(8080)),
                    "fib daddr type local tcp dport 80 dnat to [fd00::2]:8080",
                ),
                (rule().reject(Reject::ICMPV6_PORT), "reject"),
            ],
        );
    });
}

#[test]
fn rules_of_both_families_are_as_nft_writes_them() {
    needs!(Root);
    let pod: Ipv6Addr = "fd00::2".parse().unwrap();
    let rule = Rule::new;
    alone(|| {
        let socket = Socket::netfilter().unwrap();
        let table = Table::new(Family::Inet, "rkt");
        let forward = Base::new(ChainKind::Filter, Hook::Forward, priority::FILTER);
        let rules = [
            (
                rule().ipv4().is(Field::IpSaddr, ip(10, 0, 0, 1)).accept(),
                "ip saddr 10.0.0.1 accept",
            ),
            (rule().ipv6().is(Field::Ip6Saddr, pod).accept(), "ip6 saddr fd00::2 accept"),
            (rule().ipv6().accept(), "meta nfproto ipv6 accept"),
            (rule().reject(Reject::ICMPX_FORBIDDEN), "reject with icmpx admin-prohibited"),
            (rule().reject(Reject::ICMPX_PORT), "reject"),
            (
                rule().protocol(Protocol::TCP).reject(Reject::TCP_RESET),
                "meta l4proto tcp reject with tcp reset",
            ),
        ];
        changing(&socket, |changes| {
            changes.add(&AddTable { comment: Some("of rkt"), ..AddTable::new(table) });
            let chain = AddChain::base(table.chain("filter"), forward);
            changes.add(&AddChain { comment: Some("of pods"), ..chain });
            for (rule, _) in &rules {
                changes.add(&AddRule::last(table.chain("filter"), rule.clone()));
            }
        })
        .unwrap();
        let text: Vec<&str> = rules.iter().map(|(_, text)| *text).collect();
        let text = text.join("\n");
        let head = "comment \"of rkt\"; chain filter { comment \"of pods\"; type filter hook forward priority 0;";
        let theirs = as_nft_writes(&format!("table inet rkt {{ {head}\n{text}\n}}\n}}"));
        assert_eq!(listed(), theirs);

        let tables = socket.dump(&Tables(None)).unwrap();
        assert_eq!((tables.len(), tables[0].name.as_str()), (1, "rkt"));
        assert_eq!(
            (tables[0].family, tables[0].comment.as_deref()),
            (Family::Inet, Some("of rkt"))
        );
        let chains = socket.dump(&Chains(Some(Family::Inet))).unwrap();
        assert_eq!(
            (chains.len(), chains[0].name.as_str(), chains[0].base),
            (1, "filter", Some(forward))
        );
        assert_eq!(chains[0].comment.as_deref(), Some("of pods"));
        assert!(socket.dump(&Chains(Some(Family::Ip))).unwrap().is_empty());
    });
}

#[test]
fn rules_have_places() {
    needs!(Root);
    alone(|| {
        let socket = Socket::netfilter().unwrap();
        let chain = IP.chain("filter");
        let rule = |mark| Rule::new().set_mark(mark);
        let marks = || {
            let read = socket.dump(&Rules::of(chain)).unwrap();
            let mark = |rule: &Rule| match &rule.expressions[0] {
                Expression::Immediate { value, .. } => value[0],
                other => panic!("{other:?}"),
            };
            read.iter().map(|record| (mark(&record.rule), record.handle)).collect::<Vec<_>>()
        };
        changing(&socket, |changes| {
            add_chains(IP, changes);
            changes.add(&AddRule::last(chain, rule(3))).add(&AddRule::first(chain, rule(1)));
        })
        .unwrap();
        let [(1, first), (3, third)] = marks()[..] else { panic!("{:?}", marks()) };
        changing(&socket, |changes| {
            let at = |mark, place| AddRule { chain, rule: rule(mark), place };
            changes.add(&at(2, Place::Before(third))).add(&at(4, Place::After(third)));
            changes.add(&at(9, Place::Instead(first)));
        })
        .unwrap();
        let now: Vec<u8> = marks().into_iter().map(|(mark, _)| mark).collect();
        assert_eq!(now, [9, 2, 3, 4]);
        changing(&socket, |changes| {
            changes.add(&DeleteRule { chain, handle: third });
        })
        .unwrap();
        assert_eq!(marks().len(), 3);
        changing(&socket, |changes| {
            changes.add(&FlushChain(chain)).add(&DeleteChain(chain));
        })
        .unwrap();
        let chains = socket.dump(&Chains(Some(Family::Ip))).unwrap();
        assert!(chains.iter().all(|chain| chain.name != "filter"));
    });
}

#[test]
fn a_transaction_is_all_or_nothing_and_says_what_was_refused() {
    needs!(Root);
    alone(|| {
        let socket = Socket::netfilter().unwrap();
        changing(&socket, |_| ()).unwrap();
        let error = changing(&socket, |changes| {
            add_chains(IP, changes);
            changes.add(&AddRule::last(IP.chain("nowhere"), Rule::new().accept()));
            changes.add(&DeleteTable(Table::new(Family::Ip, "nobody")));
            changes.add(&AddChain::regular(IP.chain("more")));
        })
        .unwrap_err();
        assert_eq!(
            sys::cause::chain(&error),
            "cannot add a rule to chain ip rkt nowhere: No such file or directory"
        );
        assert!(listed()["nftables"].as_array().unwrap().is_empty());
        // What was said of that is not mistaken for an answer to this.
        changing(&socket, |changes| add_chains(IP, changes)).unwrap();
        let table = AddTable { existing: Existing::Refuse, ..AddTable::new(IP) };
        let refused = changing(&socket, |changes| {
            changes.add(&table);
        });
        assert_eq!(refused.unwrap_err().errno(), Some(Errno::EXIST));
        // The first of several refusals, although the last request was refused, too.
        let refused = changing(&socket, |changes| {
            changes.add(&DeleteChain(IP.chain("a"))).add(&DeleteChain(IP.chain("b")));
        });
        assert_eq!(refused.unwrap_err().to_string(), "cannot delete chain ip rkt a");
        let forget = |changes: &mut Transaction| {
            changes.add(&AddTable::new(IP)).add(&DeleteTable(IP));
        };
        changing(&socket, forget).unwrap();
        changing(&socket, forget).unwrap();
        assert!(socket.dump(&Tables(None)).unwrap().is_empty());
        let long = "x".repeat(200);
        let refused = changing(&socket, |changes| {
            changes.add(&AddTable { comment: Some(&long), ..AddTable::new(IP) });
        });
        assert_eq!(
            sys::cause::chain(&refused.unwrap_err()),
            "cannot add table ip rkt: the request is too long"
        );
    });
}

#[test]
fn changes_of_others_are_noticed() {
    needs!(Root);
    alone(|| {
        let socket = Socket::netfilter().unwrap();
        let generation = socket.get(&Generation).unwrap().unwrap();
        output("nft", &["add", "table", "ip", "other"]);
        let mut late = Transaction::of(generation);
        late.add(&AddTable::new(IP));
        let error = late.commit(&socket).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::RESTART));
        assert_eq!(error.to_string(), "cannot change the packet filter");
        let mut current = Transaction::of(socket.get(&Generation).unwrap().unwrap());
        current.add(&AddTable::new(IP));
        assert_eq!(current.words().collect::<Vec<_>>(), ["add table ip rkt"]);
        current.commit(&socket).unwrap();
        assert_eq!(socket.dump(&Tables(Some(Family::Ip))).unwrap().len(), 2);
    });
}

/// More bytes than a socket takes at once unless asked: a transaction cannot go out in pieces.
#[test]
fn a_transaction_may_be_large() {
    needs!(Root);
    alone(|| {
        let socket = Socket::netfilter().unwrap();
        let chain = IP.chain("filter");
        let rule =
            Rule::new().is(Field::IpSaddr, ip(10, 0, 0, 1)).accept().comment("x".repeat(100));
        changing(&socket, |changes| {
            add_chains(IP, changes);
            for _ in 0..2000 {
                changes.add(&AddRule::last(chain, rule.clone()));
            }
        })
        .unwrap();
        let read = socket.dump(&Rules::of(chain)).unwrap();
        assert_eq!(read.len(), 2000);
        assert!(read.iter().all(|record| record.rule == rule));
    });
}

#[test]
fn rules_of_others_are_read_and_deleted() {
    needs!(Root);
    alone(|| {
        let socket = Socket::netfilter().unwrap();
        output("nft", &["add", "table", "ip", "rkt", "{ chain c { }; }"]);
        output("nft", &["add", "rule", "ip", "rkt", "c", "limit rate 5/second accept"]);
        output("nft", &["add", "rule", "ip", "rkt", "c", "snat to 10.0.0.1-10.0.0.9"]);
        let read = socket.dump(&Rules::of(IP.chain("c"))).unwrap();
        let Expression::Other { name, data } = &read[0].rule.expressions[0] else {
            panic!("{:?}", read[0])
        };
        assert!(name == "limit" && !data.is_empty());
        assert_eq!(read[0].rule.expressions[1], Expression::Verdict(Verdict::Accept));
        // A range is more than what is known.
        assert_eq!(read[1].rule.expressions.last().unwrap().name(), "nat");
        assert!(matches!(read[1].rule.expressions.last(), Some(Expression::Other { .. })));
        // What was read can be written again.
        let before = listed();
        changing(&socket, |changes| {
            for record in read {
                let place = Place::Instead(record.handle);
                changes.add(&AddRule { chain: IP.chain("c"), rule: record.rule, place });
            }
        })
        .unwrap();
        assert_eq!(listed(), before);
    });
}

/// Packets go where the rules say.
#[test]
fn connections_are_led_into_a_pod() {
    needs!(Root);
    alone(|| {
        let pod = Namespace::new();
        let host = Socket::route().unwrap();
        let peer = Peer::new(name("eth0")).index(Index(2)).namespace(pod.0.as_fd());
        let kind = Kind::Veth(peer);
        let mut batch = Batch::new();
        batch.add(&SetLink::new(Index::LOOPBACK, Settings::new().up()));
        batch.add(&Create::new(name("rkt0"), kind).index(Index(9)).settings(Settings::new().up()));
        let near = Prefix::new(ip(10, 98, 0, 1), 24);
        batch.add(&address::Add::new(Index(9), near));
        host.run(batch).unwrap();
        pod.run(|| {
            let mut batch = Batch::new();
            batch.add(&SetLink::new(Index(2), Settings::new().up()));
            batch.add(&address::Add::new(Index(2), Prefix::new(ip(10, 98, 0, 2), 24)));
            batch.add(&route::Add::new(Route::default_via(ip(10, 98, 0, 1))));
            Socket::route().unwrap().run(batch).unwrap();
        });
        let socket = Socket::netfilter().unwrap();
        let map = IP.set("ports");
        changing(&socket, |changes| {
            changes.add(&AddTable::new(IP));
            let base = Base::new(ChainKind::Nat, Hook::Output, priority::DNAT);
            changes.add(&AddChain::base(IP.chain("out"), base));
            let key = [Type::InetProto, Type::InetService];
            let data = [Type::Ipv4Addr, Type::InetService];
            changes.add(&AddSet::new(map, Set::map(key, data)));
            let rule = Rule::new().to_this_host().dnat_of(&[Field::L4proto, Field::Dport], map);
            changes.add(&AddRule::last(IP.chain("out"), rule));
            let port = Element::new(&[Protocol::TCP.into(), Value::Port(18080)]);
            let port = port.value(&[ip(10, 98, 0, 2).into(), Value::Port(80)]);
            changes.add_elements(map, &[port.comment("rkt 1")], Existing::Refuse);
        })
        .unwrap();
        let listener = pod.run(|| TcpListener::bind("10.98.0.2:80").unwrap());
        let stream = TcpStream::connect("10.98.0.1:18080").unwrap();
        assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());
        changing(&socket, |changes| {
            changes.add(&FlushChain(IP.chain("out"))).add(&DeleteSet(map));
        })
        .unwrap();
        TcpStream::connect("10.98.0.1:18080").unwrap_err();
    });
}

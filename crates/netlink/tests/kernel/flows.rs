//! Flows that the kernel has seen.

use crate::ground::{alone, index, output};
use netlink::conntrack::{Delete, To};
use netlink::link::{Index, Set, Settings};
use netlink::route::Family;
use netlink::{Batch, Errno, Socket};
use std::net::UdpSocket;
use testkit::needs;

const UDP: u8 = 17;

#[test]
fn flows_to_a_port_are_found_and_forgotten() {
    needs!(Root);
    alone(|| {
        let route = Socket::route().unwrap();
        route.one(&Set::new(Index::LOOPBACK, Settings::new().up())).unwrap();
        assert_eq!(index(&route, "lo"), Index::LOOPBACK);
        // Nothing is tracked before a rule needs it.
        let rules =
            "table inet t { chain c { type filter hook output priority 0; ct state new accept; }
            chain n { type nat hook output priority -100; udp dport 5300 redirect to :5301; }; }";
        output("nft", &[rules]);
        let addresses = ["127.0.0.1", "::1"].map(|address| {
            let socket = UdpSocket::bind((address, 0)).unwrap();
            for port in [5300, 5400] {
                socket.send_to(b"x", (address, port)).unwrap();
                // An answer that there is nobody comes with the next call.
                drop(socket.send_to(b"x", (address, port)));
            }
            socket.local_addr().unwrap()
        });
        let socket = Socket::netfilter().unwrap();
        for (family, address) in [Family::V4, Family::V6].into_iter().zip(addresses) {
            let question = To { family, protocol: UDP, port: 5300 };
            let found = socket.dump(&question).unwrap();
            let [flow] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!(flow.original.source, address.ip());
            assert_eq!(flow.original.source_port, address.port());
            assert_eq!(flow.reply.source_port, 5301);
            socket.one(&Delete(*flow)).unwrap();
            assert_eq!(socket.dump(&question).unwrap(), []);
            assert_eq!(socket.dump(&To { port: 5400, ..question }).unwrap().len(), 1);
            let mut again = Batch::new();
            again.add_unless(&Delete(*flow), &[Errno::NOENT]);
            let replies = socket.run(again).unwrap();
            assert_eq!(replies[0].refused, Some(Errno::NOENT));
        }
    });
}

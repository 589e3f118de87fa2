use super::answer::{Answer, Gathered, Refusal, classify};
use super::batch::{Batch, Limit};
use super::*;
use crate::link::{All, Create, Delete, Kind, Name};
use crate::wire::{Attributes, Message, Messages};
use proptest::prelude::*;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;

/// A message as the kernel writes it.
fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, Header { kind, flags, sequence });
    writer.fixed(body);
    assert!(writer.finish());
    bytes
}

fn only(bytes: &[u8]) -> Message<'_> {
    let mut messages = Messages::new(bytes);
    let message = messages.next().unwrap().unwrap();
    assert!(messages.next().is_none());
    message
}

/// An acknowledgement of a request whose header is repeated, with a text.
fn refusal(sequence: u32, errno: i32, text: &str) -> Vec<u8> {
    let mut body = (-errno).to_ne_bytes().to_vec();
    body.extend_from_slice(&message(NEW_LINK, 0, sequence, b"")[..]);
    let mut attributes = Vec::new();
    let header = Header { kind: 0, flags: 0, sequence: 0 };
    let mut writer = Writer::new(&mut attributes, header);
    writer.text(1, text).u32(2, 40);
    assert!(writer.finish());
    body.extend_from_slice(&attributes[16..]);
    message(ERROR, flags::CAPPED | flags::ACK_ATTRIBUTES, sequence, &body)
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

#[test]
fn refusals_say_why() {
    let bytes = refusal(7, 17, "it is there.");
    let (place, answer) = classify(&only(&bytes), 5, 3).unwrap().unwrap();
    let explanation = Some("it is there.".to_owned());
    let wanted = Refusal { errno: Errno::EXIST, explanation, offset: Some(40) };
    assert_eq!((place, &answer), (2, &Answer::Done(Some(wanted.clone()))));
    assert_eq!(wanted.to_string(), "File exists (it is there)");
    for (first, count) in [(8, 3), (5, 2), (7, 0)] {
        assert_eq!(classify(&only(&bytes), first, count).unwrap(), None, "{first} {count}");
    }
    // The whole request is repeated.
    let request = message(NEW_LINK, 0, 7, b"twelve bytes");
    let body = [&(-17_i32).to_ne_bytes()[..], &request, &[8, 0, 2, 0, 40, 0, 0, 0]].concat();
    let bytes = message(ERROR, flags::ACK_ATTRIBUTES, 7, &body);
    let wanted = Refusal { errno: Errno::EXIST, explanation: None, offset: Some(40) };
    assert_eq!(classify(&only(&bytes), 7, 1).unwrap(), Some((0, Answer::Done(Some(wanted)))));
    let bytes = message(ERROR, flags::CAPPED, 7, &[0; 20]);
    assert_eq!(classify(&only(&bytes), 7, 1).unwrap(), Some((0, Answer::Done(None))));
    for body in [&[][..], &[0; 3], &i32::MIN.to_ne_bytes(), &(-17_i32).to_ne_bytes()] {
        let message = Message { kind: ERROR, flags: 0, sequence: 7, port: 0, body };
        classify(&message, 7, 1).unwrap_err();
    }
}

#[test]
fn a_list_that_changed_is_none() {
    let read = |message: &Message<'_>, items: &mut Vec<usize>| {
        items.push(message.body.len());
        Ok(())
    };
    let take = |datagrams: &[Vec<u8>]| {
        let mut gathered = Gathered::new(4);
        for datagram in datagrams {
            assert!(!gathered.is_over());
            gathered.take(datagram, read).unwrap();
        }
        assert!(gathered.is_over());
        gathered.finish()
    };
    let item = |flags, sequence| message(NEW_LINK, flags::MULTI | flags, sequence, &[0; 8]);
    let done = |flags, code: i32| message(DONE, flags, 4, &code.to_ne_bytes());
    let interrupted = flags::DUMP_INTERRUPTED;
    let calm = [[item(0, 4), item(0, 9), item(0, 4)].concat(), done(0, 0)];
    assert_eq!(take(&calm).unwrap(), Some(vec![8, 8]));
    assert_eq!(take(&[item(0, 4), item(interrupted, 4), done(0, 0)]).unwrap(), None);
    assert_eq!(take(&[item(0, 4), done(interrupted, 0)]).unwrap(), None);
    assert_eq!(take(&[done(0, -4)]).unwrap(), None);
    assert_eq!(take(&[done(0, -1)]).unwrap_err().errno, Errno::PERM);
    assert_eq!(take(&[refusal(4, 1, "no")]).unwrap_err().errno, Errno::PERM);
    assert_eq!(take(&[message(DONE, 0, 4, b"")]).unwrap(), Some(vec![]));
    let mut gathered = Gathered::new(4);
    gathered.interrupt();
    gathered.take(&done(0, 0), read).unwrap();
    assert_eq!(gathered.finish().unwrap(), None);
}

/// What a kernel would say is played by a thread at the other end of a pair of sockets that keep datagrams apart.
#[test]
fn a_list_that_changed_is_asked_for_again() {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let socket =
        Socket { fd: ours, next: Cell::new(1), buffer: RefCell::default(), trust: Trust::Anybody };
    let kernel = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for interrupted in [flags::DUMP_INTERRUPTED, 0] {
            let mut buffer = [0; 4096];
            let (_, length) =
                rustix::net::recv(&theirs, &mut buffer[..], RecvFlags::empty()).unwrap();
            let sequence = only(&buffer[..length]).sequence;
            asked.push(sequence);
            let answer = message(DONE, interrupted, sequence, &[0; 4]);
            rustix::net::send(&theirs, &answer, SendFlags::empty()).unwrap();
        }
        asked
    });
    assert_eq!(socket.dump(&All).unwrap(), []);
    assert_eq!(kernel.join().unwrap(), [1, 2]);
}

#[test]
fn a_batch_is_sent_in_pieces_of_whole_requests() {
    let mut batch = Batch::new();
    for number in 0..10 {
        batch.add(&Create::new(name(&format!("link{number}")), Kind::Dummy));
    }
    let whole = batch.piece(0, Limit { bytes: 100_000, requests: 100 }).unwrap();
    assert_eq!((whole.requests.clone(), whole.last), (0..10, 9));
    let one = whole.bytes.len() / 10;
    for limit in [Limit { bytes: one * 4, requests: 100 }, Limit { bytes: 100_000, requests: 4 }] {
        let mut from = 0;
        let mut found = Vec::new();
        while let Some(piece) = batch.piece(from, limit) {
            from = piece.requests.end;
            assert_eq!(piece.last + 1, piece.requests.end);
            found.push(piece.requests.clone());
            let bytes = batch.seal(&piece, 100);
            for (message, sequence) in Messages::new(bytes).zip(100..) {
                let message = message.unwrap();
                assert_eq!(message.sequence, sequence);
                let last = message.sequence as usize - 100 + piece.requests.start == piece.last;
                assert_eq!(message.flags & flags::ACK != 0, last);
            }
        }
        assert_eq!(found, [0..4, 4..8, 8..10]);
    }
    // One that is larger than all that is allowed goes out alone.
    let piece = batch.piece(3, Limit { bytes: 1, requests: 100 }).unwrap();
    assert_eq!(piece.requests, 3..4);
    assert!(batch.piece(10, Limit { bytes: 1, requests: 1 }).is_none());
}

/// The kernel drops answers for which there is no room; the first ones are there.
#[test]
fn a_refusal_is_found_although_others_are_lost() {
    let socket = Socket::route().unwrap();
    sockopt::set_socket_recv_buffer_size(&socket.fd, 1).unwrap();
    let delete = Delete::new(name("nobody"));
    let mut batch = Batch::new();
    for _ in 0..50 {
        batch.add(&delete);
    }
    let error = socket.run(batch).unwrap_err();
    assert_eq!(error.index, 0);
    assert!(matches!(error.errno(), Some(Errno::NODEV | Errno::PERM)), "{error:?}");
    assert_eq!(error.to_string(), "cannot delete link nobody");
    // With room, the socket can be used again.
    sockopt::set_socket_recv_buffer_size(&socket.fd, WAITING).unwrap();
    let lo = socket.get(&crate::link::Get::new(name("lo"))).unwrap().unwrap();
    assert_eq!(lo.index, crate::link::Index::LOOPBACK);
}

/// Whoever may can send to any netlink socket, with any number on it.
#[test]
fn nobody_but_the_kernel_is_heard() {
    testkit::needs!(Root);
    let (socket, other) = (Socket::route().unwrap(), Socket::route().unwrap());
    let lo = crate::link::Get::new(name("lo"));
    let known = socket.get(&lo).unwrap().unwrap();
    let address = rustix::net::getsockname(&socket.fd).unwrap();
    let address = netlink::SocketAddrNetlink::try_from(address).unwrap();
    assert_ne!(address.pid(), 0);
    let lie = refusal(socket.next.get(), 1, "go away");
    rustix::net::sendto(&other.fd, &lie, SendFlags::empty(), &address).unwrap();
    assert_eq!(socket.get(&lo).unwrap().unwrap().index, known.index);
}

#[test]
fn what_does_not_fit_into_a_message_is_not_sent() {
    let socket = Socket::route().unwrap();
    let mut batch = Batch::new();
    batch.add(&Delete::new(name("nobody")));
    let altname = "x".repeat(70_000);
    batch.add(&crate::link::AddAltname { which: name("lo").into(), altname });
    let error = socket.run(batch).unwrap_err();
    assert!(matches!(error.cause, Cause::TooLong));
    assert_eq!(error.index, 1);
}

proptest! {
    /// Whatever comes is answered with a value or an error.
    #[test]
    fn nothing_that_comes_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for message in Messages::new(&bytes) {
            let Ok(message) = message else { break };
            drop(classify(&message, 0, usize::MAX));
        }
        for attribute in Attributes::new(&bytes) {
            let Ok(attribute) = attribute else { break };
            prop_assert!(attribute.value.len() <= bytes.len());
            drop((attribute.u32(), attribute.be64(), attribute.ip(), attribute.text()));
        }
        let mut gathered = Gathered::<()>::new(0);
        let _ = gathered.take(&bytes, |_, _| Ok(()));
    }

    /// What is written is read again, and what is cut off is noticed.
    #[test]
    fn attributes_are_read_as_they_were_written(
        values in proptest::collection::vec((0..0x3fff_u16, proptest::collection::vec(any::<u8>(), 0..40)), 0..8),
        cut in 1..4_usize,
    ) {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, Header { kind: NEW_LINK, flags: 0, sequence: 1 });
        writer.nested(1, |to| {
            for (kind, value) in &values {
                to.attribute(*kind, value);
            }
        });
        prop_assert!(writer.finish());
        let nested = Attributes::new(only(&bytes).body).find(1).unwrap().unwrap();
        let read: Vec<_> = nested.nested().map(|one| one.map(|one| (one.kind, one.value.to_owned())).unwrap()).collect();
        prop_assert_eq!(read, values);
        let shorter = &bytes[..bytes.len() - cut];
        prop_assert!(Messages::new(shorter).any(|message| message.is_err()));
    }
}

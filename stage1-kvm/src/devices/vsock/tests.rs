use super::header::{NO_RECEIVE, NO_SEND};
use super::*;
use std::sync::{Arc, Mutex};

const GUEST: u64 = 3;

/// The device, and the host's ends of what it opened.
struct Bench {
    device: Vsock,
    ends: Arc<Mutex<Vec<UnixStream>>>,
}

impl Bench {
    fn new() -> Self {
        let ends: Arc<Mutex<Vec<UnixStream>>> = Arc::default();
        let opened = Arc::clone(&ends);
        let open = move |port| {
            if port == 99 {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, theirs) = UnixStream::pair()?;
            opened.lock().unwrap().push(theirs);
            Ok(ours)
        };
        Self { device: Vsock::new(3, Box::new(open)).unwrap(), ends }
    }

    fn end(&self) -> UnixStream {
        self.ends.lock().unwrap().last().unwrap().try_clone().unwrap()
    }

    /// What the guest sends.
    fn say(&mut self, operation: Operation, bytes: &[u8]) {
        let header = packet(operation, bytes.len());
        self.device.hear(&header, bytes);
    }

    /// All that the guest can receive.
    fn hear(&mut self) -> Vec<(Option<Operation>, Vec<u8>)> {
        self.device.woken();
        let mut all = Vec::new();
        while self.device.wants(RECEIVE) {
            let Some((header, bytes)) = self.device.packet(4096) else { break };
            assert_eq!((header.from.0, header.to.0), (HOST, GUEST));
            assert_eq!(header.length as usize, bytes.len());
            all.push((header.operation, bytes));
        }
        all
    }

    fn connect(&mut self) {
        self.say(Operation::Request, &[]);
        assert_eq!(self.hear(), [(Some(Operation::Response), Vec::new())]);
    }
}

fn packet(operation: Operation, length: usize) -> Header {
    Header {
        from: (GUEST, 1000),
        to: (HOST, 7),
        length: u32::try_from(length).unwrap(),
        kind: STREAM,
        operation: Some(operation),
        flags: 0,
        room: 10_000,
        forwarded: 0,
    }
}

#[test]
fn bytes_go_both_ways_and_each_end_is_told() {
    let mut bench = Bench::new();
    bench.connect();
    let mut end = bench.end();
    bench.say(Operation::Data, b"from the guest");
    let mut bytes = [0; 14];
    end.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"from the guest");
    end.write_all(b"from the host").unwrap();
    assert_eq!(bench.hear(), [(Some(Operation::Data), b"from the host".to_vec())]);
    end.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(bench.hear(), [(Some(Operation::Shutdown), Vec::new())]);
    bench.say(Operation::Data, b"still");
    let last = Header { flags: NO_SEND, ..packet(Operation::Shutdown, 0) };
    bench.device.hear(&last, &[]);
    let mut rest = Vec::new();
    end.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"still");
    assert_eq!(bench.hear(), [(Some(Operation::Reset), Vec::new())]);
    assert!(bench.device.connections.is_empty());
}

#[test]
fn the_guest_is_sent_no_more_than_it_has_room_for() {
    let mut bench = Bench::new();
    bench.connect();
    let mut end = bench.end();
    end.write_all(&[1; 15_000]).unwrap();
    let sent =
        |all: &[(Option<Operation>, Vec<u8>)]| all.iter().map(|(_, b)| b.len()).sum::<usize>();
    assert_eq!(sent(&bench.hear()), 10_000);
    assert!(bench.hear().is_empty());
    let more = Header { forwarded: 9_000, ..packet(Operation::Credit, 0) };
    bench.device.hear(&more, &[]);
    assert_eq!(sent(&bench.hear()), 5_000);
}

#[test]
fn a_guest_that_sends_more_than_there_is_room_for_is_cut_off() {
    let mut bench = Bench::new();
    bench.connect();
    // Nobody reads: the socket fills first, then what is kept.
    let mut sent = 0;
    while bench.device.connections.len() == 1 {
        bench.say(Operation::Data, &vec![0; 32 << 10]);
        sent += 32 << 10;
        assert!(sent < 16 << 20, "it is never enough");
    }
    let said = bench.hear();
    assert_eq!(said.last(), Some(&(Some(Operation::Reset), Vec::new())));
}

#[test]
fn what_a_guest_has_sent_is_the_hosts_although_the_guest_waits_no_longer() {
    let mut bench = Bench::new();
    bench.connect();
    // Nobody reads yet.
    let mut sent = 0;
    while bench.device.connections.values().all(|known| !known.interests().1) {
        bench.say(Operation::Data, &vec![7; 16 << 10]);
        sent += 16 << 10;
    }
    bench.say(Operation::Data, &[7; 5000]);
    let both = Header { flags: NO_SEND | NO_RECEIVE, ..packet(Operation::Shutdown, 0) };
    bench.device.hear(&both, &[]);
    bench.hear();
    bench.say(Operation::Reset, &[]);
    assert!(bench.hear().is_empty());
    let mut end = bench.end();
    end.set_nonblocking(true).unwrap();
    let (mut all, mut piece) = (0, [0; 4096]);
    loop {
        match end.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => all += count,
            // The guest is not told of what it has forgotten.
            Err(_) => assert!(bench.hear().is_empty()),
        }
    }
    assert_eq!(all, sent + 5000);
    assert!(bench.device.connections.is_empty());
    // One that it gives up without having said that this was all, is over for both.
    bench.connect();
    bench.say(Operation::Data, b"half");
    bench.say(Operation::Reset, &[]);
    assert!(bench.device.connections.is_empty() && bench.hear().is_empty());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut bench = Bench::new();
    let reset = || vec![(Some(Operation::Reset), Vec::new())];
    for operation in [Operation::Data, Operation::Credit, Operation::Shutdown, Operation::Response]
    {
        bench.say(operation, b"");
        assert_eq!(bench.hear(), reset(), "{operation:?}");
    }
    // A refusal is not refused.
    bench.say(Operation::Reset, &[]);
    assert!(bench.hear().is_empty());
    let closed = Header { to: (HOST, 99), ..packet(Operation::Request, 0) };
    bench.device.hear(&closed, &[]);
    assert_eq!(bench.hear(), reset());
    let unknown = Header { operation: None, ..packet(Operation::Request, 0) };
    bench.connect();
    bench.device.hear(&unknown, &[]);
    assert_eq!(bench.hear(), reset());
    bench.connect();
    bench.say(Operation::Request, &[]);
    assert_eq!(bench.hear(), reset());
}

#[test]
fn connections_and_answers_are_bounded() {
    let mut bench = Bench::new();
    for port in 0..u32::try_from(MOST).unwrap() + 10 {
        let header = Header { from: (GUEST, port), ..packet(Operation::Request, 0) };
        bench.device.hear(&header, &[]);
    }
    assert_eq!(bench.device.connections.len(), MOST);
    assert!(!bench.device.wants(SEND), "the guest must fetch its answers first");
    bench.hear();
    assert!(bench.device.wants(SEND));
    bench.device.reset();
    assert!(bench.device.connections.is_empty() && !bench.device.wants(RECEIVE));
}

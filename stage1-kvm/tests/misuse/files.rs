//! The same with the file system device, whose queue is served by another process. A request that makes no sense ends that
//! process and, since a kernel would wait for ever, the machine; what only asks for nonsense is answered, and all goes on.

use super::guest::Outcome;
use super::*;
use std::fs;
use testkit::Rkt;

const FILES: Target = Target { registers: 0xd000_3000, kind: 26, queue: 1 };
/// Where a question is, and its answer.
const QUESTION: u32 = DATA;
const ANSWER: u32 = DATA + 0x2000;
const ROOM: u32 = 0x1000;
/// Requests (`linux/fuse.h`).
const LOOKUP: u32 = 1;
const GETATTR: u32 = 3;
const INIT: u32 = 26;
/// Errors of answers, which are negative.
const UNKNOWN: u32 = 38_u32.wrapping_neg();
const NO_MEMORY: u32 = 12_u32.wrapping_neg();
const BAD_FILE: u32 = 9_u32.wrapping_neg();
/// What the machine says in the end, whatever the server had to say.
const ENDED: &str = "kvm-boot: the file server has ended";

/// A question: its words, and how many bytes of them it claims to have.
struct Question {
    words: Vec<u32>,
    length: u32,
}

impl Question {
    fn new(request: u32, node: u64, body: &[u8]) -> Self {
        let length = 40 + u32::try_from(body.len()).unwrap();
        let mut words = vec![length, request, 7, 0, node as u32, (node >> 32) as u32, 0, 0, 1, 0];
        for chunk in body.chunks(4) {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            words.push(u32::from_le_bytes(word));
        }
        Self { words, length }
    }

    /// The first one of all.
    fn first() -> Self {
        let body: Vec<u8> =
            [7_u32, 38, 0, 1 << 27].into_iter().flat_map(u32::to_le_bytes).collect();
        Self::new(INIT, 0, &body)
    }

    fn look(name: &str) -> Self {
        Self::new(LOOKUP, 1, &[name.as_bytes(), b"\0"].concat())
    }

    /// The chain that a kernel makes of it.
    fn chain(&self) -> Vec<Descriptor> {
        vec![(QUESTION.into(), self.length, NEXT, 1), (ANSWER.into(), ROOM, WRITE, 0)]
    }
}

impl Guest {
    fn ask(&mut self, question: &Question) {
        for (word, at) in question.words.iter().zip((QUESTION..).step_by(4)) {
            self.write(at, *word);
        }
    }

    /// Offers a chain as the request of this number, from 1.
    fn offer_another(&mut self, list: &[Descriptor], head: u16, number: u16) {
        self.describe(RINGS[0], list);
        self.write_half(RINGS[1] + 2 + 2 * u32::from(number), head);
        self.write_half(RINGS[1] + 2, number);
        self.set(FILES, NOTIFY, FILES.queue);
    }

    /// Waits until so many requests were served, and for this error of the last one.
    fn expect_answer(&mut self, number: u16, error: u32) {
        self.expect(RINGS[2], 0xffff_0000, u32::from(number) << 16);
        self.expect(ANSWER + 4, u32::MAX, error);
    }

    /// Starts the device, and says hello.
    fn greet(&mut self) {
        self.start(FILES);
        let first = Question::first();
        self.ask(&first);
        self.write(ANSWER + 4, 1);
        self.offer_another(&first.chain(), 0, 1);
        self.expect_answer(1, 0);
    }

    /// Finds a file.
    fn find(&mut self, number: u16) {
        let question = Question::look("file");
        self.ask(&question);
        self.write(ANSWER + 4, 1);
        self.offer_another(&question.chain(), 0, number);
        self.expect_answer(number, 0);
    }

    /// Does nothing until the machine is ended from outside.
    fn linger(&mut self) {
        self.repeat(COUNTER, u32::MAX, |guest| guest.expect(DATA, 0, 0));
    }
}

/// A folder with a file in it, which stay as they are.
struct Folder(Rkt);

impl Folder {
    fn new() -> Self {
        let sandbox = Rkt::new();
        sandbox.file("shared/file", "of the host");
        Self(sandbox)
    }

    fn live(self, guest: Guest) -> Outcome {
        let path = self.0.path("shared");
        let outcome = guest.live_with(Some(&path));
        let names = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["file"]);
        assert_eq!(fs::read(path.join("file")).unwrap(), b"of the host");
        outcome
    }
}

/// Runs a guest that is served, and then offers this; the server must have said that.
fn ends(what: &str, question: &Question, list: &[Descriptor], head: u16, says: &str) {
    println!("--- {what}");
    let mut guest = Guest::default();
    guest.greet();
    guest.find(2);
    guest.say('k');
    guest.ask(question);
    guest.offer_another(list, head, 3);
    guest.linger();
    let outcome = Folder::new().live(guest);
    assert_eq!((outcome.well, &*outcome.said), (false, "k"), "{what}: {:#?}", outcome.told);
    let wanted = format!("fs-server: the guest made {says}");
    let known = |line: &&String| line.starts_with("fs-server: ");
    let lines: Vec<&String> = outcome.told.iter().filter(known).collect();
    assert!(matches!(&*lines, [line] if line.starts_with(&wanted)), "{what}: {:#?}", outcome.told);
    assert_eq!(outcome.told.last().map(String::as_str), Some(ENDED), "{what}");
}

const NOWHERE: &str = "a request that lies nowhere";
const NO_REQUEST: &str = "a request that makes no sense";

#[test]
#[ignore = "runs in the lab"]
fn chains_that_lie_nowhere_end_the_server() {
    let look = Question::look("file");
    let answer = (u64::from(ANSWER), ROOM, WRITE, 0);
    for (what, address, length) in [
        ("beyond the memory", u64::from(END), 47),
        ("in the hole", 0xd000_0000, 47),
        ("far away", 1 << 40, 47),
        ("at the end of all addresses", u64::MAX - 8, 47),
        ("across the end of memory", u64::from(END) - 8, 47),
        ("as long as can be said", 0x1000, u32::MAX),
    ] {
        ends(what, &look, &[(address, length, NEXT, 1), answer], 0, NOWHERE);
        let question = (QUESTION.into(), 47, NEXT, 1);
        // Together they are longer than a chain may be, and so the second one is none.
        let says = if length == u32::MAX { NO_REQUEST } else { NOWHERE };
        ends(what, &look, &[question, (address, length, WRITE, 0)], 0, says);
    }
}

#[test]
#[ignore = "runs in the lab"]
fn chains_of_strange_shapes_end_the_server() {
    let look = Question::look("file");
    let question = (u64::from(QUESTION), look.length, NEXT, 1);
    for (what, list) in [
        ("to itself", vec![(QUESTION.into(), 47, NEXT, 0)]),
        ("around", vec![question, (QUESTION.into(), 47, NEXT, 0)]),
        ("to one that the table has not", vec![(QUESTION.into(), 47, NEXT, 8)]),
        ("nothing at all", vec![(0, 0, 0, 0)]),
        ("no room", vec![question, (ANSWER.into(), 3, WRITE, 0)]),
        ("only room", vec![(ANSWER.into(), ROOM, WRITE, 0)]),
        ("a head cut off", vec![(QUESTION.into(), 39, NEXT, 1), (ANSWER.into(), ROOM, WRITE, 0)]),
    ] {
        ends(what, &look, &list, 0, NO_REQUEST);
    }
}

#[test]
#[ignore = "runs in the lab"]
fn rings_that_make_no_sense_end_the_server() {
    let mut guest = Guest::default();
    guest.greet();
    guest.say('k');
    guest.write_half(RINGS[1] + 2, 30_000);
    guest.set(FILES, NOTIFY, FILES.queue);
    guest.linger();
    let outcome = Folder::new().live(guest);
    assert_eq!((outcome.well, &*outcome.said), (false, "k"), "{:#?}", outcome.told);
    let says = "fs-server: the guest made a queue that makes no sense";
    assert!(outcome.told.iter().any(|line| line.starts_with(says)), "{:#?}", outcome.told);
    assert_eq!(outcome.told.last().map(String::as_str), Some(ENDED));
}

#[test]
#[ignore = "runs in the lab"]
fn rings_that_lie_nowhere_stop_the_device() {
    let mut guest = Guest::default();
    for place in [END, END - 8, 0xd000_0000, 0xffff_fff0] {
        for ring in 0..3 {
            let mut rings = RINGS;
            rings[ring] = place;
            guest.agree(FILES);
            guest.place(FILES, rings, ENTRIES);
            guest.set(FILES, STATUS, 15);
            guest.set(FILES, NOTIFY, FILES.queue);
        }
    }
    // The server has heard nothing of it.
    guest.greet();
    guest.find(2);
    guest.say('k');
    let outcome = Folder::new().live(guest);
    assert_eq!((outcome.well, &*outcome.said), (true, "k"), "{:#?}", outcome.told);
    assert!(outcome.told.contains(&line(FILES, OUTSIDE)), "{:#?}", outcome.told);
    assert!(!outcome.told.iter().any(|line| line.starts_with("fs-server")), "{:#?}", outcome.told);
}

#[test]
#[ignore = "runs in the lab"]
fn heads_that_lie_end_the_server() {
    let lie = |length| {
        let mut question = Question::look("file");
        question.words[0] = length;
        question
    };
    let nameless = Question::new(LOOKUP, 1, b"filefile");
    for (what, question) in [
        ("shorter than a head", lie(39)),
        ("nothing", lie(0)),
        ("longer than what is there", lie(4096)),
        ("a name without an end", nameless),
    ] {
        let list = question.chain();
        ends(what, &question, &list, 0, NO_REQUEST);
    }
}

#[test]
#[ignore = "runs in the lab"]
fn questions_without_sense_are_answered() {
    let mut guest = Guest::default();
    guest.greet();
    let mut number = 1;
    let mut longest = Question::look("file");
    longest.words[0] = u32::MAX;
    for (question, error) in [
        (Question::new(0xffff, 1, &[]), UNKNOWN),
        (Question::new(0, 1, &[0; 64]), UNKNOWN),
        (Question::new(GETATTR, u64::MAX, &[0; 16]), BAD_FILE),
        (Question::new(GETATTR, 77, &[0; 16]), BAD_FILE),
        (longest, NO_MEMORY),
    ] {
        guest.ask(&question);
        guest.write(ANSWER + 4, 1);
        number += 1;
        guest.offer_another(&question.chain(), 0, number);
        guest.expect_answer(number, error);
        guest.say('e');
    }
    guest.find(number + 1);
    guest.say('k');
    let outcome = Folder::new().live(guest);
    assert_eq!((outcome.well, &*outcome.said), (true, "eeeeek"), "{:#?}", outcome.told);
    assert!(outcome.told.is_empty(), "{:#?}", outcome.told);
}

#[test]
#[ignore = "runs in the lab"]
fn a_device_that_is_reset_while_it_serves_begins_anew() {
    let mut guest = Guest::default();
    guest.repeat(COUNTER, 50, |guest| {
        guest.greet();
        let question = Question::look("file");
        guest.ask(&question);
        guest.offer_another(&question.chain(), 0, 2);
        // Nobody waits for the answer.
        guest.set(FILES, STATUS, 0);
    });
    guest.greet();
    guest.find(2);
    guest.say('k');
    let outcome = Folder::new().live(guest);
    assert_eq!((outcome.well, &*outcome.said), (true, "k"), "{:#?}", outcome.told);
    assert!(outcome.told.is_empty(), "{:#?}", outcome.told);
}

#[test]
#[ignore = "runs in the lab"]
fn memory_that_changes_while_it_is_served() {
    let mut guest = Guest::default();
    guest.greet();
    let question = Question::look("file");
    guest.repeat(COUNTER, 300, |guest| {
        guest.ask(&question);
        guest.describe(RINGS[0], &question.chain());
        guest.write_half(RINGS[1] + 6, 0);
        guest.write_half(RINGS[1] + 2, 2);
        guest.set(FILES, NOTIFY, FILES.queue);
        // The server may be anywhere in it.
        guest.write(QUESTION, u32::MAX);
        guest.write(RINGS[0] + 8, u32::MAX);
        guest.write(RINGS[0], END);
        guest.write_half(RINGS[0] + 12, INDIRECT | NEXT);
        guest.write_half(RINGS[1] + 2, 0xfff0);
        guest.set(FILES, NOTIFY, FILES.queue);
    });
    guest.linger();
    let outcome = Folder::new().live(guest);
    // How far it got is a matter of luck; that it ends in order is not.
    assert!(!outcome.well && outcome.said.is_empty(), "{outcome:#?}");
    assert!(outcome.told.iter().any(|line| line.starts_with("fs-server: the guest made a ")));
    assert_eq!(outcome.told.last().map(String::as_str), Some(ENDED), "{outcome:#?}");
}

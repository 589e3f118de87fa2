//! Answers of the kernel: each is read as what it may be, and what can be written again is read again as the same.

use crate::bytes::Bytes;
use netlink::link::{self, Index};
use netlink::nft::{
    AddElements, AddRule, Chains, Elements, Existing, Family, Generation, Rules, Set, Sets, Table,
    Tables, Type,
};
use netlink::route::Family as Addresses;
use netlink::socket::classify;
use netlink::traffic::{Filters, Handle, Qdiscs};
use netlink::wire::{Header, Message, Messages, Writer};
use netlink::{Dump, Query, Request, address, neighbour, route, rule};

const TABLE: Table<'static> = Table::new(Family::Ip, "rkt");

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let question = bytes.byte();
    for message in Messages::new(bytes.0) {
        let Ok(message) = message else { return };
        // Whatever it says, it is an answer, a part of one, or none.
        drop(classify(&message, 0, usize::MAX));
        answer(question, &message);
    }
}

fn answer(question: u8, message: &Message<'_>) {
    let link = Index(2);
    match question % 12 {
        0 => drop(items(&link::All, message)),
        1 => drop(items(&address::All::Links, message)),
        2 => drop(items(&route::All { family: Addresses::V4, table: None }, message)),
        3 => drop(items(&rule::All(Addresses::V4), message)),
        4 => drop(items(&neighbour::All { link, family: Addresses::V4 }, message)),
        5 => drop(items(&Qdiscs(link), message)),
        6 => drop(items(&Filters { link, parent: Handle::ONLY_FILTERS }, message)),
        7 => drop(items(&Tables(None), message)),
        8 => drop(items(&Chains(None), message)),
        9 => drop(items(&Sets(TABLE), message)),
        10 => {
            drop(Generation::read(message));
            rules(message);
        }
        _ => elements(message),
    }
}

fn items<D: Dump>(question: &D, message: &Message<'_>) -> Vec<D::Item> {
    let mut items = Vec::new();
    match question.read(message, &mut items) {
        Ok(()) => items,
        Err(_) => Vec::new(),
    }
}

/// The request as a message of this kind, unless it is too long for one.
fn written(request: &impl Request) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let header = Header { kind: request.kind(), flags: 0, sequence: 1 };
    let mut writer = Writer::new(&mut bytes, header);
    request.write(&mut writer);
    writer.finish().then_some(bytes)
}

fn rules(message: &Message<'_>) {
    for record in items(&Rules::of_table(TABLE), message) {
        let add = AddRule::last(TABLE.chain(&record.chain), record.rule.clone());
        let Some(bytes) = written(&add) else { continue };
        let again = Messages::new(&bytes).next().expect("a message").expect("a sound one");
        let again = items(&Rules::of_table(TABLE), &again);
        assert_eq!(again.first().map(|again| &again.rule), Some(&record.rule));
    }
}

fn elements(message: &Message<'_>) {
    let name = TABLE.set("ports");
    let key = [Type::InetProto, Type::Ipv4Addr, Type::InetService];
    let set = Set::map(key, [Type::Ipv4Addr, Type::InetService]);
    let question = Elements { name, set: Some(&set) };
    let read = items(&question, message);
    let bare: Vec<_> = read.iter().map(|record| record.element.clone()).collect();
    let add = AddElements { set: name, elements: &bare, existing: Existing::Keep };
    let Some(bytes) = written(&add) else { return };
    let again = Messages::new(&bytes).next().expect("a message").expect("a sound one");
    assert_eq!(items(&question, &again), read);
}

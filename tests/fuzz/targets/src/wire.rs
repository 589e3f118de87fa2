//! The control wire: what arrives is cut into messages however it comes, and a message that was understood is written as
//! one that is understood as the same.

use crate::bytes::Bytes;
use pod_proto::frame::Message;
use pod_proto::{Decoder, FromGuest, FromHost, Preamble};

pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    match bytes.byte() % 3 {
        0 => direction::<FromGuest>(bytes),
        1 => direction::<FromHost>(bytes),
        _ => preamble(bytes.0),
    }
}

fn direction<M: Message + std::fmt::Debug>(mut bytes: Bytes<'_>) {
    let mut decoder = Decoder::<M>::default();
    while !bytes.is_empty() {
        // Pieces of all sizes, as a connection gives them.
        let length = usize::from(bytes.byte()) + 1;
        let mut piece = bytes.take(length);
        loop {
            match decoder.feed(&mut piece) {
                Ok(Some(message)) => same(&message),
                Ok(None) => break,
                Err(_) => {
                    assert!(decoder.feed(&mut &b"x"[..]).is_err(), "it goes on after an error");
                    return;
                }
            }
        }
        assert!(piece.is_empty(), "bytes were left");
    }
}

fn same<M: Message + std::fmt::Debug>(message: &M) {
    // What holds a path that is no UTF-8, or grows by being escaped, cannot be said again.
    let Ok(encoded) = message.encode() else { return };
    let again = Decoder::<M>::default().feed(&mut encoded.as_slice());
    let again = again.expect("it is understood").expect("it is whole");
    assert_eq!(format!("{message:?}"), format!("{again:?}"));
}

fn preamble(data: &[u8]) {
    let Some(bytes) = data.first_chunk() else { return };
    if let Ok(preamble) = Preamble::decode(bytes) {
        assert_eq!(Preamble::decode(&preamble.encode()).expect("it is understood"), preamble);
    }
}

//! What PID 1 tells P0: messages over a socket pair that keeps their borders.
//!
//! The end of the conversation is the end of PID 1, however it came. In the other direction there is one byte: that the
//! pod's files are written and apps may start.

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What P0 must know while the pod runs. What others may want to know, PID 1 itself writes into the pod folder.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// The app has a terminal, whose other side comes with this.
    Terminal,
    /// The process of one of several apps runs.
    Started {
        /// Which app.
        app: u32,
        /// Its number in the pod.
        pid: i32,
    },
}

const TERMINAL: u8 = b'T';
const STARTED: u8 = b'S';

impl Message {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16);
        let (kind, numbers) = match self {
            Self::Terminal => (TERMINAL, vec![]),
            Self::Started { app, pid } => (STARTED, vec![i32::try_from(*app).unwrap_or(-1), *pid]),
        };
        bytes.push(kind);
        for number in numbers {
            bytes.extend(number.to_ne_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (words, []) = rest.as_chunks::<4>() else { return None };
        let numbers: Vec<i32> = words.iter().map(|word| i32::from_ne_bytes(*word)).collect();
        match (*kind, numbers.as_slice()) {
            (TERMINAL, []) => Some(Self::Terminal),
            (STARTED, [app, pid]) => {
                Some(Self::Started { app: u32::try_from(*app).ok()?, pid: *pid })
            }
            _ => None,
        }
    }
}

/// Both ends.
pub fn pair() -> io::Result<(Control, Control)> {
    let (a, b) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((Control(a), Control(b)))
}

/// One end.
#[derive(Debug)]
pub struct Control(OwnedFd);

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Control {
    /// Tells something, and hands a descriptor over where one belongs to it.
    pub fn send(&self, message: &Message, with: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let bytes = message.encode();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let handed: Vec<BorrowedFd<'_>> = with.into_iter().collect();
        if !handed.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&handed));
        }
        sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message, and the descriptor that came with it; `None` when the other end is gone.
    pub fn receive(&self) -> io::Result<Option<(Message, Option<OwnedFd>)>> {
        let mut bytes = [0_u8; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            match recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                other => break other?,
            }
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        let mut handed = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                handed = fds.last();
            }
        }
        let message = bytes
            .get(..received.bytes)
            .and_then(Message::decode)
            .ok_or(io::ErrorKind::InvalidData)?;
        Ok(Some((message, handed)))
    }

    /// Lets the other end go on.
    pub fn release(&self) -> io::Result<()> {
        rustix::io::write(&self.0, b"g")?;
        Ok(())
    }

    /// Waits until the other end lets us go on; false if it is gone.
    pub fn wait_for_release(&self) -> io::Result<bool> {
        let mut byte = [0_u8; 1];
        loop {
            match rustix::io::read(&self.0, &mut byte) {
                Ok(length) => return Ok(length == 1),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Ok(false),
                Err(other) => return Err(other.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_they_were_sent_until_the_end() {
        let (a, b) = pair().unwrap();
        let all = [Message::Terminal, Message::Started { app: 1, pid: 9 }, Message::Terminal];
        for message in &all {
            a.send(message, Some(a.as_fd())).unwrap();
        }
        a.send(&all[0], None).unwrap();
        for message in &all {
            let (received, handed) = b.receive().unwrap().unwrap();
            assert_eq!((&received, handed.is_some()), (message, true));
        }
        assert!(b.receive().unwrap().unwrap().1.is_none());
        b.release().unwrap();
        assert!(a.wait_for_release().unwrap());
        drop(a);
        assert!(b.receive().unwrap().is_none());
    }

    #[test]
    fn nonsense_is_no_message() {
        for bytes in [&b""[..], b"X", b"S\0", b"S\x01\0\0\0", b"T\x01\0\0\0"] {
            assert_eq!(Message::decode(bytes), None);
        }
    }
}

//! What the monitor tells the supervisor, over a socket pair that keeps the borders of messages: that the guest has
//! opened a connection, with its other end, and how the machine ended.

use crate::vmm::Ending;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The longest account of an end, in bytes.
const LONGEST: usize = 1024;
const CALL: u8 = b'C';
const RESET: u8 = b'R';
const PANICKED: u8 = b'P';
const BROKEN: u8 = b'B';

/// A word of the monitor's.
#[derive(Debug)]
pub enum Word {
    /// The guest has opened a connection.
    Call(UnixStream),
    /// The machine is over.
    Ended(Ending),
}

/// The monitor's end.
#[derive(Debug)]
pub struct Teller(OwnedFd);

/// The supervisor's end.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// Both ends.
///
/// # Errors
/// The kernel gives no sockets.
pub fn pair() -> io::Result<(Listener, Teller)> {
    let flags = SocketFlags::CLOEXEC;
    let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok((Listener(a), Teller(b)))
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for Teller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Teller {
    /// A connection to the supervisor. It never waits: when too many were not taken yet there is no further one.
    ///
    /// # Errors
    /// The supervisor is gone or does not keep up, or there are no descriptors left.
    pub fn call(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let handed = [theirs.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&handed));
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&self.0, &[IoSlice::new(&[CALL])], &mut ancillary, flags)?;
        Ok(ours)
    }

    /// Says how the machine ended.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub fn ended(&self, ending: &Ending) -> io::Result<()> {
        let bytes = match ending {
            Ending::Reset => vec![RESET],
            Ending::Panicked => vec![PANICKED],
            Ending::Broken(why) => {
                let mut bytes = vec![BROKEN];
                bytes.extend(why.bytes().take(LONGEST));
                bytes
            }
        };
        rustix::net::send(&self.0, &bytes, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

impl Listener {
    /// The next word, if there is one now; `Err` of kind `UnexpectedEof` when there will be none.
    ///
    /// # Errors
    /// The monitor is gone, or makes no sense.
    pub fn hear(&self) -> io::Result<Option<Word>> {
        let mut bytes = [0_u8; LONGEST + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received =
            match recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags) {
                Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
                Err(Errno::CONNRESET) => return Err(io::ErrorKind::UnexpectedEof.into()),
                other => other?,
            };
        let mut handed = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                handed = fds.last();
            }
        }
        match (bytes.get(..received.bytes).unwrap_or_default().split_first(), handed) {
            (None, _) => Err(io::ErrorKind::UnexpectedEof.into()),
            (Some((&CALL, [])), Some(fd)) => Ok(Some(Word::Call(UnixStream::from(fd)))),
            (Some((&RESET, [])), _) => Ok(Some(Word::Ended(Ending::Reset))),
            (Some((&PANICKED, [])), _) => Ok(Some(Word::Ended(Ending::Panicked))),
            (Some((&BROKEN, why)), _) => {
                let why = String::from_utf8_lossy(why).into_owned();
                Ok(Some(Word::Ended(Ending::Broken(why))))
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn connections_come_in_order_and_the_end_comes_last() {
        let (listener, teller) = pair().unwrap();
        assert!(listener.hear().unwrap().is_none());
        let mut ours = teller.call().unwrap();
        teller.ended(&Ending::Broken("x".repeat(5000))).unwrap();
        let Some(Word::Call(mut theirs)) = listener.hear().unwrap() else { panic!("no call") };
        ours.write_all(b"hello").unwrap();
        drop(ours);
        let mut text = String::new();
        theirs.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        let Some(Word::Ended(Ending::Broken(why))) = listener.hear().unwrap() else {
            panic!("no end")
        };
        assert_eq!(why.len(), LONGEST);
        drop(teller);
        assert_eq!(listener.hear().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_supervisor_that_does_not_listen_is_not_waited_for() {
        let (_listener, teller) = pair().unwrap();
        let mut kept = Vec::new();
        let refused = (0..10_000).find_map(|_| match teller.call() {
            Ok(stream) => {
                kept.push(stream);
                None
            }
            Err(error) => Some(error.kind()),
        });
        assert_eq!(refused, Some(io::ErrorKind::WouldBlock));
    }
}

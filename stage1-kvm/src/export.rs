//! `export`: the files of an app of a running pod. The guest writes them as a tar, which is passed on as it comes: whoever
//! has asked believes nothing of it.

use crate::error::MachineError;
use crate::visitor::{Visitor, target};
use pod_host::Doing as _;
use pod_proto::message::{End, Export};
use pod_proto::text::Sentence;
use pod_proto::{FromGuest, FromHost, limits};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use stage1_abi::ExportArgs;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;

/// What is carried at once, in bytes.
const PIECE: usize = 16 << 10;
/// How long streams may be quiet when their writer has ended, in seconds.
const PATIENCE: i64 = 10;

/// Passes the files of an app on.
///
/// # Errors
/// The guest does not give them, or nobody takes them.
pub fn export() -> Result<u8, MachineError> {
    let args = ExportArgs::decode(std::env::args_os().skip(1))?;
    let app = target(args.pid, &args.app)?;
    let mut visitor = Visitor::new()?;
    visitor.say(&FromHost::Export(Export { id: 0, app }))?;
    let output = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3);
    let output = output.doing("cannot use the standard output")?;
    Transfer { visitor, files: None, words: None, said: Vec::new(), output: output.into() }.attend()
}

/// Files on their way.
#[derive(Debug)]
struct Transfer {
    visitor: Visitor,
    files: Option<File>,
    /// What the guest has to say when it fails.
    words: Option<File>,
    said: Vec<u8>,
    output: File,
}

/// What is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    Door,
    Files,
    Words,
}

impl Transfer {
    fn attend(mut self) -> Result<u8, MachineError> {
        let mut end = None;
        loop {
            if let Some(end) = end
                && self.files.is_none()
                && self.words.is_none()
            {
                return match end {
                    End::Code(0) => Ok(0),
                    _ => Err(MachineError::Command(self.reason(end))),
                };
            }
            let woken = self.wait(end.is_some())?;
            if woken.is_empty() && end.is_some() {
                let why = "the guest keeps a stream open that it writes no more to";
                return Err(MachineError::Command(why.to_owned()));
            }
            for woken in woken {
                match woken {
                    Woken::Door => end = self.hear()?.or(end),
                    Woken::Files => self.carry()?,
                    Woken::Words => self.listen(),
                }
            }
        }
    }

    /// Waits; once the writer has ended, for its streams only and not for ever.
    fn wait(&self, ended: bool) -> Result<Vec<Woken>, MachineError> {
        let (mut kinds, mut fds) = (Vec::new(), Vec::new());
        if !ended {
            kinds.push(Woken::Door);
            fds.push(PollFd::new(&self.visitor, PollFlags::IN));
        }
        for (kind, stream) in [(Woken::Files, &self.files), (Woken::Words, &self.words)] {
            if let Some(stream) = stream {
                kinds.push(kind);
                fds.push(PollFd::new(stream, PollFlags::IN));
            }
        }
        let patience = Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
        loop {
            match rustix::event::poll(&mut fds, Some(&patience).filter(|_| ended)) {
                Err(Errno::INTR) => {}
                other => break other.map(drop).doing("cannot wait")?,
            }
        }
        let woken = kinds.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(woken.map(|(kind, _)| kind).collect())
    }

    /// How the writer has ended, if it has.
    fn hear(&mut self) -> Result<Option<End>, MachineError> {
        let said = self.visitor.hear()?;
        let mut streams = said.streams.into_iter();
        if let Some(files) = streams.next() {
            self.files = Some(blocking(files).doing("cannot take the files")?);
            self.words = streams.next().map(blocking).transpose().doing("cannot take the files")?;
        }
        let mut end = None;
        for message in said.messages {
            match message {
                FromGuest::Refused(_, why) => {
                    return Err(MachineError::Command(why.as_str().to_owned()));
                }
                FromGuest::Exited(_, ended) => end = Some(ended),
                _ => {}
            }
        }
        Ok(end)
    }

    fn carry(&mut self) -> Result<(), MachineError> {
        let Some(files) = &mut self.files else { return Ok(()) };
        let mut bytes = [0_u8; PIECE];
        match files.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => self.files = None,
            Ok(count) => {
                let piece = bytes.get(..count).unwrap_or_default();
                self.output.write_all(piece).doing("cannot write the files")?;
            }
        }
        Ok(())
    }

    /// Keeps the first of what is said.
    fn listen(&mut self) {
        let Some(words) = &mut self.words else { return };
        let mut bytes = [0_u8; limits::SENTENCE];
        match words.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => self.words = None,
            Ok(count) => {
                let room = limits::SENTENCE.saturating_sub(self.said.len());
                self.said.extend(bytes.iter().take(count.min(room)));
            }
        }
    }

    /// Why the guest gives no more, in its words as far as they may be shown.
    fn reason(&self, end: End) -> String {
        let said = Sentence::new(&String::from_utf8_lossy(&self.said));
        match (said.as_str(), end) {
            ("", End::Code(code)) => format!("the guest's export ended with exit code {code}"),
            ("", End::Signal(signal)) => {
                format!("the guest's export was killed by signal {signal}")
            }
            (said, _) => said.to_owned(),
        }
    }
}

fn blocking(fd: OwnedFd) -> io::Result<File> {
    rustix::io::ioctl_fionbio(&fd, false)?;
    Ok(fd.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pod_proto::Process;
    use pod_proto::frame::Message as _;
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::io::IoSlice;
    use std::mem::MaybeUninit;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    /// What becomes of a transfer in which the guest writes and says this, and its export ends so.
    fn transfer(files: &[u8], words: &[u8], end: End) -> (Result<u8, String>, Vec<u8>) {
        let (ours, door) = UnixStream::pair().unwrap();
        let (mut give, given) = UnixStream::pair().unwrap();
        let (mut say, heard) = UnixStream::pair().unwrap();
        give.write_all(files).unwrap();
        say.write_all(words).unwrap();
        drop((give, say));
        let own = Process::Exec(0);
        let started = FromGuest::Started(own, 7).encode().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let handed = [given.as_fd(), heard.as_fd()];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&handed)));
        let flags = SendFlags::NOSIGNAL;
        sendmsg(&door, &[IoSlice::new(&started)], &mut ancillary, flags).unwrap();
        (&door).write_all(&FromGuest::Exited(own, end).encode().unwrap()).unwrap();
        drop((given, heard));
        let (mut read, write) = std::io::pipe().unwrap();
        let transfer = Transfer {
            visitor: Visitor::of(ours),
            files: None,
            words: None,
            said: Vec::new(),
            output: OwnedFd::from(write).into(),
        };
        let result = transfer.attend().map_err(|error| error.to_string());
        let mut passed = Vec::new();
        read.read_to_end(&mut passed).unwrap();
        (result, passed)
    }

    #[test]
    fn files_are_passed_on_and_failures_are_told() {
        let files = vec![7; 20_000];
        assert_eq!(transfer(&files, b"", End::Code(0)), (Ok(0), files.clone()));
        for (words, end, expected) in [
            (&b"the disk is on fire"[..], End::Code(1), "the disk is on fire"),
            (b"\x1b[2J\nx", End::Code(1), "?[2J?x"),
            (b"", End::Code(3), "the guest's export ended with exit code 3"),
            (b"", End::Signal(9), "the guest's export was killed by signal 9"),
        ] {
            let (result, passed) = transfer(&files, words, end);
            assert_eq!((result.unwrap_err().as_str(), passed.len()), (expected, files.len()));
        }
        let (result, _) = transfer(&[], &[b'x'; 5000], End::Code(1));
        assert_eq!(result.unwrap_err().len(), limits::SENTENCE);
    }
}

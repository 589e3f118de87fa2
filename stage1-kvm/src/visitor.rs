//! Somebody on this host who has something done inside a running pod: knocks at the pod's door, asks, and hears.

use crate::error::MachineError;
use crate::host::door;
use pod_host::{Doing as _, RunError, pod};
use pod_proto::frame::{Decoder, Message as _};
use pod_proto::{FromGuest, FromHost};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, PidfdFlags};
use stage1_abi::PodDir;
use std::io::{IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// How often the pod is looked at while it is not ready yet.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// The place of an app among those of the pod whose folder is the working directory, as soon as the pod is ready. `pid` is
/// its supervisor.
///
/// # Errors
/// The pod ends meanwhile, or has no such app.
pub fn target(pid: i32, app: &str) -> Result<u32, MachineError> {
    sys::descriptor::seal_inherited().doing("cannot seal inherited descriptors")?;
    let dir = PodDir::current()?;
    let pid = Pid::from_raw(pid).ok_or(RunError::Gone)?;
    let pidfd =
        rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|_| RunError::Gone)?;
    wait_until_ready(&dir, &pidfd)?;
    let manifest = pod::manifest(&dir)?;
    let place = manifest.apps.iter().position(|known| known.name.as_str() == app);
    let place = place.and_then(|index| u32::try_from(index).ok());
    Ok(place.ok_or_else(|| RunError::NoApp(app.to_owned()))?)
}

/// Waits until the roots of the pod stand.
fn wait_until_ready(dir: &PodDir, pidfd: &OwnedFd) -> Result<(), MachineError> {
    while !dir.supervisor_ready()? {
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&PAUSE)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Err(RunError::Gone.into()),
            Err(error) => return Err(error).doing("cannot wait for the pod").map_err(Into::into),
        }
    }
    Ok(())
}

/// The conversation with the supervisor.
#[derive(Debug)]
pub struct Visitor {
    door: UnixStream,
    decoder: Decoder<FromGuest>,
}

/// What was heard at once.
#[derive(Debug, Default)]
pub struct Said {
    /// What the guest said.
    pub messages: Vec<FromGuest>,
    /// The streams of what was asked for, once, in the order of their numbers.
    pub streams: Vec<OwnedFd>,
}

impl AsFd for Visitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.door.as_fd()
    }
}

impl Visitor {
    /// Knocks. The working directory is the pod folder.
    ///
    /// # Errors
    /// The pod does not run.
    pub fn new() -> Result<Self, MachineError> {
        let dir = PodDir::current()?;
        let door = UnixStream::connect(door::path(&dir)).map_err(|_| RunError::Gone)?;
        Ok(Self::of(door))
    }

    /// Speaks over a connection that is there.
    pub(crate) fn of(door: UnixStream) -> Self {
        Self { door, decoder: Decoder::default() }
    }

    /// Asks for something.
    ///
    /// # Errors
    /// It is too long, or the pod is gone.
    pub fn say(&mut self, message: &FromHost) -> Result<(), MachineError> {
        let bytes = message.encode().map_err(MachineError::Say)?;
        self.door.write_all(&bytes).map_err(|_| RunError::Gone.into())
    }

    /// Hears what there is, or waits for it.
    ///
    /// # Errors
    /// The pod is gone.
    pub fn hear(&mut self) -> Result<Said, MachineError> {
        let mut bytes = [0_u8; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let mut said = Said::default();
        let received =
            match recvmsg(&self.door, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags) {
                Err(Errno::INTR) => return Ok(said),
                other => other.map_err(|_| RunError::Gone)?,
            };
        if received.bytes == 0 {
            return Err(RunError::Gone.into());
        }
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                said.streams.extend(fds);
            }
        }
        let mut rest = bytes.get(..received.bytes).unwrap_or_default();
        while let Some(message) = self.decoder.feed(&mut rest).map_err(MachineError::Say)? {
            said.messages.push(message);
        }
        Ok(said)
    }
}

//! The folder of one network's addresses, while its lock is held.

use appc::PodUuid;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, linkat, openat, unlinkat};
use rustix::io::Errno;
use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use sys::lock::LockFd;
use sys::path::{At, PathError};

/// The file that is locked.
const LOCK: &str = "lock";
/// Before the number of a range set in the name of the file with its last address.
const LAST: &str = "last_reserved_ip.";
/// An address file that is being made.
const MAKING: &str = ".reserving";
/// What ends the container's id.
const LINE: &str = "\r\n";
/// No file here is larger.
const FILE_LIMIT: u64 = 4096;

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The container's id.
    pub container: String,
    /// The name of the interface; older plugins did not note it.
    pub ifname: Option<String>,
}

impl Lease {
    pub(super) fn new(container: &str, ifname: &str) -> Self {
        Self { container: container.trim().to_owned(), ifname: Some(ifname.to_owned()) }
    }

    fn parse(text: &str) -> Self {
        let mut lines = text.trim().lines().map(str::trim);
        let container = lines.next().unwrap_or_default().to_owned();
        Self { container, ifname: lines.next().map(str::to_owned) }
    }

    fn text(&self) -> String {
        format!("{}{LINE}{}", self.container, self.ifname.as_deref().unwrap_or_default())
    }

    /// Whether it is that of an interface of a container, or of any.
    pub(super) fn is_of(&self, container: &str, ifname: Option<&str>) -> bool {
        let same = |own: &str| ifname.is_none_or(|ifname| ifname == own);
        self.container == container.trim() && self.ifname.as_deref().is_none_or(same)
    }
}

/// What is known of a lease's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// It needs its address, or nobody here knows it.
    Keep,
    /// It is a pod that is gone.
    Gone,
}

/// The open and locked folder of one network's addresses.
#[derive(Debug)]
pub struct Store {
    folder: OwnedFd,
    path: PathBuf,
    _lock: LockFd,
}

impl Store {
    /// Opens and locks a folder, making it first if need be.
    ///
    /// # Errors
    /// The kernel said no.
    pub fn open(path: &Path) -> Result<Self, PathError> {
        if let Some(store) = Self::open_existing(path)? {
            return Ok(store);
        }
        DirBuilder::new().recursive(true).mode(0o755).create(path).at("mkdir", path)?;
        let gone = || PathError::new("open", path, Errno::NOENT);
        Self::open_existing(path)?.ok_or_else(gone)
    }

    /// Opens and locks a folder that is there.
    ///
    /// # Errors
    /// The kernel said no.
    pub fn open_existing(path: &Path) -> Result<Option<Self>, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = match rustix::fs::open(path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.at("open", path)?,
        };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = openat(&folder, LOCK, flags, Mode::from_raw_mode(0o600));
        let lock = LockFd::wait(lock.at("open", path.join(LOCK))?, sys::lock::Mode::Exclusive);
        let lock = lock.at("flock", path.join(LOCK))?;
        Ok(Some(Self { folder, path: path.to_owned(), _lock: lock }))
    }

    /// Notes an address as taken; `false` if it was.
    ///
    /// # Errors
    /// The kernel said no.
    pub(super) fn reserve(&self, address: IpAddr, owner: &Lease) -> Result<bool, PathError> {
        let name = address.to_string();
        // What is taken already needs no new file.
        if self.is_taken(&name)? {
            return Ok(false);
        }
        // What is left of one who was killed here may be linked: it must not be written over.
        self.unlink(MAKING)?;
        let made = self.write(MAKING, OFlags::EXCL, owner.text().as_bytes());
        let linked = made.and_then(|()| {
            linkat(&self.folder, MAKING, &self.folder, &name, AtFlags::empty())
                .at("link", self.path.join(&name))
        });
        self.unlink(MAKING)?;
        linked.map(|()| true)
    }

    /// Whether an address has an owner. An empty file is what is left of one who was killed between making and writing it,
    /// since who makes it holds the lock.
    fn is_taken(&self, name: &str) -> Result<bool, PathError> {
        let found = rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW);
        let found = match found {
            Err(Errno::NOENT) => return Ok(false),
            other => other.at("stat", self.path.join(name))?,
        };
        if found.st_size == 0 && FileType::from_raw_mode(found.st_mode) == FileType::RegularFile {
            self.unlink(name)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// The address that was given last of a range set.
    ///
    /// # Errors
    /// The kernel said no.
    pub(super) fn last(&self, set: usize) -> Result<Option<IpAddr>, PathError> {
        let text = self.read(&format!("{LAST}{set}"))?;
        Ok(text.and_then(|text| text.trim().parse().ok()))
    }

    /// Notes the address that was given last of a range set.
    ///
    /// # Errors
    /// The kernel said no.
    pub(super) fn set_last(&self, set: usize, address: IpAddr) -> Result<(), PathError> {
        self.write(&format!("{LAST}{set}"), OFlags::TRUNC, address.to_string().as_bytes())
    }

    /// All addresses that are taken, in no order.
    ///
    /// # Errors
    /// The kernel said no.
    pub fn leases(&self) -> Result<Vec<(IpAddr, Lease)>, PathError> {
        let mut found = Vec::new();
        for entry in Dir::read_from(&self.folder).at("open", &self.path)? {
            let entry = entry.at("read", &self.path)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let Ok(address) = name.parse::<IpAddr>() else { continue };
            if let Some(text) = self.read(name)? {
                found.push((address, Lease::parse(&text)));
            }
        }
        Ok(found)
    }

    /// Gives back the addresses of an interface, or of all of a container's.
    ///
    /// # Errors
    /// The kernel said no.
    pub(super) fn release(
        &self,
        container: &str,
        ifname: Option<&str>,
    ) -> Result<Vec<IpAddr>, PathError> {
        let mut gone = Vec::new();
        for (address, lease) in self.leases()? {
            if lease.is_of(container, ifname) {
                self.remove(address)?;
                gone.push(address);
            }
        }
        Ok(gone)
    }

    /// Gives back one address, if it is that of an interface.
    ///
    /// # Errors
    /// The kernel said no.
    pub(super) fn release_one(
        &self,
        address: IpAddr,
        container: &str,
        ifname: &str,
    ) -> Result<(), PathError> {
        let text = self.read(&address.to_string())?;
        let own = text.is_some_and(|text| Lease::parse(&text).is_of(container, Some(ifname)));
        if own { self.remove(address) } else { Ok(()) }
    }

    /// Gives back the addresses of pods that are gone, and what is left of notes that were never finished.
    ///
    /// # Errors
    /// The kernel said no.
    pub(super) fn collect(
        &self,
        owner: &mut dyn FnMut(&str) -> Owner,
    ) -> Result<Vec<IpAddr>, PathError> {
        let mut gone = Vec::new();
        for (address, lease) in self.leases()? {
            let is_pod = PodUuid::parse(&lease.container).is_ok();
            // Others share the folder: only what must be a pod's is ours to judge.
            let dead = is_pod && owner(&lease.container) == Owner::Gone;
            if dead || lease.container.is_empty() || is_torn(&lease) {
                self.remove(address)?;
                gone.push(address);
            }
        }
        Ok(gone)
    }

    /// Gives back an address, whoever has it.
    ///
    /// # Errors
    /// The kernel said no.
    pub(super) fn remove(&self, address: IpAddr) -> Result<(), PathError> {
        self.unlink(&address.to_string())
    }

    fn unlink(&self, name: &str) -> Result<(), PathError> {
        match unlinkat(&self.folder, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => other.at("unlink", self.path.join(name)),
        }
    }

    fn write(&self, name: &str, how: OFlags, bytes: &[u8]) -> Result<(), PathError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | how;
        let path = || self.path.join(name);
        let fd =
            openat(&self.folder, name, flags, Mode::from_raw_mode(0o600)).at("open", path())?;
        File::from(fd).write_all(bytes).at("write", path())
    }

    /// A small regular file; anything else has no content.
    fn read(&self, name: &str) -> Result<Option<String>, PathError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match openat(&self.folder, name, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
            other => other.at("open", self.path.join(name))?,
        };
        let found = fstat(&fd).at("stat", self.path.join(name))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let read = File::from(fd).take(FILE_LIMIT).read_to_end(&mut bytes);
        read.at("read", self.path.join(name))?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// Whether a note ends within the UUID of a pod: whoever wrote it was killed, since it is read under the lock.
fn is_torn(lease: &Lease) -> bool {
    let text = lease.container.as_bytes();
    let fits = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    lease.ifname.is_none() && (9..36).contains(&text.len()) && text.iter().enumerate().all(fits)
}

//! The start of one process of an app: everything is decided and allocated before, the child only makes system calls.
#![expect(
    unsafe_code,
    reason = "the child gives up descriptors that values of the suspended parent own"
)]

use crate::identity::Identity;
use crate::spec::wire;
use rustix::process::{Gid, Pid, Uid};
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::BorrowedFd;
use sys::capability::Capabilities;
use sys::cgroup::Doors;
use sys::namespace::Kinds;
use sys::process::{ChildFailure, Words};

/// What a child was doing when it failed; the number is the app's exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Signals, session, umask.
    Session,
    /// The working directory.
    Directory,
    /// Executing the program.
    Exec,
    /// Standard descriptors.
    Standard,
    /// The OOM score.
    OomScore,
    /// Changing the root.
    Root,
    /// Groups.
    Group,
    /// The user.
    User,
    /// Capabilities.
    Capabilities,
    /// Joining the control group.
    ControlGroup,
    /// Joining namespaces.
    Namespace,
    /// Giving up new privileges.
    NoNewPrivileges,
}

impl Step {
    /// The status an app gets that failed here, as service managers number it.
    pub fn status(self) -> i32 {
        match self {
            Self::Directory => 200,
            Self::Exec => 203,
            Self::OomScore => 206,
            Self::Standard => 209,
            Self::Root => 210,
            Self::Group => 216,
            Self::User => 217,
            Self::Capabilities => 218,
            Self::ControlGroup => 219,
            Self::Session => 220,
            Self::Namespace => 226,
            Self::NoNewPrivileges => 227,
        }
    }

    /// What it was, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Directory => "change to the working directory",
            Self::Exec => "execute the program",
            Self::OomScore => "set the OOM score",
            Self::Standard => "set up the standard descriptors",
            Self::Root => "change the root",
            Self::Group => "change the group",
            Self::User => "change the user",
            Self::Capabilities => "limit the capabilities",
            Self::ControlGroup => "join the control group",
            Self::Session => "start a session",
            Self::Namespace => "join the namespaces",
            Self::NoNewPrivileges => "give up new privileges",
        }
    }
}

/// The standard descriptors of a process.
#[derive(Debug, Clone, Copy)]
pub struct Standard<'a> {
    /// Input.
    pub input: BorrowedFd<'a>,
    /// Output.
    pub output: BorrowedFd<'a>,
    /// Diagnostics.
    pub error: BorrowedFd<'a>,
}

/// The session a process starts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// That of its parent.
    Inherited,
    /// One of its own, without a terminal.
    Own,
    /// One of its own, controlled by the terminal that is its input.
    Terminal,
}

/// What a process may do at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rights {
    /// The bounding set.
    #[serde(with = "wire::capability_bits")]
    pub capabilities: Capabilities,
    /// Whether set-id programs lose their effect.
    pub no_new_privileges: bool,
}

/// One process to be started.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The file to execute.
    pub program: CString,
    /// Its arguments.
    pub argv: Words,
    /// Its environment.
    pub env: &'a Words,
    /// Its ids.
    pub identity: &'a Identity,
    /// What it may do.
    pub rights: Rights,
    /// Its working directory.
    pub directory: &'a CStr,
    /// Its standard descriptors.
    pub standard: Standard<'a>,
    /// A descriptor it keeps, as number 3.
    pub keep: Option<BorrowedFd<'a>>,
    /// The parent with which it is to die, if it is.
    pub dies_with: Option<Pid>,
    /// Its session.
    pub session: Session,
    /// The control group to join.
    pub doors: Option<&'a Doors>,
    /// Namespaces to join first.
    pub namespaces: &'a [(BorrowedFd<'a>, Kinds)],
    /// A folder to take for the root.
    pub root: Option<BorrowedFd<'a>>,
    /// The score to write, and a procfs that nobody else has touched.
    pub oom_score_adj: Option<(BorrowedFd<'a>, i32)>,
}

type Failed = (Step, io::Error);

impl Launch<'_> {
    /// Starts the process and waits until its program runs.
    ///
    /// # Errors
    /// The outer error: no child could be made. The inner: where the child failed.
    pub fn start(&self) -> io::Result<Result<Pid, ChildFailure<Step>>> {
        let groups: Vec<Gid> = self.identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        let score = self.oom_score_adj.map(|(proc, score)| (proc, score.to_string()));
        sys::process::run_beside(&mut || match self.prepare(&groups, score.as_ref()) {
            Ok(()) => ChildFailure {
                step: Step::Exec,
                errno: sys::process::exec(&self.program, &self.argv, self.env),
            },
            Err((step, error)) => {
                ChildFailure { step, errno: error.raw_os_error().unwrap_or(libc::EIO) }
            }
        })
    }

    /// Becomes the program in this very process; returns only the reason why not.
    pub fn become_it(&self) -> ChildFailure<Step> {
        let groups: Vec<Gid> = self.identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        match self.prepare(&groups, None) {
            Ok(()) => ChildFailure {
                step: Step::Exec,
                errno: sys::process::exec(&self.program, &self.argv, self.env),
            },
            Err((step, error)) => {
                ChildFailure { step, errno: error.raw_os_error().unwrap_or(libc::EIO) }
            }
        }
    }

    /// Runs in the child: system calls only.
    fn prepare(
        &self,
        groups: &[Gid],
        score: Option<&(BorrowedFd<'_>, String)>,
    ) -> Result<(), Failed> {
        let step = |step| move |error: io::Error| (step, error);
        if self.session != Session::Inherited {
            rustix::process::setsid().map_err(|e| (Step::Session, e.into()))?;
        }
        sys::signal::reset_all().map_err(step(Step::Session))?;
        if let Some(doors) = self.doors {
            doors.enter().map_err(step(Step::ControlGroup))?;
        }
        for (namespace, kinds) in self.namespaces {
            sys::namespace::join(*namespace, *kinds).map_err(step(Step::Namespace))?;
        }
        if let Some((proc, score)) = score {
            write_score(*proc, score).map_err(step(Step::OomScore))?;
        }
        if let Some(root) = self.root {
            rustix::process::fchdir(root).map_err(|e| (Step::Root, e.into()))?;
            rustix::process::chroot(c".").map_err(|e| (Step::Root, e.into()))?;
        }
        self.hand_over_descriptors().map_err(step(Step::Standard))?;
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        // As root, so that a folder of the user's that only root may pass is no obstacle; inside, or not at all.
        rustix::process::chdir(self.directory).map_err(|e| (Step::Directory, e.into()))?;
        if !sys::process::works_inside_root() {
            return Err((Step::Directory, io::Error::from_raw_os_error(libc::EXDEV)));
        }
        sys::capability::bound(self.rights.capabilities).map_err(step(Step::Capabilities))?;
        rustix::thread::set_thread_groups(groups).map_err(|e| (Step::Group, e.into()))?;
        let gid = Gid::from_raw(self.identity.gid);
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(|e| (Step::Group, e.into()))?;
        if self.rights.no_new_privileges {
            rustix::thread::set_no_new_privs(true)
                .map_err(|e| (Step::NoNewPrivileges, e.into()))?;
        }
        let uid = Uid::from_raw(self.identity.uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(|e| (Step::User, e.into()))?;
        // After the change of user, which would undo it.
        if let Some(parent) = self.dies_with {
            sys::process::die_with_parent().map_err(step(Step::Session))?;
            if rustix::process::getppid() != Some(parent) {
                return Err((Step::Session, io::Error::from_raw_os_error(libc::ESRCH)));
            }
        }
        Ok(())
    }

    fn hand_over_descriptors(&self) -> io::Result<()> {
        let Standard { input, output, error } = self.standard;
        for (number, fd) in [(0, input), (1, output), (2, error)] {
            // SAFETY: this is a child that executes next or ends; its own owners of 0, 1 and 2 are not used again.
            unsafe { sys::process::set_standard(number, fd) }?;
        }
        if self.session == Session::Terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        // SAFETY: what follows uses paths only; the table of descriptors is the child's own copy, so the parent keeps
        // what it has.
        unsafe { sys::descriptor::close_above_standard(self.keep) }
    }
}

/// Writes the score of the calling process through a procfs of ours.
fn write_score(proc: BorrowedFd<'_>, score: &str) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags, openat};
    let file =
        openat(proc, c"self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    match rustix::io::write(&file, score.as_bytes()) {
        // Lowering it needs a right that not every caller has: the app runs, and its supervisor warns.
        Ok(_) | Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

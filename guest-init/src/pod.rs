//! The pod, made to stand: names, shares, folders for what apps write, one root and one control group an app.

use crate::call::{Caller, set_nonblocking};
use crate::error::{Doing, InitError};
use crate::relay::{Relay, Way};
use crate::{images, words::Words};
use pod_proto::config::{AppConfig, Dialogue, HostsFile};
use pod_proto::{Config, Preamble, Process, Stream, Token};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::Winsize;
use stage2::assemble::{self, Parts};
use stage2::mounts::{Access, MountPlan, Source};
use stage2::{Ends, Root, RootFiles, Runner, Sources, kernel_fs, sources};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use sys::cgroup::{self, Doors, Group, Limits, Place, Record};
use sys::mount::{self, Restrict};
use sys::path::At;

/// Where shares are mounted, by tag.
pub const SHARES: &str = "/shares";
/// Where everything is that apps write.
pub const FOLDER: &str = "/pod";
/// The tmpfs that apps share, until they have it.
const SHARED_MEMORY: &str = "shm";
const VOLUMES: &str = "volumes";
const RESOLV: &str = "resolv.conf";
const HOSTS: &str = "hosts";

/// The pod's control groups.
#[derive(Debug)]
pub struct Groups {
    record: Record,
    /// One an app, in their order.
    pub apps: Vec<Group>,
}

/// What stands.
#[derive(Debug)]
pub struct Standing<'a> {
    /// The apps.
    pub runners: Vec<Runner<'a>>,
    /// Their streams.
    pub relays: Vec<Relay>,
    /// Their groups.
    pub groups: Groups,
}

/// Makes the pod stand. The calling process is in the root that [`crate::boot::base`] has made.
///
/// # Errors
/// Something that the pod asks for cannot be had.
pub fn stand<'a>(
    config: &'a Config,
    plans: &'a [MountPlan],
    words: &Words,
    caller: &Caller,
) -> Result<Standing<'a>, InitError> {
    if words.own_kernel() {
        clock_and_entropy(config);
    }
    sys::namespace::set_hostname(&config.hostname).doing("cannot set the host name")?;
    sys::namespace::loopback_up().doing("cannot bring the loopback interface up")?;
    crate::network::connect(&config.interfaces)?;
    crate::network::set(&config.settings)?;
    let previous = rustix::process::umask(Mode::empty());
    images::mount(&words.disk, config)?;
    for share in &config.shares {
        let at = Path::new(SHARES).join(&share.tag);
        std::fs::create_dir(&at).at("mkdir", &at)?;
        // What the host has of devices is none here. Set-id bits are worth what they are on a volume of the container's.
        let rights = Restrict::NO_DEVICES;
        mount::device_at(Path::new(&share.tag), c"virtiofs", &at, rights).at("mount", &at)?;
    }
    let files: Vec<RootFiles> = config.apps.iter().map(files).collect();
    let folder = writable(config, plans, &files)?;
    let groups = Groups::make(config)?;
    rustix::process::fchdir(&folder).at("chdir", FOLDER)?;
    let apps = config.apps.iter().zip(plans).zip(&files);
    let roots = assemble::apart(apps, |((app, plan), files)| one(config, app, plan, files))?;
    rustix::process::umask(previous);
    let doors: Vec<Doors> = groups.apps.iter().map(Group::doors).collect::<Result<_, _>>()?;
    let mut standing = Standing { runners: Vec::new(), relays: Vec::new(), groups };
    let apps = (0_u32..).zip(&config.apps).zip(roots).zip(doors);
    for (((index, app), root), doors) in apps {
        let owner = Owner { process: Process::App(index), token: config.token, caller };
        let master = root.terminal.as_ref().map(|pair| &pair.master);
        let Plumbed { input, output, error, relays } = owner.plumb(app.dialogue, master)?;
        let ends = Ends { input, output, error, doors };
        standing.relays.extend(relays);
        standing.runners.push(Runner::new(&app.spec, root, ends)?);
    }
    Ok(standing)
}

/// A clock that is wrong and a generator that has to wait are no reason to have no pod.
fn clock_and_entropy(config: &Config) {
    if let Err(error) = sys::machine::set_clock(config.time.seconds, config.time.nanoseconds) {
        log::warn!("cannot set the clock: {error}");
    }
    if let Err(error) = sys::machine::add_entropy(&config.seed.0) {
        log::warn!("cannot seed the random number generator: {error}");
    }
}

/// The plans of the apps, with the paths of shares as they are in the guest.
pub fn plans(config: &Config) -> Vec<MountPlan> {
    let mut plans: Vec<MountPlan> = config.apps.iter().map(|app| app.mounts.clone()).collect();
    for step in plans.iter_mut().flat_map(|plan| &mut plan.steps) {
        if let Source::Host(path) = &mut step.source {
            *path = Path::new(SHARES).join(&*path);
        }
    }
    plans
}

fn files(app: &AppConfig) -> RootFiles {
    RootFiles::Layers {
        lower: app.layers.iter().map(|number| images::folder(*number)).collect(),
        own: PathBuf::from("apps").join(&app.spec.name),
    }
}

/// The file system for what apps write, of which half of the machine's memory is the most, and the folders in it.
fn writable(
    config: &Config,
    plans: &[MountPlan],
    files: &[RootFiles],
) -> Result<OwnedFd, InitError> {
    let found = rustix::system::sysinfo();
    let memory = found.totalram.saturating_mul(found.mem_unit.into());
    let size = CString::new(config.writable.min(memory / 2).max(1 << 16).to_string());
    let size = size.unwrap_or_default();
    let tree = mount::fresh(c"tmpfs", &[(c"mode", c"755"), (c"size", &size)], Restrict::NONE)
        .at("mount", FOLDER)?;
    mount::attach_at(tree.as_fd(), FOLDER).at("mount", FOLDER)?;
    let make = |name: &Path, mode: u32| {
        let made = rustix::fs::mkdirat(&tree, name, Mode::from_raw_mode(mode));
        made.at("mkdir", Path::new(FOLDER).join(name))
    };
    make(Path::new("apps"), 0o755)?;
    make(Path::new(VOLUMES), 0o755)?;
    make(Path::new(SHARED_MEMORY), 0o755)?;
    for files in files {
        if let RootFiles::Layers { own, .. } = files {
            make(own, 0o755)?;
        }
        files.make_folders(tree.as_fd())?;
    }
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let volumes = rustix::fs::openat(&tree, VOLUMES, folder, Mode::empty()).at("open", VOLUMES)?;
    for plan in plans {
        sources::make_empty(volumes.as_fd(), plan)?;
    }
    let hosts = if let HostsFile::Text(text) = &config.hosts { Some(text) } else { None };
    for (name, text) in [(RESOLV, config.resolv.as_ref()), (HOSTS, hosts)] {
        if let Some(text) = text {
            let path = Path::new(FOLDER).join(name);
            std::fs::write(&path, text).at("write", &path)?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            std::fs::set_permissions(&path, mode).at("chmod", &path)?;
        }
    }
    let shared = kernel_fs::shared_memory().doing("cannot make shared memory")?;
    let at = Path::new(FOLDER).join(SHARED_MEMORY);
    mount::attach_at(shared.as_fd(), &at).at("mount", &at)?;
    Ok(tree)
}

fn one(
    config: &Config,
    app: &AppConfig,
    plan: &MountPlan,
    files: &RootFiles,
) -> Result<Root, InitError> {
    let open = |path: &str| {
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, folder, Mode::empty()).at("open", path)
    };
    // Opened anew: only mounts of this namespace can be copied.
    let (folder, volumes) = (open(".")?, open(VOLUMES)?);
    let mut sources = Sources::open(Some(volumes.as_fd()), plan)?;
    let hosts = matches!(config.hosts, HostsFile::Text(_));
    for (name, target, there) in
        [(RESOLV, "/etc/resolv.conf", config.resolv.is_some()), (HOSTS, "/etc/hosts", hosts)]
    {
        // A volume of the user's at this path wins.
        if there && !plan.has(target) {
            sources.add(CWD, Path::new(name), target, Access::ReadWrite)?;
        }
    }
    let terminal = match app.dialogue {
        Dialogue::Terminal(size) => Some(window(size)),
        Dialogue::Silent | Dialogue::Streams => None,
    };
    let parts = Parts {
        spec: &app.spec,
        plan,
        files,
        kernel_paths: config.kernel_paths,
        hostname: &config.hostname,
        own_hosts: config.hosts == HostsFile::Default,
        shared_memory: Some(Path::new(SHARED_MEMORY)),
        terminal,
    };
    Ok(assemble::root(folder.as_fd(), sources, &parts)?)
}

/// A size, for a terminal.
pub fn window(size: pod_proto::message::Size) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Groups {
    fn make(config: &Config) -> Result<Self, InitError> {
        let limits: Vec<Limits> = config.apps.iter().map(|app| app.spec.limits).collect();
        let place = Place::of_self(&limits)?;
        // Everything that can be accounted for is, where the kernel is ours; what is limited must be.
        let all = Limits { memory: Some(1), cpu_milli: Some(1), pids: Some(1), cpu_shares: None };
        let place = match place.clone().settle(&[all]) {
            Ok(place) => place,
            Err(_) => place.settle(&limits)?,
        };
        let name = cgroup::pod_group(&config.hostname);
        // What is made from here on is removed with this, also after a failure.
        let mut groups = Self { record: place.record(&name), apps: Vec::new() };
        let group = place.make(&name)?;
        for app in &config.apps {
            let inner = group.inner(&app.spec.name)?;
            inner.limit(&app.spec.limits)?;
            groups.apps.push(inner);
        }
        Ok(groups)
    }
}

impl Drop for Groups {
    /// Removes them, with nobody left in them.
    fn drop(&mut self) {
        if let Err(error) = self.record.leave() {
            log::debug!("{error}");
        }
    }
}

/// Whose streams are to be connected.
#[derive(Debug)]
pub struct Owner<'a> {
    /// The process.
    pub process: Process,
    /// The pod's token.
    pub token: Token,
    /// Where to call.
    pub caller: &'a Caller,
}

/// The process's ends of its streams, and what carries them.
#[derive(Debug)]
pub struct Plumbed {
    /// What it reads.
    pub input: OwnedFd,
    /// What it writes.
    pub output: OwnedFd,
    /// What it complains to.
    pub error: OwnedFd,
    /// Carries them.
    pub relays: Vec<Relay>,
}

impl Owner<'_> {
    fn call(&self, stream: Stream) -> Result<OwnedFd, InitError> {
        let (process, token) = (self.process, self.token);
        self.caller.call(&Preamble::Stream { process, stream, token })
    }

    /// Connects the streams that such a process has; `master` is the driving end of its terminal.
    ///
    /// # Errors
    /// The host does not take the call, or there are no descriptors left.
    pub fn plumb(
        &self,
        dialogue: Dialogue,
        master: Option<&OwnedFd>,
    ) -> Result<Plumbed, InitError> {
        let null = |write| sys::descriptor::null_device(write).at("open", "/dev/null");
        let mut plumbed = Plumbed {
            input: null(false)?,
            output: null(true)?,
            error: null(true)?,
            relays: Vec::new(),
        };
        for stream in dialogue.streams() {
            let connection = self.call(*stream)?;
            match (stream, master) {
                (Stream::Input, _) => {
                    let (read, write) = pipe()?;
                    set_nonblocking(&write).doing("cannot set up a pipe")?;
                    plumbed.relays.push(Relay::new(Way::In, connection, write));
                    plumbed.input = read;
                }
                (Stream::Output | Stream::Error, _) => {
                    let (read, write) = pipe()?;
                    set_nonblocking(&read).doing("cannot set up a pipe")?;
                    plumbed.relays.push(Relay::new(Way::Out, read, connection));
                    let end = if *stream == Stream::Output {
                        &mut plumbed.output
                    } else {
                        &mut plumbed.error
                    };
                    *end = write;
                }
                (Stream::Terminal, Some(master)) => {
                    let doing = "cannot share a terminal";
                    set_nonblocking(master).doing(doing)?;
                    let copy = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 3).doing(doing);
                    let keys = Relay::new(Way::In, copy(&connection)?, copy(master)?);
                    let screen = Relay::new(Way::Out, copy(master)?, connection);
                    plumbed.relays.extend([keys, screen]);
                }
                (Stream::Terminal, None) => {}
            }
        }
        Ok(plumbed)
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), InitError> {
    pipe_with(PipeFlags::CLOEXEC).doing("cannot make a pipe")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_shares_lead_below_their_tags() {
        let golden = include_str!("../../crates/pod-proto/src/golden/configure.json");
        let config: Config = serde_json::from_str(golden).unwrap();
        config.check().unwrap();
        let [plan] = plans(&config).try_into().unwrap();
        let host = |step: &stage2::MountStep| match &step.source {
            Source::Host(path) => Some(path.clone()),
            Source::Empty { .. } => None,
        };
        let found: Vec<Option<PathBuf>> = plan.steps.iter().map(host).collect();
        assert_eq!(found, [None, Some("/shares/host/data".into())]);
        let app = config.apps.first().unwrap();
        let lower = vec!["/images/1".into(), "/images/2".into()];
        assert_eq!(files(app), RootFiles::Layers { lower, own: "apps/web".into() });
    }
}

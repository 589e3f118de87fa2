//! Inside the folder of one pod: which file holds what, who writes it, and how it is read back.
//!
//! ```text
//! pod                         the pod manifest, 0640                        stage0
//! pod-created                 empty; its mtime is the pod's creation        stage0
//! stage1TreeStoreID           tree id of the stage1 image                   stage0
//! stage1/manifest             manifest of the stage1 image                  stage0
//! stage1/rootfs               its root: mounted or copied, or (root=shared) a link to the tree
//! stage1/layers               (root=private) its trees, one absolute path a line, lowest first
//! appsinfo/APP/manifest       manifest of the app's image                   stage0
//! appsinfo/APP/treeStoreID    id of the app's tree                          stage0
//! appsinfo/APP/layers         (app-roots=layers) layer trees, one absolute path a line, lowest first
//!                             (app-roots=erofs) the same with an image file a tree
//! appsinfo/APP/upper, work    what the app wrote over its layers            stage1
//! appsinfo/APP/rootfs         (without overlay) a private copy of the root
//! overlay-prepared            (root=private) empty: roots are stacked, not copied
//! overlay/TREE/{upper,work}   (root=private) what was written over the roots that stage0 mounted
//! sharedVolumes/NAME          empty volumes                                 stage1
//! subcgroup                   control group of the pod; written before pid  stage1
//! netns                       path of its network namespace, before that is there  stage1
//! net/FILE                    copy of each network's configuration; FILE.result: what its plugins said
//! net-info.json               the networks it joins, with addresses once it has them
//! pid | ppid | pgid           process to enter, or its parent               stage1
//! runtime-config              how the pod was started                       stage1
//! logs/APP                    what the app wrote to its outputs             stage1
//! rkt/status/APP              exit status, decimal; APP-signal beside it if a signal ended the app
//! rkt/supervisor-status       link to `ready` once the supervisor is up     stage1
//! rkt/failure                 why the pod did not come to its end by itself  stage1
//! rkt/resolv.conf, rkt/hosts  DNS files that flags asked for                stage0
//! ```
//!
//! `rkt/` lies in the pod folder where the stage1 root is shared, else below `stage1/rootfs/` (which, for an overlay
//! that is no longer mounted, is found in `overlay/TREE/upper/`). Readers here know all three places.
//!
//! Each name costs a pod's start some twenty microseconds on a disk: what follows from other files is not kept, and what
//! is written once is written in place, since readers take an empty file for one that is not there yet; but for `pid`,
//! which others than rkt wait for. Older builds also wrote `stage1ImageID`, `rkt/env/APP`, `overlay-prepared` in every stacked pod, and `overlay/APP/{upper,work}`.

use crate::annotations::AppRoots;
use crate::runtime_config::RuntimeConfig;
use rustix::fs::{
    AtFlags, CWD, Dir, Mode, OFlags, ResolveFlags, StatxFlags, mkdirat, openat, openat2, renameat,
    statx, symlinkat,
};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use sys::path::{At, PathError};

/// The pod manifest.
pub const MANIFEST: &str = "pod";
/// Its mtime is the pod's creation time.
pub const CREATED: &str = "pod-created";
/// Tree id of the stage1 image.
pub const STAGE1_TREE: &str = "stage1TreeStoreID";
/// Id of the stage1 image, as older builds noted it.
pub const STAGE1_IMAGE: &str = "stage1ImageID";
/// Folder of the stage1 image's manifest and root.
pub const STAGE1: &str = "stage1";
/// Manifest of the stage1 image.
pub const STAGE1_MANIFEST: &str = "stage1/manifest";
/// Root of the stage1, or a link to it.
pub const STAGE1_ROOT: &str = "stage1/rootfs";
/// Trees of a stage1 whose root is the pod's own, one absolute path a line, lowest first.
pub const STAGE1_LAYERS: &str = "stage1/layers";
/// Folder with one folder an app: its image manifest, its tree.
pub const APPS: &str = "appsinfo";
/// Says that roots which stage0 mounts are stacked on trees in the store.
pub const OVERLAY_PREPARED: &str = "overlay-prepared";
/// Folder of the upper layers of roots which stage0 mounts, one folder a tree.
pub const OVERLAY: &str = "overlay";
/// Folder of empty volumes.
pub const VOLUMES: &str = "sharedVolumes";
/// The pod's control group.
pub const SUBCGROUP: &str = "subcgroup";
/// The process to enter, as the host numbers it.
pub const PID: &str = "pid";
/// Its parent, where only that is known.
pub const PPID: &str = "ppid";
/// The process group of a pod without a supervisor.
pub const PGID: &str = "pgid";
/// How the pod was started.
pub const RUNTIME_CONFIG: &str = "runtime-config";
/// Folder of what the apps wrote to their outputs.
pub const LOGS: &str = "logs";
/// Folder of what a stage1 tells about its apps.
pub const STATE: &str = "rkt";
/// Where a stage1 whose root is shared says why a pod did not come to its end.
const FAILURE: &str = "rkt/failure";

/// Where stage0 mounts or copies an app's root for a stage1 that does not do so itself.
pub fn mounted_root(app: &str) -> String {
    format!("{STAGE1_ROOT}/opt/stage2/{app}/rootfs")
}

/// No file of a pod folder is larger; a larger one is not read.
const FILE_LIMIT: u64 = 8 << 20;

/// A file of a pod folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PodDirError {
    /// The kernel said no.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A file holds something else than it should.
    #[error("{path}: {problem}")]
    Content {
        /// The file, relative to the pod folder.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The process named by `ppid` has several children: which one is the pod's is not guessed.
    #[error("process {0} has more than one child")]
    ManyChildren(i32),
}

/// How an app ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppStatus {
    /// The exit code, or the number of the signal that ended it.
    pub code: i32,
    /// The signal, if one ended it.
    pub signal: Option<i32>,
    /// When it ended.
    pub finished: SystemTime,
}

/// An open pod folder. Everything is reached through the descriptor, so a rename of the folder does not matter.
#[derive(Debug)]
pub struct PodDir {
    fd: OwnedFd,
    path: PathBuf,
}

impl AsFd for PodDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl PodDir {
    /// Opens a pod folder by its path.
    ///
    /// # Errors
    /// It is missing or no folder.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, PathError> {
        let path = path.as_ref();
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).at("open", path)?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// The working directory, where stage0 left a stage1.
    ///
    /// # Errors
    /// The working directory cannot be opened.
    pub fn current() -> Result<Self, PathError> {
        let path = std::env::current_dir().at("getcwd", ".")?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = openat(CWD, ".", flags, Mode::empty()).at("open", &path)?;
        Ok(Self { fd, path })
    }

    /// Wraps a descriptor that is already open; `path` is for messages.
    pub fn from_fd(fd: OwnedFd, path: impl Into<PathBuf>) -> Self {
        Self { fd, path: path.into() }
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of pods in which it is, by state; `None` where it is in none.
    pub fn pods(&self) -> Option<&Path> {
        self.path.parent()?.parent()
    }

    /// Opens something below the folder, following no link that leads out of it.
    ///
    /// # Errors
    /// As openat2(2).
    pub fn open_at(&self, name: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, PathError> {
        let open = self.open_below(name, flags, mode);
        open.map_err(|error| PathError::new("open", self.path.join(name), error))
    }

    fn open_below(&self, name: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        // A name without folders that is no link cannot lead anywhere else, and is opened at half the price.
        if flags.contains(OFlags::NOFOLLOW) && !name.contains('/') && name != ".." {
            return openat(&self.fd, name, flags, mode);
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        loop {
            match openat2(&self.fd, name, flags, mode, resolve) {
                // A rename elsewhere raced with the look-up.
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
    }

    /// The content of a file, `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, is no regular file, or is too large to be one of ours.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, PodDirError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let fd = match self.open_below(name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(PathError::new("open", self.path.join(name), error).into()),
        };
        let file = File::from(fd);
        let bad = |problem| PodDirError::Content { path: name.to_owned(), problem };
        // Nearly every file fits, and is read in one go and found to be at its end.
        let mut bytes = Vec::with_capacity(1000);
        let read = file.take(FILE_LIMIT + 1).read_to_end(&mut bytes);
        read.map_err(|error| PathError::new("read", self.path.join(name), error))?;
        if u64::try_from(bytes.len()).is_ok_and(|n| n > FILE_LIMIT) {
            return Err(bad("is too large"));
        }
        Ok(Some(bytes))
    }

    /// The content of a text file without the white space around it.
    ///
    /// # Errors
    /// As [`Self::read`], or it is not UTF-8.
    pub fn read_text(&self, name: &str) -> Result<Option<String>, PodDirError> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        let text = String::from_utf8(bytes)
            .map_err(|_| PodDirError::Content { path: name.to_owned(), problem: "is not text" })?;
        Ok(Some(text.trim().to_owned()))
    }

    /// Makes or truncates a file and writes it in one go.
    ///
    /// # Errors
    /// As open(2) and write(2).
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), PathError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
        let fd = self.open_at(name, flags, Mode::from_raw_mode(0o640))?;
        if bytes.is_empty() {
            return Ok(());
        }
        File::from(fd).write_all(bytes).at("write", self.path.join(name))
    }

    /// Writes a file that is there with its old content or with all of its new one, whoever is killed.
    ///
    /// # Errors
    /// As open(2), write(2) and rename(2).
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), PathError> {
        let new = format!("{name}.new");
        self.write(&new, bytes)?;
        renameat(&self.fd, new.as_str(), &self.fd, name).at("rename", self.path.join(name))
    }

    /// Writes a file that apps of every user read.
    ///
    /// # Errors
    /// As open(2), write(2) and chmod(2).
    pub fn write_readable(&self, name: &str, bytes: &[u8]) -> Result<(), PathError> {
        self.write(name, bytes)?;
        let mode = Mode::from_raw_mode(0o644);
        rustix::fs::chmodat(&self.fd, name, mode, AtFlags::empty())
            .at("chmod", self.path.join(name))
    }

    /// Makes a folder if it is not there yet.
    ///
    /// # Errors
    /// As mkdir(2), but for a folder that exists.
    pub fn ensure_dir(&self, name: &str, mode: u32) -> Result<(), PathError> {
        match mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            Err(Errno::EXIST) => Ok(()),
            other => other.at("mkdir", self.path.join(name)),
        }
    }

    /// When a file was last written, `None` if there is none.
    ///
    /// # Errors
    /// As stat(2).
    pub fn modified(&self, name: &str) -> Result<Option<SystemTime>, PathError> {
        match statx(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MTIME) {
            Ok(found) => Ok(Some(time(found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec))),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(other) => Err(PathError::new("stat", self.path.join(name), other)),
        }
    }

    /// When the pod was made: from `pod-created`, else from the manifest, else from the folder.
    ///
    /// # Errors
    /// As stat(2).
    pub fn created(&self) -> Result<Option<SystemTime>, PathError> {
        for name in [CREATED, MANIFEST, "."] {
            if let Some(found) = self.modified(name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// When the pod's process was up, `None` if it never was.
    ///
    /// # Errors
    /// As stat(2).
    pub fn started(&self) -> Result<Option<SystemTime>, PathError> {
        Ok(match self.modified(PID)? {
            Some(found) => Some(found),
            None => self.modified(PPID)?,
        })
    }

    /// What stage0 tells of an app lies here, relative to the pod folder; and, if the stage1 mounts the app's layers
    /// itself, what the app wrote over them.
    pub fn app_folder(app: &str) -> String {
        format!("{APPS}/{app}")
    }

    /// The path of a file of an app, relative to the pod folder.
    pub fn app_file(app: &str, name: &str) -> String {
        format!("{APPS}/{app}/{name}")
    }

    /// Where what an app wrote over its layers lies, for a stage1 that mounts them itself, relative to the pod folder.
    pub fn app_upper(app: &str) -> String {
        Self::app_file(app, "upper")
    }

    /// Whether this host stacks roots on trees in the store, for a stage1 that wants them like this.
    ///
    /// # Errors
    /// As stat(2) and readdir(3).
    pub fn is_stacked(&self, roots: AppRoots) -> Result<bool, PathError> {
        if self.modified(OVERLAY_PREPARED)?.is_some() {
            return Ok(true);
        }
        if roots == AppRoots::Erofs {
            return Ok(false);
        }
        for app in self.apps()? {
            if self.modified(&Self::app_file(&app, "layers"))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The apps that have a folder, in no order.
    ///
    /// # Errors
    /// As readdir(3).
    pub fn apps(&self) -> Result<Vec<String>, PathError> {
        let path = || self.path.join(APPS);
        let folder = match self.open_at(APPS, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
            Ok(folder) => folder,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in Dir::new(folder).at("read", path())? {
            let entry = entry.at("read", path())?;
            names.extend(
                entry.file_name().to_str().ok().filter(|n| !n.starts_with('.')).map(str::to_owned),
            );
        }
        Ok(names)
    }

    /// The layer trees of an app, or the images of them, lowest first; `None` for an app with a private copy or a mounted root.
    ///
    /// # Errors
    /// The file cannot be read or names a relative path.
    pub fn app_layers(&self, app: &str) -> Result<Option<Vec<PathBuf>>, PodDirError> {
        self.paths(&Self::app_file(app, "layers"))
    }

    /// The trees of a stage1 whose root is the pod's own, lowest first; `None` if the root is shared.
    ///
    /// # Errors
    /// As [`Self::app_layers`].
    pub fn stage1_layers(&self) -> Result<Option<Vec<PathBuf>>, PodDirError> {
        self.paths(STAGE1_LAYERS)
    }

    fn paths(&self, name: &str) -> Result<Option<Vec<PathBuf>>, PodDirError> {
        use std::os::unix::ffi::OsStringExt;
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        let layers: Vec<PathBuf> =
            lines.map(|l| std::ffi::OsString::from_vec(l.to_vec()).into()).collect();
        if layers.is_empty() || layers.iter().any(|l| !l.is_absolute()) {
            return Err(PodDirError::Content {
                path: name.to_owned(),
                problem: "does not list absolute paths",
            });
        }
        Ok(Some(layers))
    }

    /// The pid of the process to enter, `None` as long as there is none.
    ///
    /// # Errors
    /// A file holds no pid, or the parent has several children.
    pub fn pid(&self) -> Result<Option<i32>, PodDirError> {
        if let Some(pid) = self.number(PID)? {
            return Ok(Some(pid));
        }
        match self.number(PPID)? {
            Some(parent) => only_child(parent),
            None => Ok(None),
        }
    }

    /// A small positive number kept in a file.
    ///
    /// # Errors
    /// The file cannot be read or holds something else.
    pub fn number(&self, name: &str) -> Result<Option<i32>, PodDirError> {
        let Some(text) = self.read_text(name)? else { return Ok(None) };
        // An empty file is one whose writer has not come to the number yet.
        if text.is_empty() {
            return Ok(None);
        }
        match text.parse() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(PodDirError::Content {
                path: name.to_owned(),
                problem: "holds no positive number",
            }),
        }
    }

    /// Says which process to enter. `subcgroup` must have been written before: monitors take this file as a sign that
    /// everything else can be read, and they know nothing of empty ones.
    ///
    /// # Errors
    /// As write(2) and rename(2).
    pub fn write_pid(&self, pid: i32) -> Result<(), PathError> {
        self.replace(PID, pid.to_string().as_bytes())
    }

    /// Where this pod keeps what its stage1 tells of the apps, relative to the pod folder.
    ///
    /// # Errors
    /// The id of the stage1 tree cannot be read.
    pub fn state_dir(&self) -> Result<String, PodDirError> {
        if self.modified(STATE)?.is_some() {
            return Ok(STATE.to_owned());
        }
        if let Some(tree) =
            self.read_text(STAGE1_TREE)?.filter(|t| !t.is_empty() && !t.contains('/'))
        {
            let upper = format!("{OVERLAY}/{tree}/upper/{STATE}");
            if self.modified(&upper)?.is_some() {
                return Ok(upper);
            }
        }
        Ok(format!("{STAGE1}/rootfs/{STATE}"))
    }

    /// How an app ended, `None` as long as it has not.
    ///
    /// # Errors
    /// The file cannot be read or holds no number.
    pub fn status(&self, app: &str) -> Result<Option<AppStatus>, PodDirError> {
        let state = self.state_dir()?;
        self.status_in(&state, app)
    }

    /// [`Self::status`] for callers that ask for many apps and have looked up [`Self::state_dir`].
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn status_in(&self, state: &str, app: &str) -> Result<Option<AppStatus>, PodDirError> {
        let name = format!("{state}/status/{app}");
        let Some(finished) = self.modified(&name)? else { return Ok(None) };
        let Some(text) = self.read_text(&name)?.filter(|t| !t.is_empty()) else { return Ok(None) };
        let code = text.parse().map_err(|_| PodDirError::Content {
            path: name.clone(),
            problem: "holds no exit status",
        })?;
        let signal = self.number(&format!("{name}-signal"))?;
        Ok(Some(AppStatus { code, signal, finished }))
    }

    /// Records how an app ended, for a stage1 whose root is shared ([`Self::ensure_state`] was called).
    ///
    /// # Errors
    /// As write(2).
    pub fn write_status(&self, app: &str, code: i32, signal: Option<i32>) -> Result<(), PathError> {
        let name = format!("{STATE}/status/{app}");
        if let Some(signal) = signal {
            self.write(&format!("{name}-signal"), signal.to_string().as_bytes())?;
        }
        self.write(&name, code.to_string().as_bytes())
    }

    /// Records why the pod did not come to its end by itself ([`Self::ensure_state`] was called).
    ///
    /// # Errors
    /// As write(2).
    pub fn write_failure(&self, why: &str) -> Result<(), PathError> {
        self.write(FAILURE, why.as_bytes())
    }

    /// Why the pod did not come to its end by itself, if a stage1 has said so.
    ///
    /// # Errors
    /// The file cannot be read, or is no text.
    pub fn failure(&self) -> Result<Option<String>, PodDirError> {
        self.read_text(FAILURE)
    }

    /// Makes the folders below `rkt/`.
    ///
    /// # Errors
    /// As mkdir(2).
    pub fn ensure_state(&self) -> Result<(), PathError> {
        for name in [STATE, "rkt/status"] {
            self.ensure_dir(name, 0o750)?;
        }
        Ok(())
    }

    /// Whether the supervisor has said that it is ready.
    ///
    /// # Errors
    /// As readlink(2).
    pub fn supervisor_ready(&self) -> Result<bool, PodDirError> {
        Ok(self.modified(&format!("{}/supervisor-status", self.state_dir()?))?.is_some())
    }

    /// Says that the supervisor is ready.
    ///
    /// # Errors
    /// As symlink(2).
    pub fn write_supervisor_ready(&self) -> Result<(), PathError> {
        let name = format!("{STATE}/supervisor-status");
        match symlinkat("ready", &self.fd, name.as_str()) {
            Err(Errno::EXIST) => Ok(()),
            other => other.at("symlink", self.path.join(name)),
        }
    }

    /// How the pod was started; defaults if nothing was recorded.
    ///
    /// # Errors
    /// The file cannot be read or parsed.
    pub fn runtime_config(&self) -> Result<RuntimeConfig, PodDirError> {
        let Some(bytes) = self.read(RUNTIME_CONFIG)? else { return Ok(RuntimeConfig::default()) };
        serde_json::from_slice(&bytes).map_err(|_| PodDirError::Content {
            path: RUNTIME_CONFIG.to_owned(),
            problem: "is not understood",
        })
    }

    /// Records how the pod was started.
    ///
    /// # Errors
    /// As write(2).
    pub fn write_runtime_config(&self, config: &RuntimeConfig) -> Result<(), PathError> {
        let bytes = serde_json::to_vec(config).unwrap_or_default();
        self.write(RUNTIME_CONFIG, &bytes)
    }
}

/// The only child of a process, `None` if it has none (or is gone).
fn only_child(parent: i32) -> Result<Option<i32>, PodDirError> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(None) };
    let mut children = text.split_whitespace().filter_map(|word| word.parse().ok());
    match (children.next(), children.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => Err(PodDirError::ManyChildren(parent)),
    }
}

fn time(seconds: i64, nanoseconds: u32) -> SystemTime {
    let fraction = Duration::from_nanos(nanoseconds.into());
    match u64::try_from(seconds) {
        Ok(after) => UNIX_EPOCH + Duration::from_secs(after) + fraction,
        Err(_) => UNIX_EPOCH - Duration::from_secs(seconds.unsigned_abs()) + fraction,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pod-dir-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn open(&self) -> PodDir {
            PodDir::open(&self.0).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn status_is_found_in_all_three_places() {
        for (case, place) in
            [("a", "rkt"), ("b", "overlay/tree/upper/rkt"), ("c", "stage1/rootfs/rkt")]
        {
            let folder = Folder::new(case);
            std::fs::create_dir_all(folder.0.join(place).join("status")).unwrap();
            std::fs::write(folder.0.join(STAGE1_TREE), "tree\n").unwrap();
            std::fs::write(folder.0.join(place).join("status/app"), "7\n").unwrap();
            let pod = folder.open();
            let status = pod.status("app").unwrap().unwrap();
            assert_eq!((status.code, status.signal), (7, None), "{place}");
            assert_eq!(pod.status("other").unwrap(), None);
        }
    }

    #[test]
    fn a_signal_stands_beside_the_number() {
        let folder = Folder::new("signal");
        let pod = folder.open();
        pod.ensure_state().unwrap();
        pod.write_status("a", 9, Some(9)).unwrap();
        pod.write_status("b", 9, None).unwrap();
        assert_eq!(pod.status("a").unwrap().unwrap().signal, Some(9));
        assert_eq!(pod.status("b").unwrap().unwrap().signal, None);
    }

    #[test]
    fn pid_comes_from_pid_then_from_the_only_child() {
        let folder = Folder::new("pid");
        let pod = folder.open();
        assert_eq!(pod.pid().unwrap(), None);
        let mut child = std::process::Command::new("/bin/cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let found = only_child(i32::try_from(child.id()).unwrap()).unwrap();
        assert_eq!(found, None);
        std::fs::write(folder.0.join(PPID), child.id().to_string()).unwrap();
        assert_eq!(pod.pid().unwrap(), None);
        pod.write_pid(42).unwrap();
        assert_eq!(pod.pid().unwrap(), Some(42));
        std::fs::write(folder.0.join(PID), "-1").unwrap();
        pod.pid().unwrap_err();
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn nothing_outside_the_folder_is_read() {
        let folder = Folder::new("escape");
        std::os::unix::fs::symlink("/etc", folder.0.join("out")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.0.join(MANIFEST)).unwrap();
        let pod = folder.open();
        pod.read("out/passwd").unwrap_err();
        pod.read(MANIFEST).unwrap_err();
        pod.read("../x").unwrap_err();
        pod.read("..").unwrap_err();
        pod.open_at("..", OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap_err();
        pod.open_at(MANIFEST, OFlags::RDONLY, Mode::empty()).unwrap_err();
    }

    #[test]
    fn stacked_pods_are_told_from_copied_ones() {
        let folder = Folder::new("stacked");
        let pod = folder.open();
        let stacked = |roots| pod.is_stacked(roots).unwrap();
        assert!(pod.apps().unwrap().is_empty() && !stacked(AppRoots::Layers));
        std::fs::create_dir_all(folder.0.join("appsinfo/a/rootfs")).unwrap();
        assert_eq!(pod.apps().unwrap(), ["a"]);
        assert!(!stacked(AppRoots::Layers));
        pod.write("appsinfo/a/layers", b"/low\n").unwrap();
        assert!(stacked(AppRoots::Layers) && !stacked(AppRoots::Erofs));
        std::fs::remove_file(folder.0.join("appsinfo/a/layers")).unwrap();
        pod.write(OVERLAY_PREPARED, b"").unwrap();
        assert!(stacked(AppRoots::Layers) && stacked(AppRoots::Erofs));
    }

    #[test]
    fn a_status_is_none_until_it_is_written() {
        let folder = Folder::new("empty");
        let pod = folder.open();
        pod.ensure_state().unwrap();
        for name in [PID, "rkt/status/a"] {
            pod.write(name, b"").unwrap();
        }
        assert_eq!((pod.pid().unwrap(), pod.status("a").unwrap()), (None, None));
    }

    #[test]
    fn layers_are_absolute_paths() {
        let folder = Folder::new("layers");
        std::fs::create_dir_all(folder.0.join("appsinfo/a")).unwrap();
        let pod = folder.open();
        assert_eq!(pod.app_layers("a").unwrap(), None);
        pod.write("appsinfo/a/layers", b"/low\n/a b,c:d\n").unwrap();
        assert_eq!(
            pod.app_layers("a").unwrap().unwrap(),
            [Path::new("/low"), Path::new("/a b,c:d")]
        );
        pod.write("appsinfo/a/layers", b"low\n").unwrap();
        pod.app_layers("a").unwrap_err();
    }
}

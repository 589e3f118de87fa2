//! A kernel of our own: Debian's source, our options, the same bytes wherever it is built with the same tools.

use super::package::{self, Package};
use super::shelf::{Shelf, key};
use super::{elf, options, returns, source};
use crate::error::{At, TaskError};
use crate::say;
use crate::setup::{self, Need};
use crate::workspace::{Workspace, call, read};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

const OPTIONS: &str = "images/kernel/linux-6.12.config";
const SOURCE: &str = "linux-source-6.12";
/// To be raised when something below changes what is built.
const RECIPE: &str = "2";

const NEEDS: [Need; 12] = [
    Need { what: "apt-get", package: "apt" },
    Need { what: "gcc", package: "gcc" },
    Need { what: "/usr/include/stdio.h", package: "libc6-dev" },
    Need { what: "ld", package: "binutils" },
    Need { what: "make", package: "make" },
    Need { what: "flex", package: "flex" },
    Need { what: "bison", package: "bison" },
    Need { what: "bc", package: "bc" },
    Need { what: "perl", package: "perl" },
    Need { what: "xz", package: "xz-utils" },
    // The kernel's objtool, which retpolines and static branches need, reads object files with it.
    Need { what: "/usr/include/libelf.h", package: "libelf-dev" },
    Need { what: "gzip", package: "gzip" },
];

/// Half of the source's files are of no use: texts, other processors, and devices that no virtual machine has. Their
/// lists of options remain, since those are read whether they apply or not.
const TEXTS: [&str; 4] = ["*.rst", "*.yaml", "*.dts", "*.dtsi"];
/// Folders whose code goes as well.
const UNUSED: [&str; 25] = [
    "arch/alpha",
    "arch/arc",
    "arch/arm",
    "arch/arm64",
    "arch/csky",
    "arch/hexagon",
    "arch/loongarch",
    "arch/m68k",
    "arch/microblaze",
    "arch/mips",
    "arch/nios2",
    "arch/openrisc",
    "arch/parisc",
    "arch/powerpc",
    "arch/riscv",
    "arch/s390",
    "arch/sh",
    "arch/sparc",
    "arch/xtensa",
    "drivers/gpu",
    "drivers/media",
    "drivers/net/ethernet",
    "drivers/net/wireless",
    "drivers/staging",
    "tools/testing",
];

/// Builds it unless it is there; its folder.
pub(super) fn provide(workspace: &Workspace) -> Result<PathBuf, TaskError> {
    setup::install(&NEEDS, "building a kernel needs")?;
    let path = workspace.path(OPTIONS);
    let wanted = fs::read_to_string(&path).at("read", &path)?;
    let shelf = Shelf::of_user()?;
    let tools = tools()?;
    let name = |source: &Package| {
        key(&[
            ("recipe", RECIPE),
            ("version", &source.version),
            ("source", &source.sha256),
            ("edits", &source::edits()),
            ("options", &options::bare(&wanted)),
            ("tools", &tools),
        ])
    };
    if let Some(found) = shelf.find(&name(&Package::current(SOURCE)?)) {
        return Ok(found);
    }
    package::renew_lists();
    let source = Package::current(SOURCE)?;
    let name = name(&source);
    if let Some(found) = shelf.find(&name) {
        return Ok(found);
    }
    say::title(&format!("building {} {}: ten minutes of a processor", source.name, source.version));
    shelf.make(&name, |out, scratch| build(&source, &wanted, out, scratch))
}

/// The versions of what compiles and links.
fn tools() -> Result<String, TaskError> {
    let version = |program: &str| {
        let text = read(Command::new(program).arg("--version"))?;
        Ok::<_, TaskError>(text.lines().next().unwrap_or_default().to_owned())
    };
    Ok(format!("{}\n{}", version("gcc")?, version("ld")?))
}

fn build(source: &Package, wanted: &str, out: &Path, scratch: &Path) -> Result<(), TaskError> {
    let (unpacked, tree) = (scratch.join("package"), scratch.join("tree"));
    source.unpack(&unpacked)?;
    let archive = package::only(&unpacked.join("usr/src"), ".tar.xz")?;
    fs::create_dir_all(&tree).at("make", &tree)?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(&archive).arg("--strip-components=1").arg("-C").arg(&tree);
    tar.args(TEXTS.map(|names| format!("--exclude={names}")));
    call(tar.args(UNUSED.map(|folder| format!("--exclude=*/{folder}/*.[chS]"))))?;
    source::edit(&tree)?;
    let make = Make { tree: &tree, date: date(&archive)? };
    let config = configure(&make, wanted, scratch)?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    call(make.command("vmlinux").arg(format!("-j{jobs}")))?;
    let kernel = out.join("vmlinux");
    call(
        Command::new("strip").arg("--strip-all").arg("-o").arg(&kernel).arg(tree.join("vmlinux")),
    )?;
    let mut bytes = fs::read(&kernel).at("read", &kernel)?;
    let written = returns::put(&mut bytes).map_err(str::to_owned);
    if let Some(problem) = written.err().or_else(|| flaw(&bytes, scratch)) {
        return Err(TaskError::Output { program: "make vmlinux".to_owned(), problem });
    }
    fs::write(&kernel, &bytes).at("write", &kernel)?;
    let kept = out.join("config");
    fs::write(&kept, config).at("write", &kept)
}

/// Sets our options over none, and all of them; the result.
fn configure(make: &Make<'_>, wanted: &str, scratch: &Path) -> Result<String, TaskError> {
    let ours = scratch.join("options");
    fs::write(&ours, wanted).at("write", &ours)?;
    call(make.command("allnoconfig").env("KCONFIG_ALLCONFIG", &ours))?;
    let path = make.tree.join(".config");
    let got = fs::read_to_string(&path).at("read", &path)?;
    let found = options::lost(wanted, &got);
    if found.is_empty() {
        return Ok(got);
    }
    Err(TaskError::Broken {
        rule: "options of images/kernel/linux-6.12.config that did not take effect",
        found,
    })
}

/// What makes a built kernel useless, or different on each machine.
fn flaw(kernel: &[u8], scratch: &Path) -> Option<String> {
    if elf::pvh_entry(kernel).is_none() {
        return Some("the kernel has no PVH entry".to_owned());
    }
    let path = scratch.as_os_str().as_encoded_bytes();
    let named = kernel.windows(path.len()).any(|window| window == path);
    named.then(|| format!("the kernel names the folder it was built in, {}", scratch.display()))
}

/// When the source was packed, as the kernel is to say when it was built.
fn date(archive: &Path) -> Result<String, TaskError> {
    let time = fs::metadata(archive).and_then(|metadata| metadata.modified());
    let time = time.at("read", archive)?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut date = Command::new("date");
    date.args(["-u", "-d", &format!("@{}", time.as_secs())]).env("LC_ALL", "C");
    Ok(read(&mut date)?.trim_end().to_owned())
}

/// The kernel's makefiles, called with nothing of our surroundings.
struct Make<'a> {
    tree: &'a Path,
    date: String,
}

impl Make<'_> {
    fn command(&self, target: &str) -> Command {
        let mut make = Command::new("make");
        make.args([target, "-s"]).current_dir(self.tree).env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            make.env("PATH", path);
        }
        make.envs([("LC_ALL", "C"), ("TZ", "UTC")]);
        // Who built it, where, how often and when: part of what it says of itself.
        make.envs([("KBUILD_BUILD_USER", "rkt"), ("KBUILD_BUILD_HOST", "rkt")]);
        make.envs([("KBUILD_BUILD_VERSION", "1"), ("KBUILD_BUILD_TIMESTAMP", &self.date)]);
        // Set, if to nothing: else the state of the repository around it is asked for.
        make.env("LOCALVERSION", "");
        make
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_the_entry_is_useless() {
        let problem = flaw(b"\x7fELF", Path::new("/build")).unwrap();
        assert!(problem.contains("PVH"), "{problem}");
    }

    #[test]
    fn tools_have_two_versions() {
        assert_eq!(tools().unwrap().lines().filter(|line| line.contains('.')).count(), 2);
    }
}

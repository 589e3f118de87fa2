//! Images made on the spot: busybox of the host, and what the test adds.

use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

/// One member of the tree, and what it is.
#[derive(Debug, Clone)]
pub(crate) enum Member {
    Folder(u32),
    File(Vec<u8>, u32),
    Link(String),
}

/// An entry of the tree: its path without a leading slash, its owner.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) member: Member,
    pub(crate) owner: (u64, u64),
}

/// An image under construction.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// Its manifest.
    pub manifest: Value,
    pub(crate) entries: Vec<Entry>,
}

/// The name that appc has for this machine.
pub fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        other => other,
    }
}

impl Image {
    /// An image `example.com/NAME:1.0` without files and without an app section.
    pub fn empty(name: &str) -> Self {
        let name = format!("example.com/{name}");
        let manifest = json!({
            "acKind": "ImageManifest", "acVersion": "0.8.11", "name": name,
            "labels": [
                { "name": "version", "value": "1.0" },
                { "name": "arch", "value": arch() },
                { "name": "os", "value": "linux" },
            ],
        });
        Self { name, manifest, entries: Vec::new() }
    }

    /// The tree of busybox with users root (0:0), web (33:34) and a few folders; its app prints `hello`.
    pub fn busybox(name: &str) -> Self {
        let mut image = Self::empty(name);
        for folder in ["bin", "etc", "dev", "proc", "sys", "root", "data"] {
            image = image.folder(folder, 0o755);
        }
        image = image.folder("tmp", 0o1777).program("bin/busybox", busybox());
        for applet in applets() {
            image = image.link(&format!("bin/{applet}"), "busybox");
        }
        image
            .file("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:/bin/sh\n")
            .file("etc/group", "root:x:0:\nweb:x:34:\nmore:x:77:\n")
            .exec(&["/bin/echo", "hello"])
    }

    /// Busybox, with arguments that are a shell script.
    pub fn shell(name: &str) -> Self {
        Self::busybox(name).exec(&["/bin/sh", "-c"])
    }

    /// Puts a whole app section of root that executes this.
    #[must_use]
    pub fn exec(mut self, words: &[&str]) -> Self {
        self.manifest["app"] = json!({ "exec": words, "user": "0", "group": "0" });
        self
    }

    /// Sets a member of the app section.
    #[must_use]
    pub fn app(mut self, key: &str, value: Value) -> Self {
        self.manifest["app"][key] = value;
        self
    }

    /// Takes the app section away.
    #[must_use]
    pub fn without_app(mut self) -> Self {
        self.manifest.as_object_mut().unwrap().remove("app");
        self
    }

    /// Sets a member of the manifest.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.manifest[key] = value;
        self
    }

    /// Sets a label, or with `None` takes it away.
    #[must_use]
    pub fn label(mut self, name: &str, value: Option<&str>) -> Self {
        let labels = self.manifest["labels"].as_array_mut().unwrap();
        labels.retain(|label| label["name"] != name);
        if let Some(value) = value {
            labels.push(json!({ "name": name, "value": value }));
        }
        self
    }

    /// Adds a folder.
    #[must_use]
    pub fn folder(self, path: &str, mode: u32) -> Self {
        self.entry(path, Member::Folder(mode))
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, path: &str, content: &str) -> Self {
        self.entry(path, Member::File(content.into(), 0o644))
    }

    /// Adds a program.
    #[must_use]
    pub fn program(self, path: &str, content: &[u8]) -> Self {
        self.entry(path, Member::File(content.into(), 0o755))
    }

    /// Adds a program of this host at its own path, with the libraries that it is linked with.
    #[must_use]
    pub fn with_program(mut self, path: &str) -> Self {
        let listed = crate::program::tool(&["ldd", path]);
        let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
        for file in std::iter::once(path).chain(libraries) {
            let name = file.trim_start_matches('/');
            if self.entries.iter().any(|entry| entry.path == name) {
                continue;
            }
            let folders: Vec<&Path> = Path::new(file).ancestors().skip(1).collect();
            for folder in folders.into_iter().rev().filter_map(|f| f.strip_prefix("/").ok()) {
                let folder = folder.to_str().unwrap();
                let known = self.entries.iter().any(|entry| entry.path == folder);
                if !folder.is_empty() && !known {
                    self = self.folder(folder, 0o755);
                }
            }
            let bytes = fs::read(file).expect("what is linked is there");
            self = self.program(name, &bytes);
        }
        self
    }

    /// Adds a file with this mode.
    #[must_use]
    pub fn file_of_mode(self, path: &str, content: &[u8], mode: u32) -> Self {
        self.entry(path, Member::File(content.into(), mode))
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn link(self, path: &str, to: &str) -> Self {
        self.entry(path, Member::Link(to.to_owned()))
    }

    /// Gives the entry that was added last to somebody.
    #[must_use]
    pub fn owned_by(mut self, user: u64, group: u64) -> Self {
        self.entries.last_mut().unwrap().owner = (user, group);
        self
    }

    fn entry(mut self, path: &str, member: Member) -> Self {
        self.entries.push(Entry { path: path.to_owned(), member, owner: (0, 0) });
        self
    }

    /// The bytes of the archive, uncompressed.
    pub fn bytes(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let manifest = self.manifest.to_string();
        append(&mut tar, "manifest", &Member::File(manifest.into(), 0o644), (0, 0));
        append(&mut tar, "rootfs", &Member::Folder(0o755), (0, 0));
        for entry in &self.entries {
            append(&mut tar, &format!("rootfs/{}", entry.path), &entry.member, entry.owner);
        }
        tar.into_inner().unwrap()
    }

    /// Writes the archive.
    pub fn write(&self, path: &Path) {
        fs::File::create(path).unwrap().write_all(&self.bytes()).unwrap();
    }

    /// The id that the image has: the first half of the SHA-512 of its uncompressed archive.
    pub fn id(&self) -> String {
        let hash = Sha512::digest(self.bytes());
        let hex: Vec<String> = hash[..32].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha512-{}", hex.concat())
    }
}

pub(crate) fn append(
    tar: &mut tar::Builder<Vec<u8>>,
    path: &str,
    member: &Member,
    owner: (u64, u64),
) {
    let mut header = tar::Header::new_gnu();
    header.set_uid(owner.0);
    header.set_gid(owner.1);
    header.set_mtime(1_000_000_000);
    match member {
        Member::Folder(mode) => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(*mode);
            header.set_size(0);
            tar.append_data(&mut header, format!("{path}/"), &[][..]).unwrap();
        }
        Member::File(content, mode) => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(*mode);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, content.as_slice()).unwrap();
        }
        Member::Link(to) => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            tar.append_link(&mut header, path, to).unwrap();
        }
    }
}

fn busybox() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| fs::read("/bin/busybox").expect("busybox-static is installed"))
}

fn applets() -> impl Iterator<Item = &'static str> {
    static NAMES: OnceLock<String> = OnceLock::new();
    let names = NAMES.get_or_init(|| crate::program::tool(&["/bin/busybox", "--list"]));
    names.lines().filter(|name| *name != "busybox")
}

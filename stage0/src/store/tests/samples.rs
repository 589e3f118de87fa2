//! Images to import, and places to import them to.

use crate::render::{Content, Extent, extract};
use crate::store::{AciOrigin, BlobSource, OciImage, SourceError, Store};
use appc::{AcIdentifier, ImageId, ImageManifest, Label};
use oci::{Descriptor, Digest};
use std::collections::BTreeMap;
use std::io::{Read, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A data directory that goes away with the test.
pub(crate) struct Place(pub(crate) PathBuf, bool);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rkt-store-{name}-{}", std::process::id()));
        Self(path, false)
    }

    /// A place of its own with little space.
    pub(crate) fn small(name: &str) -> Self {
        let place = Self::new(name);
        std::fs::create_dir_all(&place.0).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", &place.0, "tmpfs", flags, Some(c"size=4m,mode=0700"))
            .unwrap();
        Self(place.0.clone(), true)
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(&self.0).unwrap()
    }

    /// Takes all space that is left.
    pub(crate) fn fill(&self) {
        for chunk in [1 << 16, 4096, 1] {
            let mut file =
                std::fs::File::options().create(true).append(true).open(self.0.join("ballast"));
            let file = file.as_mut().unwrap();
            while file.write_all(&vec![0; chunk]).is_ok() {}
        }
    }

    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join(folder)).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.1 {
            let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
        }
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// An id that no test has.
pub(crate) fn absent() -> ImageId {
    ImageId::parse(&format!("sha512-{}", "0".repeat(64))).unwrap()
}

pub(crate) fn manifest(name: &str, version: &str) -> ImageManifest {
    let mut manifest = ImageManifest::new(AcIdentifier::parse(name).unwrap());
    manifest.labels = [("version", version), ("os", "linux"), ("arch", "amd64")]
        .map(|(name, value)| Label {
            name: AcIdentifier::parse(name).unwrap(),
            value: value.to_owned(),
        })
        .to_vec();
    manifest
}

/// An ACI with these files, uncompressed.
pub(crate) fn aci_bytes(manifest: &ImageManifest, files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer =
        archive::write::AciWriter::new(Vec::new(), manifest.to_json().as_bytes()).unwrap();
    for (path, content) in files {
        writer.file(&format!("rootfs/{path}"), 0o644, content.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

pub(crate) fn import(store: &Store, bytes: &[u8]) -> ImageId {
    let origin = AciOrigin { source: "test".to_owned() };
    store.import_aci(bytes, &origin).unwrap()
}

/// Imports an ACI with one file.
pub(crate) fn aci(store: &Store, name: &str, version: &str, content: &str) -> ImageId {
    import(store, &aci_bytes(&manifest(name, version), &[("file", content)]))
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A layer: a path ending in `/` is a folder 0711 of 5:6, one with ` -> ` a symbolic link, one with ` => ` a hard link,
/// anything else a file.
pub(crate) fn layer(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(1_600_000_000);
        header.set_mode(0o644);
        if let Some((path, target)) = path.split_once(" -> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, path, target).unwrap();
        } else if let Some((path, target)) = path.split_once(" => ") {
            header.set_entry_type(tar::EntryType::Link);
            header.set_size(0);
            builder.append_link(&mut header, path, target).unwrap();
        } else if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o711);
            header.set_uid(5);
            header.set_gid(6);
            header.set_size(0);
            builder.append_data(&mut header, path, &[][..]).unwrap();
        } else {
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, *content).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

/// An OCI image that counts how often each of its blobs is opened.
pub(crate) struct Oci {
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    pub(crate) opened: Mutex<Vec<String>>,
    pub(crate) manifest: Vec<u8>,
    /// Digests of the layers' blobs.
    pub(crate) layers: Vec<String>,
}

impl Oci {
    pub(crate) fn new(layers: &[&[(&str, &[u8])]]) -> Self {
        Self::of(&layers.iter().map(|files| layer(files)).collect::<Vec<_>>())
    }

    pub(crate) fn of(tars: &[Vec<u8>]) -> Self {
        let digests: Vec<String> = tars.iter().map(|tar| Digest::of(tar).to_string()).collect();
        Self::claiming(tars, &digests)
    }

    /// An image whose configuration says this of its layers.
    pub(crate) fn claiming(tars: &[Vec<u8>], diff_ids: &[String]) -> Self {
        let mut blobs = BTreeMap::new();
        let mut add = |bytes: Vec<u8>| {
            let digest = Digest::of(&bytes).to_string();
            let size = bytes.len();
            blobs.insert(digest.clone(), bytes);
            (digest, size)
        };
        let diff_ids: Vec<String> = diff_ids.iter().map(|id| format!("{id:?}")).collect();
        let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
        let mut digests = Vec::new();
        let mut described = Vec::new();
        for tar in tars {
            let (digest, size) = add(gzip(tar));
            described.push(format!(
                "{{\"mediaType\":\"{kind}\",\"digest\":\"{digest}\",\"size\":{size}}}"
            ));
            digests.push(digest);
        }
        let config = format!(
            "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{{\"Cmd\":[\"/x\"]}},\
             \"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[{}]}}}}",
            diff_ids.join(",")
        );
        let (config, size) = add(config.into_bytes());
        let manifest = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\
             \"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\
             \"digest\":\"{config}\",\"size\":{size}}},\"layers\":[{}]}}",
            described.join(",")
        );
        Self { blobs, opened: Mutex::default(), manifest: manifest.into_bytes(), layers: digests }
    }

    pub(crate) fn image(&self, registry: &str, repository: &str, tag: &str) -> OciImage {
        OciImage {
            manifest: self.manifest.clone(),
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: Some(tag.to_owned()),
            original: Some(format!("docker://{registry}/{repository}:{tag}")),
        }
    }

    /// The blobs opened since the last call, without the configuration.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.opened.lock().unwrap());
        asked.retain(|digest| self.layers.contains(digest));
        asked.sort();
        asked
    }
}

impl BlobSource for Oci {
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, SourceError> {
        let digest = blob.digest.to_string();
        let bytes = self.blobs.get(&digest).ok_or("no such blob")?.clone();
        self.opened.lock().unwrap().push(digest);
        Ok(Box::new(std::io::Cursor::new(bytes)))
    }
}

/// A folder beside a store, with everything an image shows.
pub(crate) fn flat(place: &Place, store: &Store, id: &ImageId) -> PathBuf {
    let folder = place.0.join(format!("flat-{id}"));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir(&folder).unwrap();
    let opened = std::fs::File::open(&folder).unwrap();
    let (own, files) = (Extent::Alone, Content::Rootfs);
    extract(store, id, own, std::os::fd::AsFd::as_fd(&opened), files).unwrap();
    folder
}

/// What lies below a folder: path, mode, owner, links and content or target of each.
pub(crate) fn listing(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let entry = entry.unwrap();
            let (path, stat) = (entry.path(), entry.metadata().unwrap());
            let content = if stat.is_dir() {
                todo.push(path.clone());
                String::new()
            } else if stat.is_symlink() {
                std::fs::read_link(&path).unwrap().display().to_string()
            } else {
                format!("x{} {:?}", stat.nlink(), std::fs::read_to_string(&path).unwrap())
            };
            let name = path.strip_prefix(folder).unwrap().display();
            let (mode, uid, gid) = (stat.mode() & 0o7777, stat.uid(), stat.gid());
            all.push(format!("{name} {mode:o} {uid}:{gid} {content}").trim_end().to_owned());
        }
    }
    all.sort();
    all
}

/// All that a store has for good, by name: nothing of it may be there after a failed import.
pub(crate) fn kept(place: &Place) -> Vec<String> {
    let folders = ["image", "blob", "name", "digest", "layer", "tree", "ready", "tmp", "staging"];
    let names = |folder: &&str| {
        let folder = (*folder).to_owned();
        place.names(&format!("cas/{folder}")).into_iter().map(move |n| format!("{folder}/{n}"))
    };
    folders.iter().flat_map(names).collect()
}

//! Volumes: folders and files that live beside the apps' roots.

use crate::image::object;
use crate::json::Json;
use crate::name::AcName;
use crate::read::{self, ManifestError, bad};

/// Where a volume's content comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeKind {
    /// A path of the host.
    Host {
        /// Absolute.
        source: String,
    },
    /// A fresh folder, shared by the pod's apps, gone with the pod.
    Empty {
        /// Its mode, octal digits.
        mode: String,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name in the pod.
    pub name: AcName,
    /// Where its content comes from.
    pub kind: VolumeKind,
    /// Whether apps may not write; if unsaid, each mount point says so itself.
    pub read_only: Option<bool>,
    /// Whether mounts below the source come along; if unsaid, the flavour decides.
    pub recursive: Option<bool>,
}

/// A `--volume` value that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadVolume {
    /// The name is none.
    #[error(transparent)]
    Name(#[from] crate::name::BadName),
    /// `kind` is missing or another word.
    #[error("unrecognized volume kind: should be one of \"empty\", \"host\"")]
    Kind,
    /// A key nobody knows.
    #[error("unknown volume parameter {0:?}")]
    Unknown(String),
    /// A key given twice.
    #[error("duplicated volume parameter {0:?}")]
    Twice(String),
    /// A word that is not `key=value`.
    #[error("{0:?} must be given as key=value")]
    Shape(String),
    /// A host volume without a source.
    #[error("source for host volume cannot be empty")]
    NoSource,
    /// A relative source.
    #[error("source for host volume must be absolute path")]
    Relative,
    /// A key of the other kind.
    #[error("{key} cannot be given for {kind} volumes")]
    Foreign {
        /// The key.
        key: &'static str,
        /// The kind.
        kind: &'static str,
    },
    /// A value that makes no sense.
    #[error("bad value {value:?} for volume parameter {key}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
    },
}

const MODE: &str = "0755";

/// Booleans as Go's flag parser takes them.
pub(crate) fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn is_mode(text: &str) -> bool {
    (1..=5).contains(&text.len()) && u32::from_str_radix(text, 8).is_ok_and(|mode| mode <= 0o7777)
}

/// The parameters of a `--volume` as they were typed.
#[derive(Default)]
struct Typed<'a> {
    kind: Option<&'a str>,
    source: Option<&'a str>,
    read_only: Option<&'a str>,
    recursive: Option<&'a str>,
    mode: Option<&'a str>,
    uid: Option<&'a str>,
    gid: Option<&'a str>,
}

impl Volume {
    /// Reads `NAME,kind=host,source=/PATH[,readOnly=B][,recursive=B]` or
    /// `NAME,kind=empty[,readOnly=B][,mode=M][,uid=N][,gid=N]`.
    ///
    /// # Errors
    /// See [`BadVolume`].
    pub fn parse_flag(text: &str) -> Result<Self, BadVolume> {
        let mut words = text.split(',');
        let name = AcName::parse(words.next().unwrap_or_default())?;
        let mut typed = Typed::default();
        for word in words {
            let (key, value) =
                word.split_once('=').ok_or_else(|| BadVolume::Shape(word.to_owned()))?;
            let slot = match key {
                "kind" => &mut typed.kind,
                "source" => &mut typed.source,
                "readOnly" => &mut typed.read_only,
                "recursive" => &mut typed.recursive,
                "mode" => &mut typed.mode,
                "uid" => &mut typed.uid,
                "gid" => &mut typed.gid,
                _ => return Err(BadVolume::Unknown(key.to_owned())),
            };
            if slot.replace(value).is_some() {
                return Err(BadVolume::Twice(key.to_owned()));
            }
        }
        Self::typed(name, &typed)
    }

    fn typed(name: AcName, typed: &Typed<'_>) -> Result<Self, BadVolume> {
        let boolean = |key, value: Option<&str>| match value {
            None => Ok(None),
            Some(text) => go_bool(text)
                .map(Some)
                .ok_or_else(|| BadVolume::Value { key, value: text.to_owned() }),
        };
        let id = |key, value: Option<&str>| match value {
            None => Ok(0),
            // The last number means "leave as it is" to the kernel.
            Some(text) => match text.parse::<u32>() {
                Ok(id) if id < u32::MAX => Ok(id),
                _ => Err(BadVolume::Value { key, value: text.to_owned() }),
            },
        };
        let kind = match typed.kind {
            Some("host") => {
                for (key, value) in [("mode", typed.mode), ("uid", typed.uid), ("gid", typed.gid)] {
                    if value.is_some() {
                        return Err(BadVolume::Foreign { key, kind: "host" });
                    }
                }
                match typed.source {
                    None | Some("") => return Err(BadVolume::NoSource),
                    Some(path) if !path.starts_with('/') => return Err(BadVolume::Relative),
                    Some(path) => VolumeKind::Host { source: path.to_owned() },
                }
            }
            Some("empty") => {
                for (key, value) in [("source", typed.source), ("recursive", typed.recursive)] {
                    if value.is_some() {
                        return Err(BadVolume::Foreign { key, kind: "empty" });
                    }
                }
                let mode = typed.mode.unwrap_or(MODE);
                if !is_mode(mode) {
                    return Err(BadVolume::Value { key: "mode", value: mode.to_owned() });
                }
                VolumeKind::Empty {
                    mode: mode.to_owned(),
                    uid: id("uid", typed.uid)?,
                    gid: id("gid", typed.gid)?,
                }
            }
            _ => return Err(BadVolume::Kind),
        };
        let read_only = boolean("readOnly", typed.read_only)?;
        Ok(Self { name, kind, read_only, recursive: boolean("recursive", typed.recursive)? })
    }

    /// The empty volume that stands in for one that nobody named.
    pub fn empty(name: AcName) -> Self {
        let kind = VolumeKind::Empty { mode: MODE.to_owned(), uid: 0, gid: 0 };
        Self { name, kind, read_only: None, recursive: None }
    }

    /// The mode of an empty volume as a number.
    pub fn mode_bits(&self) -> Option<u32> {
        match &self.kind {
            VolumeKind::Empty { mode, .. } => u32::from_str_radix(mode, 8).ok(),
            VolumeKind::Host { .. } => None,
        }
    }

    pub(crate) fn read(json: &Json) -> Result<Self, ManifestError> {
        read::object(json, "volume")?;
        let name = read::ac_name(json, "name")?;
        let absent = |keys: &[&str], kind: &str| match keys
            .iter()
            .find(|key| json.get(key).is_some())
        {
            Some(key) => Err(bad("volumes", format!("{key} cannot be given for {kind} volumes"))),
            None => Ok(()),
        };
        let id = |key: &str| {
            let number = read::number(json, key)?.unwrap_or(0);
            u32::try_from(number)
                .ok()
                .filter(|id| *id < u32::MAX)
                .ok_or_else(|| bad(key, "is not an id"))
        };
        let kind = match read::text(json, "kind")? {
            Some("host") => {
                absent(&["mode", "uid", "gid"], "host")?;
                let source = read::owned(json, "source")?;
                if !source.starts_with('/') || source.contains('\0') {
                    return Err(bad("volumes", "source of a host volume must be an absolute path"));
                }
                VolumeKind::Host { source }
            }
            Some("empty") => {
                absent(&["source"], "empty")?;
                let mode = read::text(json, "mode")?.filter(|m| !m.is_empty()).unwrap_or(MODE);
                if !is_mode(mode) {
                    return Err(bad("mode", format!("{mode:?} is not an octal mode")));
                }
                VolumeKind::Empty { mode: mode.to_owned(), uid: id("uid")?, gid: id("gid")? }
            }
            _ => return Err(bad("volumes", "kind must be \"empty\" or \"host\"")),
        };
        Ok(Self {
            name,
            kind,
            read_only: read::flag(json, "readOnly")?,
            recursive: read::flag(json, "recursive")?,
        })
    }

    pub(crate) fn write(&self) -> Json {
        let mut members = vec![("name", Json::from(self.name.as_str()))];
        let mut owner = Vec::new();
        match &self.kind {
            VolumeKind::Host { source } => {
                members.push(("kind", "host".into()));
                members.push(("source", source.as_str().into()));
            }
            VolumeKind::Empty { mode, uid, gid } => {
                members.push(("kind", "empty".into()));
                owner.push(("mode", Json::from(mode.as_str())));
                owner.push(("uid", u64::from(*uid).into()));
                owner.push(("gid", u64::from(*gid).into()));
            }
        }
        members.extend(self.read_only.map(|on| ("readOnly", on.into())));
        members.extend(self.recursive.map(|on| ("recursive", on.into())));
        members.extend(owner);
        object(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_read() {
        let volume =
            Volume::parse_flag("d,kind=host,source=/a,readOnly=false,recursive=true").unwrap();
        assert_eq!(volume.kind, VolumeKind::Host { source: "/a".into() });
        assert_eq!((volume.read_only, volume.recursive), (Some(false), Some(true)));
        let volume = Volume::parse_flag("d,kind=empty,mode=0700,uid=5,gid=6").unwrap();
        assert_eq!(volume.kind, VolumeKind::Empty { mode: "0700".into(), uid: 5, gid: 6 });
        assert_eq!(volume.mode_bits(), Some(0o700));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("foo", "unrecognized volume kind: should be one of \"empty\", \"host\""),
            ("a,kind=x", "unrecognized volume kind: should be one of \"empty\", \"host\""),
            ("a,kind=host", "source for host volume cannot be empty"),
            ("a,kind=host,source=b", "source for host volume must be absolute path"),
            ("a,kind=host,source=/b,bogus=1", "unknown volume parameter \"bogus\""),
            ("a,kind=host,kind=host,source=/b", "duplicated volume parameter \"kind\""),
            ("a,kind=host,source=/b,mode=0755", "mode cannot be given for host volumes"),
            ("a,kind=empty,source=/b", "source cannot be given for empty volumes"),
            ("a,kind=empty,uid=4294967295", "bad value \"4294967295\" for volume parameter uid"),
            ("a,kind=empty,mode=9", "bad value \"9\" for volume parameter mode"),
            (
                "a,kind=host,source=/b,readOnly=maybe",
                "bad value \"maybe\" for volume parameter readOnly",
            ),
        ] {
            assert_eq!(Volume::parse_flag(text).unwrap_err().to_string(), words, "{text}");
        }
    }
}

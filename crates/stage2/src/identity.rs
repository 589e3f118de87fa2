//! Who an app runs as: the forms of user and group, looked up in the image's own files.

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::BorrowedFd;
use sys::beneath;

/// No passwd or group file is read beyond this.
const FILE_LIMIT: u64 = 1 << 20;
/// The highest id: the one above means "leave it" to the kernel.
const HIGHEST: u32 = u32::MAX - 1;

/// Ids of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

/// What was asked for, as text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// A number, a name, or an absolute path whose owner is meant.
    pub user: String,
    /// The same for the group.
    pub group: String,
    /// Further groups, by number.
    pub supplementary: Vec<u32>,
    /// What is done where the group text says nothing of its own.
    pub rule: GroupRule,
}

/// How the group follows from the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupRule {
    /// The group is looked up by itself.
    #[default]
    Own,
    /// The image named no group: it is the user's primary one, and the groups that list the user are added.
    OfUser,
}

/// A user or group that cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No such user in the image.
    #[error("{0:?} user not found")]
    User(String),
    /// No such group in the image.
    #[error("{0:?} group not found")]
    Group(String),
    /// A file that would tell cannot be used.
    #[error("cannot read {path} of the image")]
    File {
        /// The file, as the image sees it.
        path: String,
        /// Why not.
        source: io::Error,
    },
}

/// Resolves what was asked for below the app's root.
///
/// # Errors
/// See [`IdentityError`].
pub fn resolve(root: BorrowedFd<'_>, wanted: &Wanted) -> Result<Identity, IdentityError> {
    let user = user(root, &wanted.user)?;
    let mut groups = wanted.supplementary.clone();
    let gid = match wanted.rule {
        GroupRule::OfUser => {
            if let Some(name) = &user.name {
                groups.extend(memberships(root, name)?);
            }
            user.primary.unwrap_or(0)
        }
        GroupRule::Own => match group(root, &wanted.group) {
            // Images converted from docker name their user as group when they name none.
            Err(IdentityError::Group(_)) if wanted.group == wanted.user => {
                user.primary.unwrap_or(user.uid)
            }
            other => other?,
        },
    };
    Ok(Identity { uid: user.uid, gid, groups })
}

struct User {
    uid: u32,
    /// Its primary group, where the passwd file was asked.
    primary: Option<u32>,
    name: Option<String>,
}

fn user(root: BorrowedFd<'_>, text: &str) -> Result<User, IdentityError> {
    let not_found = || IdentityError::User(text.to_owned());
    match text {
        "" | "0" | "root" => {
            return Ok(User { uid: 0, primary: Some(0), name: Some("root".to_owned()) });
        }
        path if path.starts_with('/') => {
            let (uid, gid) = owner(root, path)?;
            return Ok(User { uid, primary: Some(gid), name: None });
        }
        _ => {}
    }
    let number = id(text);
    let passwd = lines(root, "/etc/passwd")?;
    let found = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let (name, uid, gid) = (*fields.first()?, id(fields.get(2)?)?, id(fields.get(3)?)?);
        let matches = number.map_or(name == text, |wanted| uid == wanted);
        matches.then(|| User { uid, primary: Some(gid), name: Some(name.to_owned()) })
    });
    match (found, number) {
        (Some(found), _) => Ok(found),
        (None, Some(uid)) => Ok(User { uid, primary: None, name: None }),
        (None, None) => Err(not_found()),
    }
}

fn group(root: BorrowedFd<'_>, text: &str) -> Result<u32, IdentityError> {
    match text {
        "" | "0" | "root" => return Ok(0),
        path if path.starts_with('/') => return Ok(owner(root, path)?.1),
        _ => {}
    }
    if let Some(number) = id(text) {
        return Ok(number);
    }
    let file = lines(root, "/etc/group")?;
    let found = file.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == text).then(|| id(fields.nth(1)?)).flatten()
    });
    found.ok_or_else(|| IdentityError::Group(text.to_owned()))
}

/// The groups whose member lists name the user.
fn memberships(root: BorrowedFd<'_>, name: &str) -> Result<Vec<u32>, IdentityError> {
    let file = lines(root, "/etc/group")?;
    let mut found: Vec<u32> = file
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let gid = id(fields.nth(2)?)?;
            fields.next()?.split(',').any(|member| member == name).then_some(gid)
        })
        .collect();
    // The kernel takes no more.
    found.truncate(65_536);
    Ok(found)
}

/// A decimal id; nothing that could wrap around or mean "leave it".
fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse::<u32>().ok().filter(|number| digits && *number <= HIGHEST)
}

fn owner(root: BorrowedFd<'_>, path: &str) -> Result<(u32, u32), IdentityError> {
    let failed = |source: io::Error| IdentityError::File { path: path.to_owned(), source };
    let fd = beneath::open(root, path, OFlags::PATH).map_err(failed)?;
    let found = rustix::fs::fstat(&fd).map_err(|e| failed(e.into()))?;
    Ok((found.st_uid, found.st_gid))
}

/// A small text file of the image; none is the same as an empty one.
fn lines(root: BorrowedFd<'_>, path: &str) -> Result<String, IdentityError> {
    match beneath::read(root, path, FILE_LIMIT) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(String::new())
        }
        Err(source) => Err(IdentityError::File { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nbroken\nweb:x:33:34::/:\nbig:x:4294967295:1::/:\n1000:x:5:6::/:\n";
    const GROUP: &str = "root:x:0:\nweb:x:35:\nadm:x:4:other,web\naudio:x:29:web\n";

    fn ask(user: &str, group: &str, rule: GroupRule) -> Result<Identity, IdentityError> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("stage2-identity-{}-{count}", std::process::id()));
        fs::create_dir_all(path.join("etc")).unwrap();
        fs::write(path.join("etc/passwd"), PASSWD).unwrap();
        fs::write(path.join("etc/group"), GROUP).unwrap();
        std::os::unix::fs::chown(path.join("etc/group"), Some(7), Some(8)).unwrap();
        let root = fs::File::open(&path).unwrap();
        let wanted =
            Wanted { user: user.into(), group: group.into(), supplementary: vec![1], rule };
        let found = resolve(root.as_fd(), &wanted);
        fs::remove_dir_all(&path).unwrap();
        found
    }

    #[test]
    fn every_form_is_understood() {
        for (user, group, rule, expected) in [
            ("0", "0", GroupRule::Own, Some((0, 0, vec![1]))),
            ("root", "root", GroupRule::Own, Some((0, 0, vec![1]))),
            ("9000", "9001", GroupRule::Own, Some((9000, 9001, vec![1]))),
            ("web", "web", GroupRule::Own, Some((33, 35, vec![1]))),
            ("web", "4", GroupRule::Own, Some((33, 4, vec![1]))),
            ("/etc/group", "/etc/group", GroupRule::Own, Some((7, 8, vec![1]))),
            ("web", "", GroupRule::OfUser, Some((33, 34, vec![1, 4, 29]))),
            ("33", "", GroupRule::OfUser, Some((33, 34, vec![1, 4, 29]))),
            ("9000", "", GroupRule::OfUser, Some((9000, 0, vec![1]))),
            ("1000", "0", GroupRule::Own, Some((1000, 0, vec![1]))),
            ("nobodyhere", "0", GroupRule::Own, None),
            ("0", "nobodyhere", GroupRule::Own, None),
            ("big", "0", GroupRule::Own, None),
            ("4294967295", "0", GroupRule::Own, None),
            ("4294967296", "0", GroupRule::Own, None),
            ("-1", "0", GroupRule::Own, None),
            ("+5", "0", GroupRule::Own, None),
            ("/missing", "0", GroupRule::Own, None),
        ] {
            let expected = expected.map(|(uid, gid, groups)| Identity { uid, gid, groups });
            assert_eq!(ask(user, group, rule).ok(), expected, "{user} {group}");
        }
    }

    #[test]
    fn a_group_named_like_its_user_falls_back_to_the_users() {
        let found = ask("9000x", "9000x", GroupRule::Own).unwrap_err();
        assert_eq!(found.to_string(), "\"9000x\" user not found");
        assert_eq!(ask("1000", "1000", GroupRule::Own).unwrap().gid, 1000);
    }
}

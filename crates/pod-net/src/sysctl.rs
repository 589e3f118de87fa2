//! Settings of the network namespace that the calling thread is in.

use sys::path::{At, PathError};

/// Gives a setting, by its path below `/proc/sys/net`, a value, if it has another.
///
/// # Errors
/// There is no such setting, or the kernel refuses the value.
pub(crate) fn set(name: &str, value: &str) -> Result<(), PathError> {
    let path = path_of(name);
    let now = std::fs::read_to_string(&path).at("read", &path)?;
    if now.trim() == value {
        return Ok(());
    }
    std::fs::write(&path, value).at("write", &path)
}

/// The same where the kernel may lack what the setting is for.
///
/// # Errors
/// The kernel refuses the value.
pub(crate) fn set_where_there(name: &str, value: &str) -> Result<(), PathError> {
    match get(name) {
        Some(now) if now == value => Ok(()),
        Some(_) => {
            let path = path_of(name);
            std::fs::write(&path, value).at("write", &path)
        }
        None => Ok(()),
    }
}

/// What a setting is; `None` if there is none.
pub(crate) fn get(name: &str) -> Option<String> {
    Some(std::fs::read_to_string(path_of(name)).ok()?.trim().to_owned())
}

fn path_of(name: &str) -> String {
    format!("/proc/sys/net/{name}")
}

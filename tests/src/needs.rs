//! What a test needs of the host. A skip is printed, and counted in the file that `RKT_TEST_SKIPS` names.

use std::io::Write;

/// Something that not every host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// User id 0.
    Root,
    /// The overlay file system.
    Overlay,
}

impl Need {
    /// Whether this host has it.
    pub fn is_met(self) -> bool {
        match self {
            Self::Root => rustix::process::geteuid().is_root(),
            Self::Overlay => std::fs::read_to_string("/proc/filesystems")
                .is_ok_and(|text| text.contains("\toverlay\n")),
        }
    }
}

/// Whether all needs are met; if not, the skip is printed and counted.
pub fn met(test: &str, needs: &[Need]) -> bool {
    let Some(missing) = needs.iter().find(|need| !need.is_met()) else { return true };
    println!("SKIP {test}: needs {missing:?}");
    if let Some(path) = std::env::var_os("RKT_TEST_SKIPS") {
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        writeln!(file, "{test}: {missing:?}").unwrap();
    }
    false
}

/// Returns from the test unless the host has all of this: `needs!(Root, Overlay);`.
#[macro_export]
macro_rules! needs {
    ($($need:ident),+) => {
        let name = std::thread::current().name().unwrap_or("test").to_owned();
        if !$crate::needs::met(&name, &[$($crate::needs::Need::$need),+]) {
            return;
        }
    };
}

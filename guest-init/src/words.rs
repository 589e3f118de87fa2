//! What the command line says.

use crate::error::InitError;
use std::path::PathBuf;

/// Where partitions are, unless something else is said.
const DISK: &str = "/dev/vda";

/// Whom to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// The host of the machine, at this port.
    Port(u32),
    /// A socket on a machine that is not ours.
    Unix(PathBuf),
}

/// The words that concern us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// Whom to call.
    pub host: Host,
    /// What the names of partitions begin with.
    pub disk: String,
}

impl Words {
    /// Reads a command line. Words of others are passed over; of one given twice, the last counts.
    ///
    /// # Errors
    /// It does not say whom to call.
    pub fn parse(line: &str) -> Result<Self, InitError> {
        let (mut host, mut disk) = (None, DISK.to_owned());
        for word in line.split_ascii_whitespace() {
            match word.split_once('=') {
                Some(("rkt.port", value)) => {
                    host = Some(Host::Port(value.parse().map_err(|_| InitError::NoHost)?));
                }
                Some(("rkt.unix", value)) => host = Some(Host::Unix(value.into())),
                Some(("rkt.disk", value)) => value.clone_into(&mut disk),
                _ => {}
            }
        }
        Ok(Self { host: host.ok_or(InitError::NoHost)?, disk })
    }

    /// Whether the kernel is ours: then we load its modules, set its clock and end it.
    pub fn own_kernel(&self) -> bool {
        matches!(self.host, Host::Port(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_whom_to_call() {
        let words = Words::parse("quiet rkt.port=7 root=x reboot=t\n").unwrap();
        assert_eq!(words, Words { host: Host::Port(7), disk: DISK.to_owned() });
        assert!(words.own_kernel());
        let words = Words::parse("rkt.port=7 rkt.unix=/s rkt.disk=/x/p").unwrap();
        assert_eq!(words, Words { host: Host::Unix("/s".into()), disk: "/x/p".to_owned() });
        assert!(!words.own_kernel());
        for bad in ["", "rkt.port", "rkt.port=", "rkt.port=-1", "rkt.port=4294967296"] {
            Words::parse(bad).unwrap_err();
        }
    }
}

//! How large a machine is: what its apps may use, and what is beside them.

use sys::cgroup::Limits;

const MIB: u64 = 1 << 20;
/// The least memory of a machine, in bytes.
const LEAST: u64 = 512 * MIB;
/// What the guest's kernel and init have beside the apps' limits, in bytes.
const BESIDE: u64 = 128 * MIB;
/// The most processors a machine is made with.
const MOST: u64 = 255;

/// Memory and processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Bytes.
    pub memory: u64,
    /// How many.
    pub processors: u8,
}

impl Size {
    /// The machine of apps with these limits, on a host with so many processors: the sum of what they may use, so that
    /// the kernel and init never live on an app's share.
    pub fn of(limits: &[Limits], host: usize) -> Self {
        let sum = |part: fn(&Limits) -> Option<u64>| {
            limits.iter().filter_map(part).fold(0_u64, u64::saturating_add)
        };
        let memory = sum(|l| l.memory).saturating_add(BESIDE).max(LEAST);
        let host = u64::try_from(host).unwrap_or(MOST).clamp(1, MOST);
        let processors = match sum(|l| l.cpu_milli) {
            0 => host,
            milli => milli.div_ceil(1000).min(host),
        };
        Self { memory, processors: u8::try_from(processors).unwrap_or(u8::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_holds_its_apps_and_what_is_beside_them() {
        let app = |memory: Option<u64>, cpu_milli| Limits {
            memory: memory.map(|mib| mib * MIB),
            cpu_milli,
            ..Limits::default()
        };
        for (apps, memory, processors) in [
            (vec![], 512, 4),
            (vec![app(None, None)], 512, 4),
            (vec![app(Some(100), Some(500))], 512, 1),
            (vec![app(Some(384), Some(1000)), app(None, Some(1))], 512, 2),
            (vec![app(Some(385), Some(64_000))], 513, 4),
            (vec![app(Some(1000), None), app(Some(1000), Some(1500))], 2128, 2),
        ] {
            let limits: Vec<Limits> = apps;
            let expected = Size { memory: memory * MIB, processors };
            assert_eq!(Size::of(&limits, 4), expected, "{limits:?}");
        }
        assert_eq!(Size::of(&[], 1000).processors, 255);
        assert_eq!(Size::of(&[app(Some(u64::MAX / MIB), None)], 0).processors, 1);
    }
}

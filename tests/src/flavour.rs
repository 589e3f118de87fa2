//! The stage1s and what each can do: one test runs over all that have what it needs.

/// Something that a flavour may or may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Can {
    /// Run more than one app in a pod.
    SeveralApps,
    /// Give the pod a hostname, process, IPC and network namespaces of its own.
    Namespaces,
    /// Join networks, and have ports of the host lead to a pod.
    Networks,
    /// Have the pod's addresses and routes in the network namespace that the host sees. Those of a machine are its guest's: the
    /// host would answer for them, too, if the namespace had them.
    ShareAddresses,
    /// Restrict capabilities, kernel paths and privileges.
    Restrict,
    /// Limit memory and processor time.
    Limit,
    /// Have its apps in control groups of the host's.
    HostGroups,
    /// Make volumes that live as long as the pod.
    EmptyVolumes,
    /// Run programs before and after the app.
    Handlers,
    /// Let a mount that the app makes below a volume appear on the host.
    PropagateMounts,
    /// Share a namespace with the host: its network, its IPC.
    ShareWithHost,
    /// Show a device of the host's as a volume.
    DeviceVolumes,
    /// Run on a copy of its image instead of an overlay.
    CopyRoots,
    /// Export what a pod has left when it is over.
    ExportExited,
    /// Export what a pod has while it runs, since nothing of it is left later.
    ExportRunning,
}

/// One stage1.
#[derive(Debug, Clone, Copy)]
pub struct Flavour {
    /// Its short name: `stage1-NAME.aci` lies beside the program.
    pub name: &'static str,
    /// What selects it on the command line.
    pub select: &'static [&'static str],
    /// What it needs beyond that to `run` where the default network is not there.
    pub net: &'static [&'static str],
    /// What it can do.
    pub can: &'static [Can],
}

/// Namespaces, control groups, a supervisor: the default.
pub const NSPAWN: Flavour = Flavour {
    name: "nspawn",
    select: &[],
    net: &["--net=none"],
    can: &[
        Can::SeveralApps,
        Can::Namespaces,
        Can::Networks,
        Can::ShareAddresses,
        Can::Restrict,
        Can::Limit,
        Can::HostGroups,
        Can::EmptyVolumes,
        Can::Handlers,
        Can::ShareWithHost,
        Can::DeviceVolumes,
        Can::CopyRoots,
        Can::ExportExited,
    ],
};

/// One app with the host's rights.
pub const FLY: Flavour = Flavour {
    name: "fly",
    select: &["--stage1-name=fly"],
    net: &[],
    can: &[
        Can::PropagateMounts,
        Can::ShareWithHost,
        Can::DeviceVolumes,
        Can::CopyRoots,
        Can::ExportExited,
    ],
};

/// A kernel of the pod's own.
pub const KVM: Flavour = Flavour {
    name: "kvm",
    select: &["--stage1-name=kvm"],
    net: &["--net=none"],
    can: &[
        Can::SeveralApps,
        Can::Namespaces,
        Can::Networks,
        Can::Restrict,
        Can::Limit,
        Can::EmptyVolumes,
        Can::Handlers,
        Can::ExportRunning,
    ],
};

/// All of them.
const ALL: [Flavour; 3] = [NSPAWN, FLY, KVM];

/// Those that tests run in: the ones that run on any host, or those whose names `RKT_TEST_FLAVOURS` has, separated by
/// commas, on a host that has what they need.
pub fn flavours() -> Vec<Flavour> {
    let named = std::env::var("RKT_TEST_FLAVOURS").unwrap_or_else(|_| "nspawn,fly".to_owned());
    let find = |name: &str| ALL.into_iter().find(|flavour| flavour.name == name);
    named
        .split(',')
        .map(|name| find(name).unwrap_or_else(|| panic!("no flavour {name:?}")))
        .collect()
}

impl Flavour {
    /// Whether it can do this.
    pub fn can(&self, what: Can) -> bool {
        self.can.contains(&what)
    }
}

/// Runs a test in every flavour that can do all of this, each time saying in which.
pub fn each(wanted: &[Can], test: impl Fn(&Flavour)) {
    let can = |flavour: &Flavour| wanted.iter().all(|&what| flavour.can(what));
    assert!(ALL.iter().any(can), "no flavour can do {wanted:?}");
    for flavour in flavours().iter().filter(|flavour| can(flavour)) {
        println!("--- {}", flavour.name);
        test(flavour);
    }
}

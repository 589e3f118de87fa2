//! The stage1s and what each can do: one test runs over all that have what it needs.

/// Something that a flavour may or may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Can {
    /// Run more than one app in a pod.
    SeveralApps,
    /// Give the pod a hostname, process, IPC and network namespaces of its own.
    Namespaces,
    /// Restrict capabilities, kernel paths and privileges.
    Restrict,
    /// Limit memory and processor time.
    Limit,
    /// Make volumes that live as long as the pod.
    EmptyVolumes,
    /// Run programs before and after the app.
    Handlers,
    /// Let a mount that the app makes below a volume appear on the host.
    PropagateMounts,
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
        Can::Restrict,
        Can::Limit,
        Can::EmptyVolumes,
        Can::Handlers,
    ],
};

/// One app with the host's rights.
pub const FLY: Flavour =
    Flavour { name: "fly", select: &["--stage1-name=fly"], net: &[], can: &[Can::PropagateMounts] };

/// All of them.
pub const FLAVOURS: [Flavour; 2] = [NSPAWN, FLY];

impl Flavour {
    /// Whether it can do this.
    pub fn can(&self, what: Can) -> bool {
        self.can.contains(&what)
    }
}

/// Runs a test in every flavour that can do all of this, each time saying in which.
pub fn each(wanted: &[Can], test: impl Fn(&Flavour)) {
    let mut count = 0;
    for flavour in FLAVOURS.iter().filter(|flavour| wanted.iter().all(|&what| flavour.can(what))) {
        println!("--- {}", flavour.name);
        test(flavour);
        count += 1;
    }
    assert!(count > 0, "no flavour can do {wanted:?}");
}

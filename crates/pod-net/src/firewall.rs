//! Hosts that drop what they forward: their packet filter is asked to let pods' packets pass.
//!
//! A verdict of a table of ours would not overrule what `FORWARD` of iptables decides, so a jump goes first in that chain,
//! where it is there: by netlink for iptables-nft, by the program for iptables-legacy, which has a lock of its own. What an
//! administrator's own nft chain drops stays dropped, and is told.

use crate::nat::ATTEMPTS;
use netlink::nft::{
    AddChain, AddRule, Chain, ChainRecord, Chains, DeleteChain, DeleteRule, Expression, Family,
    Field, FlushChain, Generation, Hook, Policy, Rule, RuleRecord, Rules, State, Status, Table,
    Transaction, Verdict,
};
use netlink::{Errno, RequestError, Socket};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FILTER: &str = "filter";
const FORWARD: &str = "FORWARD";
/// The chain of pods, as iptables names chains.
const OWN: &str = "RKT-FORWARD";

/// Where else programs are that only root runs.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];
/// How often iptables-legacy is tried while other pods leave.
const LEGACY_ATTEMPTS: usize = 10;

/// Why packets of a pod cannot be let through.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// The kernel refused a request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A program cannot be run.
    #[error("cannot run {program}")]
    Run {
        /// The program.
        program: &'static str,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// A program failed.
    #[error("{program}: {said}")]
    Program {
        /// The program.
        program: &'static str,
        /// Its exit code; `None` if a signal ended it.
        code: Option<i32>,
        /// What it said.
        said: String,
    },
    /// Others never stopped changing the packet filter.
    #[error("the packet filter is changed by others all the time")]
    Restless,
}

impl FirewallError {
    /// Whether a program says that there is no such chain or rule.
    fn is_absence(&self) -> bool {
        matches!(self, Self::Program { code: Some(1), .. })
    }
}

/// One family's part.
#[derive(Debug, Clone, Copy)]
struct Side {
    family: Family,
    is_ipv4: bool,
    /// What of iptables-legacy the kernel has tables for.
    legacy_tables: &'static str,
    legacy: &'static str,
}

const SIDES: [Side; 2] = [
    Side {
        family: Family::Ip,
        is_ipv4: true,
        legacy_tables: "/proc/thread-self/net/ip_tables_names",
        legacy: "iptables-legacy",
    },
    Side {
        family: Family::Ip6,
        is_ipv4: false,
        legacy_tables: "/proc/thread-self/net/ip6_tables_names",
        legacy: "ip6tables-legacy",
    },
];

/// How a condition is put that both iptables and nft can express.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    /// As iptables does: it refuses to list or change a table with anything else in it.
    Xtables,
    /// As nft does.
    Nft,
}

/// Lets packets of a pod with these addresses pass; what an administrator should know.
pub(crate) fn admit(
    socket: &Socket,
    uuid: &str,
    addresses: &[IpAddr],
) -> Result<Vec<String>, FirewallError> {
    let mut warnings = Vec::new();
    for side in SIDES {
        let own: Vec<IpAddr> =
            addresses.iter().copied().filter(|ip| ip.is_ipv4() == side.is_ipv4).collect();
        if own.is_empty() {
            continue;
        }
        side.admit(socket, uuid, &own, &mut warnings)?;
        if side.has_legacy() {
            match side.program() {
                Some(program) => side.admit_legacy(&program, uuid, &own)?,
                // The table is there as soon as anybody has looked at it: most often nothing is dropped.
                None => warnings.push(format!(
                    "the kernel has rules of iptables-legacy, but there is no {}: pods may be cut off",
                    side.legacy
                )),
            }
        }
    }
    warnings.sort();
    warnings.dedup();
    Ok(warnings)
}

/// Removes whatever lets packets of a pod pass.
pub(crate) fn dismiss(socket: &Socket, uuid: &str) -> Result<(), FirewallError> {
    for side in SIDES {
        side.dismiss(socket, uuid)?;
        if side.has_legacy()
            && let Some(program) = side.program()
        {
            side.dismiss_legacy(&program, uuid)?;
        }
    }
    Ok(())
}

impl Side {
    const fn filter(self) -> Table<'static> {
        Table::new(self.family, FILTER)
    }

    const fn own(self) -> Chain<'static> {
        self.filter().chain(OWN)
    }

    const fn forward(self) -> Chain<'static> {
        self.filter().chain(FORWARD)
    }

    /// The rules of a pod, in words that iptables understands as well, where the kernel does.
    fn rules(uuid: &str, addresses: &[IpAddr], words: Words) -> Vec<Rule> {
        let mut rules = Vec::new();
        for address in addresses.iter().copied() {
            let to = || Rule::new().is(Field::daddr(address), address);
            match words {
                Words::Xtables => rules.push(to().ct_answers_or_dnat_by_xtables().accept()),
                Words::Nft => {
                    rules.push(to().ct_state(State::RELATED | State::ESTABLISHED).accept());
                    rules.push(to().ct_status(Status::DNAT).accept());
                }
            }
            rules.push(Rule::new().is(Field::saddr(address), address).accept());
        }
        rules.into_iter().map(|rule| rule.comment(crate::mark(uuid))).collect()
    }

    fn admit(
        self,
        socket: &Socket,
        uuid: &str,
        addresses: &[IpAddr],
        warnings: &mut Vec<String>,
    ) -> Result<(), FirewallError> {
        let mut words = Words::Xtables;
        for _ in 0..ATTEMPTS {
            let generation = socket.get(&Generation)?.unwrap_or_default();
            let chains = socket.dump(&Chains(None))?;
            warnings.extend(chains.iter().filter_map(|chain| self.warning(chain)));
            let has = |name: &str| chains.iter().any(|chain| self.is(chain, name));
            if !has(FORWARD) {
                return Ok(());
            }
            let mut change = Transaction::of(generation);
            if !has(OWN) {
                change.add(&AddChain::regular(self.own()));
            }
            // Somebody may have flushed the chain, or put a rule before ours.
            let forward = socket.dump(&Rules::of(self.forward()))?;
            if !forward.first().is_some_and(is_jump) {
                for stray in forward.iter().filter(|record| is_jump(record)) {
                    change.add(&DeleteRule { chain: self.forward(), handle: stray.handle });
                }
                change.add(&AddRule::first(self.forward(), Rule::new().jump(self.own())));
            }
            for rule in Self::rules(uuid, addresses, words) {
                change.add(&AddRule::last(self.own(), rule));
            }
            match change.commit(socket) {
                Err(error) if error.errno() == Some(Errno::RESTART) => warnings.clear(),
                // A kernel without what iptables needs: nobody uses iptables.
                Err(error) if error.errno() == Some(Errno::NOENT) && words == Words::Xtables => {
                    words = Words::Nft;
                    warnings.clear();
                }
                other => return Ok(other?),
            }
        }
        Err(FirewallError::Restless)
    }

    fn is(self, chain: &ChainRecord, name: &str) -> bool {
        chain.family == self.family && chain.table == FILTER && chain.name == name
    }

    /// What to say of a chain of somebody's that drops whatever it forwards.
    fn warning(self, chain: &ChainRecord) -> Option<String> {
        let base = chain.base?;
        let sees = chain.family == self.family || chain.family == Family::Inet;
        let drops = base.hook == Hook::Forward && base.policy == Policy::Drop;
        let ours = self.is(chain, FORWARD);
        (sees && drops && !ours).then(|| {
            format!(
                "chain {:?} of table {} {} drops what it does not know: pods may be cut off",
                chain.name, chain.family, chain.table
            )
        })
    }

    fn dismiss(self, socket: &Socket, uuid: &str) -> Result<(), FirewallError> {
        let mark = crate::mark(uuid);
        for _ in 0..ATTEMPTS {
            let generation = socket.get(&Generation)?.unwrap_or_default();
            let chains = socket.dump(&Chains(Some(self.family)))?;
            if !chains.iter().any(|chain| self.is(chain, OWN)) {
                return Ok(());
            }
            let rules = socket.dump(&Rules::of(self.own()))?;
            let is_own = |record: &&RuleRecord| record.rule.comment.as_deref() == Some(&*mark);
            let own: Vec<u64> = rules.iter().filter(is_own).map(|record| record.handle).collect();
            let mut change = Transaction::of(generation);
            if own.len() == rules.len() {
                let forward = chains.iter().any(|chain| self.is(chain, FORWARD));
                let jumps =
                    if forward { socket.dump(&Rules::of(self.forward()))? } else { Vec::new() };
                for jump in jumps.iter().filter(|record| is_jump(record)) {
                    change.add(&DeleteRule { chain: self.forward(), handle: jump.handle });
                }
                change.add(&FlushChain(self.own()));
                change.add(&DeleteChain(self.own()));
            } else {
                for handle in own {
                    change.add(&DeleteRule { chain: self.own(), handle });
                }
            }
            match change.commit(socket) {
                Err(error) if error.errno() == Some(Errno::RESTART) => {}
                other => return Ok(other?),
            }
        }
        Err(FirewallError::Restless)
    }

    /// Whether somebody uses iptables-legacy on this host.
    fn has_legacy(self) -> bool {
        std::fs::read_to_string(self.legacy_tables)
            .is_ok_and(|names| names.lines().any(|name| name == FILTER))
    }

    /// Where the program is. The path of services often lacks the folders of what only root runs.
    fn program(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(SYSTEM_FOLDERS.map(PathBuf::from));
        folders.map(|folder| folder.join(self.legacy)).find(|path| path.is_file())
    }

    fn run(self, program: &Path, words: &[&str]) -> Result<String, FirewallError> {
        let failed = |cause| FirewallError::Run { program: self.legacy, cause };
        let output = Command::new(program)
            .args(["-w", "30"])
            .args(words)
            .stdin(Stdio::null())
            .output()
            .map_err(failed)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(FirewallError::Program { program: self.legacy, code: output.status.code(), said })
    }

    /// The rules of our chain as the program lists them; `None` if there is no such chain.
    fn legacy_rules(self, program: &Path) -> Result<Option<Vec<String>>, FirewallError> {
        let listed = match self.run(program, &["-S", OWN]) {
            Err(error) if error.is_absence() => return Ok(None),
            other => other?,
        };
        let rules = listed.lines().filter(|line| line.starts_with("-A "));
        Ok(Some(rules.map(str::to_owned).collect()))
    }

    fn admit_legacy(
        self,
        program: &Path,
        uuid: &str,
        addresses: &[IpAddr],
    ) -> Result<(), FirewallError> {
        for _ in 1..LEGACY_ATTEMPTS {
            match self.try_admit_legacy(program, uuid, addresses) {
                // The last pod has left and taken the chain with it, which it cannot once there is a rule in it.
                Err(error) if error.is_absence() => log::debug!("{error}"),
                other => return other,
            }
        }
        self.try_admit_legacy(program, uuid, addresses)
    }

    fn try_admit_legacy(
        self,
        program: &Path,
        uuid: &str,
        addresses: &[IpAddr],
    ) -> Result<(), FirewallError> {
        if self.legacy_rules(program)?.is_none() {
            // Another pod may be making it.
            let made = self.run(program, &["-N", OWN]);
            if self.legacy_rules(program)?.is_none() {
                made?;
            }
        }
        let first = self.run(program, &["-S", FORWARD])?;
        let jump = format!("-A {FORWARD} -j {OWN}");
        if first.lines().find(|line| line.starts_with("-A ")) != Some(&*jump) {
            self.run(program, &["-I", FORWARD, "1", "-j", OWN])?;
        }
        let mark = crate::mark(uuid);
        for address in addresses.iter().map(IpAddr::to_string) {
            let append = |words: &[&str]| {
                let all = [&["-A", OWN, "-m", "comment", "--comment", &mark][..], words].concat();
                self.run(program, &all)
            };
            append(&[
                "-d",
                &address,
                "-m",
                "conntrack",
                "--ctstate",
                "RELATED,ESTABLISHED,DNAT",
                "-j",
                "ACCEPT",
            ])?;
            append(&["-s", &address, "-j", "ACCEPT"])?;
        }
        Ok(())
    }

    fn dismiss_legacy(self, program: &Path, uuid: &str) -> Result<(), FirewallError> {
        let Some(rules) = self.legacy_rules(program)? else { return Ok(()) };
        let mark = crate::mark(uuid);
        let (own, rest): (Vec<_>, Vec<_>) =
            rules.into_iter().partition(|rule| rule.contains(&*mark));
        for rule in own {
            // The only word with a blank in it is the comment.
            let rule = rule.replace(&format!("\"{mark}\""), "\u{1}");
            let words: Vec<&str> =
                rule.split(' ').skip(1).map(|w| if w == "\u{1}" { &*mark } else { w }).collect();
            self.run(program, &[&["-D"][..], &words].concat())?;
        }
        if rest.is_empty() {
            // Who adds a rule meanwhile keeps the chain.
            let listed = self.run(program, &["-S", FORWARD])?;
            let jump = format!("-A {FORWARD} -j {OWN}");
            for _ in listed.lines().filter(|line| *line == jump) {
                self.run(program, &["-D", FORWARD, "-j", OWN])?;
            }
            if let Err(error) = self.run(program, &["-X", OWN]) {
                log::debug!("{error}");
                self.run(program, &["-I", FORWARD, "1", "-j", OWN])?;
            }
        }
        Ok(())
    }
}

/// Whether a rule does nothing but jump to our chain.
fn is_jump(record: &RuleRecord) -> bool {
    let jump = Expression::Verdict(Verdict::Jump(OWN.to_owned()));
    let decides = |e: &&Expression| !matches!(e, Expression::Counter { .. });
    let mut decisive = record.rule.expressions.iter().filter(decides);
    decisive.next() == Some(&jump) && decisive.next().is_none()
}

//! From the first instruction to the last.

use crate::boot;
use crate::call::Caller;
use crate::error::{Doing, InitError};
use crate::host::Host;
use crate::live::{Clock, Life};
use crate::pod;
use crate::words::Words;
use pod_proto::frame::Message as _;
use pod_proto::{Config, FromHost, Preamble};
use std::io::Write as _;
use sys::cause::chain;
use sys::signal::{self, Set, number};

/// What this program exits with when it, and not the pod, failed.
const FAILURE: u8 = 254;

/// Writes warnings where the standard error is: in a machine of our own, that is the kernel's log.
struct Log;

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("rkt: {}\n", record.args());
            // There is nobody else to tell.
            drop(std::io::stderr().write_all(line.as_bytes()));
        }
    }

    fn flush(&self) {}
}

/// All of it; the code, which only counts where the kernel is not ours.
pub fn main() -> u8 {
    if log::set_logger(&Log).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
    signal::ignore_broken_pipes();
    let line: Vec<String> = std::env::args().skip(1).filter(|w| w.starts_with("rkt.")).collect();
    let told = run(&line.join(" "));
    match &told {
        Ok((code, _)) => log::debug!("the pod ends with {code}"),
        Err(error) => log::warn!("{}", chain(error)),
    }
    // Even after a failure: a machine without its init is of no use.
    if line.is_empty()
        && is_first()
        && let Err(error) = sys::machine::restart()
    {
        log::warn!("cannot reset the machine: {error}");
    }
    told.map_or(FAILURE, |(code, _)| code)
}

fn is_first() -> bool {
    rustix::process::getpid().is_init()
}

fn run(given: &str) -> Result<(u8, Clock), InitError> {
    if !is_first() {
        return Err(InitError::NotFirst);
    }
    let words = if given.is_empty() {
        boot::standard()?;
        boot::procfs()?;
        let line = sys::machine::command_line().doing("cannot read the command line")?;
        Words::parse(&line)?
    } else {
        Words::parse(given)?
    };
    let clock = if words.own_kernel() { Clock::Own } else { Clock::Borrowed };
    if words.own_kernel() {
        boot::limits()?;
        boot::modules()?;
    }
    sys::process::hide().doing("cannot hide")?;
    signal::set_default(number::CHILD);
    Set::of(&[number::CHILD]).block_only().doing("cannot hold signals")?;
    let caller = Caller::new(&words.host)?;
    boot::base()?;
    let mut host = Host::new(caller.call(&Preamble::Control)?);
    let config = match host.wait()? {
        FromHost::Configure(config) => config,
        other => return Err(InitError::TooEarly(other.kind().name)),
    };
    let plans = pod::plans(&config);
    match pod::stand(&config, &plans, &words, &caller) {
        Ok(standing) => {
            let life = Life::new(host, standing, &config, &caller, clock)?;
            Ok((life.live()?, clock))
        }
        Err(error) => {
            refuse(host, &config, &error);
            Err(error)
        }
    }
}

fn refuse(host: Host, config: &Config, error: &InitError) {
    log::debug!("{} is not to be", config.hostname);
    host.give_up(error);
}

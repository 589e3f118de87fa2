//! What the flags of `run` and `run-prepared` say about the running pod.

use std::collections::BTreeSet;

use stage0::launch::{Dns, RunRequest};
use stage1_abi::Switch;

use super::{Context, Failure, Parsed};

/// Reads them.
pub(crate) fn read(cx: &Context, args: &Parsed) -> Result<RunRequest, Failure> {
    let dns = Dns::parse(
        &args.values("dns"),
        &args.values("dns-search"),
        &args.values("dns-opt"),
        args.value("dns-domain"),
        &args.values("hosts-entry"),
    )
    .map_err(|error| Failure::because("error with dns flags", error))?;
    let on = [
        (cx.debug, Switch::Debug),
        (args.bool("interactive"), Switch::Interactive),
        (cx.insecure.capabilities, Switch::DisableCapabilities),
        (cx.insecure.paths, Switch::DisablePaths),
        (cx.insecure.seccomp, Switch::DisableSeccomp),
    ];
    let text = |flag| args.value(flag).filter(|value| !value.is_empty()).map(str::to_owned);
    Ok(RunRequest {
        net: text("net").unwrap_or_else(|| "default".to_owned()),
        hostname: text("hostname"),
        dns,
        ipc: text("ipc"),
        switches: on
            .into_iter()
            .filter(|(on, _)| *on)
            .map(|(_, switch)| switch)
            .collect::<BTreeSet<_>>(),
        local_config: cx.local_config(),
    })
}

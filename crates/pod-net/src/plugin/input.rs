//! What a plugin reads from its standard input.

use super::ValidAttachment;
use crate::config::{Network, Plugin, Shape};
use crate::result::CniResult;
use crate::version::Version;
use crate::wishes::Wishes;
use appc::json::{self, Json};

/// Members that the runtime sets, or that are meant for it.
const OURS: [&str; 5] = ["name", "cniVersion", "prevResult", "runtimeConfig", "capabilities"];

/// The configuration of a plugin with what the runtime adds. The file of one plugin of the old protocol stays as it is
/// where nothing is added.
pub(super) fn compose(
    network: &Network,
    plugin: &Plugin,
    before: Option<&CniResult>,
    wishes: Option<&Wishes>,
) -> Vec<u8> {
    let runtime = wishes.and_then(|wishes| wishes.runtime_config(plugin));
    let version = network.version();
    let before = before.filter(|_| version > Version::V0_2_0);
    let own = network.plugins().first().is_some_and(|first| first == plugin);
    let single = network.shape() == Shape::Single && own && network.plugins().len() == 1;
    if single && version <= Version::V0_2_0 && runtime.is_none() {
        return network.text().to_vec();
    }
    let mut members = derived(network, plugin);
    if let Some(runtime) = runtime {
        members.push(("runtimeConfig".to_owned(), runtime));
    }
    if let Some(before) = before {
        members.push(("prevResult".to_owned(), before.write(version)));
    }
    json::compact(&Json::Object(members)).into_bytes()
}

/// The configuration of a plugin with the attachments that are still in use.
pub(super) fn with_attachments(
    network: &Network,
    plugin: &Plugin,
    valid: &[ValidAttachment],
) -> Vec<u8> {
    let one = |attachment: &ValidAttachment| {
        Json::object([
            ("containerID", attachment.container.as_str().into()),
            ("ifname", attachment.ifname.as_str().into()),
        ])
    };
    let mut members = derived(network, plugin);
    let valid: Vec<Json> = valid.iter().map(one).collect();
    members.push(("cni.dev/valid-attachments".to_owned(), valid.into()));
    json::compact(&Json::Object(members)).into_bytes()
}

fn derived(network: &Network, plugin: &Plugin) -> Vec<(String, Json)> {
    let mut members = vec![
        ("cniVersion".to_owned(), network.version().as_str().into()),
        ("name".to_owned(), network.name().as_str().into()),
    ];
    if let Json::Object(own) = plugin.json() {
        let passed = |(key, _): &&(String, Json)| {
            !OURS.iter().any(|ours| key.eq_ignore_ascii_case(ours)) && !key.starts_with("cni.dev/")
        };
        members.extend(own.iter().filter(passed).cloned());
    }
    members
}

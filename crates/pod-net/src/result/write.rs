//! Writing a result in the form of any version.

use super::{AssignedIp, CniResult, Dns, Interface, Route};
use crate::version::Version;
use appc::json::Json;

type Members = Vec<(String, Json)>;

fn put(members: &mut Members, key: &str, value: Option<impl Into<Json>>) {
    if let Some(value) = value {
        members.push((key.to_owned(), value.into()));
    }
}

fn put_list(members: &mut Members, key: &str, values: Vec<Json>) {
    if !values.is_empty() {
        members.push((key.to_owned(), values.into()));
    }
}

impl CniResult {
    /// The result in the form of a version. What that form has no word for is left out: interfaces and further addresses
    /// up to 0.2, properties of 1.1 before it.
    pub fn write(&self, version: Version) -> Json {
        let mut members = vec![("cniVersion".to_owned(), version.as_str().into())];
        if version <= Version::V0_2_0 {
            put(&mut members, "ip4", self.old(self.ipv4()));
            put(&mut members, "ip6", self.old(self.ipv6()));
        } else {
            let interfaces = self.interfaces.iter().map(|one| interface(one, version)).collect();
            put_list(&mut members, "interfaces", interfaces);
            put_list(
                &mut members,
                "ips",
                self.ips.iter().map(|ip| assigned(ip, version)).collect(),
            );
            put_list(
                &mut members,
                "routes",
                self.routes.iter().map(|r| route(r, version)).collect(),
            );
        }
        members.push(("dns".to_owned(), dns(&self.dns)));
        Json::Object(members)
    }

    fn old(&self, ip: Option<&AssignedIp>) -> Option<Json> {
        let ip = ip?;
        let mut members = vec![("ip".to_owned(), ip.address.to_string().into())];
        put(&mut members, "gateway", ip.gateway.map(|gateway| gateway.to_string()));
        let same = self.routes.iter().filter(|r| r.dst.is_ipv4() == ip.address.is_ipv4());
        put_list(&mut members, "routes", same.map(|r| route(r, Version::V0_1_0)).collect());
        Some(Json::Object(members))
    }
}

fn interface(one: &Interface, version: Version) -> Json {
    let mut members = vec![("name".to_owned(), one.name.as_str().into())];
    put(&mut members, "mac", one.mac.as_deref());
    if version >= Version::V1_1_0 {
        put(&mut members, "mtu", one.mtu.map(u64::from));
    }
    put(&mut members, "sandbox", one.sandbox.as_deref());
    if version >= Version::V1_1_0 {
        put(&mut members, "socketPath", one.socket_path.as_deref());
        put(&mut members, "pciID", one.pci_id.as_deref());
    }
    Json::Object(members)
}

fn assigned(ip: &AssignedIp, version: Version) -> Json {
    let mut members = Vec::new();
    if version < Version::V1_0_0 {
        let family = if ip.address.is_ipv4() { "4" } else { "6" };
        members.push(("version".to_owned(), family.into()));
    }
    let number = ip.interface.and_then(|at| u64::try_from(at).ok());
    put(&mut members, "interface", number);
    members.push(("address".to_owned(), ip.address.to_string().into()));
    put(&mut members, "gateway", ip.gateway.map(|gateway| gateway.to_string()));
    Json::Object(members)
}

fn route(route: &Route, version: Version) -> Json {
    let mut members = vec![("dst".to_owned(), Json::from(route.dst.to_string()))];
    put(&mut members, "gw", route.gw.map(|gw| gw.to_string()));
    if version >= Version::V1_1_0 {
        put(&mut members, "mtu", route.mtu.map(u64::from));
        put(&mut members, "advmss", route.advmss.map(u64::from));
        put(&mut members, "priority", route.priority.map(u64::from));
        put(&mut members, "table", route.table.map(u64::from));
        put(&mut members, "scope", route.scope.map(u64::from));
    }
    Json::Object(members)
}

fn dns(dns: &Dns) -> Json {
    let texts = |list: &[String]| list.iter().map(|text| text.as_str().into()).collect();
    let mut members = Vec::new();
    put_list(&mut members, "nameservers", texts(&dns.nameservers));
    put(&mut members, "domain", dns.domain.as_deref());
    put_list(&mut members, "search", texts(&dns.search));
    put_list(&mut members, "options", texts(&dns.options));
    Json::Object(members)
}

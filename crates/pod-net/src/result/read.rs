//! Reading a result of any version.

use super::{AssignedIp, CniResult, Interface, Route};
use crate::config::{FieldError, Fields};
use crate::version::Version;
use appc::json::Json;
use std::path::Path;

/// No result is larger.
const SIZE_LIMIT: usize = 1 << 20;

/// A result that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// Larger than 1 MiB.
    #[error("result is larger than 1 MiB")]
    TooLarge,
    /// It is no JSON, or nested too deeply.
    #[error("result is not valid JSON")]
    Syntax(#[source] serde_json::Error),
    /// A version that nobody knows.
    #[error("result is of the unknown version {0:?}")]
    Version(String),
    /// A member breaks a rule.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// An address belongs to an interface that is not there.
    #[error("result names interface {0}, which it does not list")]
    Interface(u64),
}

impl CniResult {
    /// Reads the result of a plugin; `expected` is the version if it does not say it.
    ///
    /// # Errors
    /// See [`ResultError`].
    pub fn parse(bytes: &[u8], expected: Version) -> Result<Self, ResultError> {
        if bytes.len() > SIZE_LIMIT {
            return Err(ResultError::TooLarge);
        }
        let blank = bytes.iter().all(u8::is_ascii_whitespace);
        // A plugin that has nothing to say may say nothing.
        if blank {
            return Ok(Self::default());
        }
        Self::read(&Json::parse(bytes).map_err(ResultError::Syntax)?, expected)
    }

    /// Reads a result that is a part of another document, such as `prevResult`.
    ///
    /// # Errors
    /// See [`ResultError`].
    pub fn read(json: &Json, expected: Version) -> Result<Self, ResultError> {
        let fields = Fields::new(json, Path::new("result"));
        if !matches!(json, Json::Object(_)) {
            return Err(fields.bad("result", "must be an object").into());
        }
        let version = match fields.text("cniVersion")? {
            None => expected,
            Some(text) => {
                Version::parse(text).ok_or_else(|| ResultError::Version(text.to_owned()))?
            }
        };
        let mut result =
            if version <= Version::V0_2_0 { Self::default() } else { current(&fields)? };
        // Old members are read whatever the version: plugins of 0.1 answer with the version they were asked for.
        old(&fields, &mut result)?;
        result.dns = crate::config::kinds::dns(&fields)?;
        let count = result.interfaces.len();
        match result.ips.iter().find_map(|ip| ip.interface.filter(|at| *at >= count)) {
            Some(at) => Err(ResultError::Interface(u64::try_from(at).unwrap_or(u64::MAX))),
            None => Ok(result),
        }
    }
}

fn old(fields: &Fields<'_>, result: &mut CniResult) -> Result<(), FieldError> {
    for key in ["ip4", "ip6"] {
        let Some(inside) = fields.object(key)? else { continue };
        let address = inside.cidr("ip")?.ok_or_else(|| inside.bad("ip", "is missing"))?;
        if address.is_ipv4() != (key == "ip4") {
            return Err(inside.bad("ip", "is an address of the other family"));
        }
        let gateway = inside.address("gateway")?;
        result.ips.push(AssignedIp { address, gateway, interface: None });
        for route in inside.objects("routes")? {
            result.routes.push(self::route(&route)?);
        }
    }
    Ok(())
}

fn current(fields: &Fields<'_>) -> Result<CniResult, FieldError> {
    let mut result = CniResult::default();
    for inside in fields.objects("interfaces")? {
        result.interfaces.push(Interface {
            name: inside.owned("name")?.unwrap_or_default(),
            mac: inside.owned("mac")?,
            mtu: inside.size("mtu")?,
            sandbox: inside.owned("sandbox")?,
            socket_path: inside.owned("socketPath")?,
            pci_id: inside.owned("pciID")?,
        });
    }
    for inside in fields.objects("ips")? {
        let address = inside.cidr("address")?;
        result.ips.push(AssignedIp {
            address: address.ok_or_else(|| inside.bad("address", "is missing"))?,
            gateway: inside.address("gateway")?,
            // -1 stands for "no interface" in results of old libraries.
            interface: match inside.json().get("interface") {
                Some(Json::Number(number)) if number.as_i64().is_some_and(|n| n < 0) => None,
                _ => inside.number("interface")?,
            },
        });
    }
    for inside in fields.objects("routes")? {
        result.routes.push(route(&inside)?);
    }
    Ok(result)
}

/// A route of a result or of an allocator's configuration.
pub(crate) fn route(fields: &Fields<'_>) -> Result<Route, FieldError> {
    Ok(Route {
        dst: fields.cidr("dst")?.ok_or_else(|| fields.bad("dst", "is missing"))?,
        gw: fields.address("gw")?,
        mtu: fields.size("mtu")?,
        advmss: fields.size("advmss")?,
        priority: fields.size("priority")?,
        table: fields.number("table")?,
        scope: fields.number("scope")?,
    })
}

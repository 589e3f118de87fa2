//! Writes the steps of a rule.

use super::{Expression, NatKind, Verdict, at};
use crate::nft::LIST_ELEMENT;
use crate::wire::Writer;

/// A lookup goes on if the set does not have it.
const LOOKUP_INVERTED: u32 = 1;

impl Verdict {
    pub(in crate::nft) fn write(&self, to: &mut Writer<'_>) {
        to.nested(at::DATA_VERDICT, |to| {
            to.attribute(at::VERDICT_CODE, &self.code().to_be_bytes());
            if let Self::Jump(chain) | Self::Goto(chain) = self {
                to.text(at::VERDICT_CHAIN, chain);
            }
        });
    }
}

impl Expression {
    /// Writes it as an element of a list.
    pub(in crate::nft) fn write(&self, to: &mut Writer<'_>) {
        to.nested(LIST_ELEMENT, |to| {
            to.text(at::NAME, self.name());
            match self {
                Self::Other { data, .. } => {
                    to.nested_bytes(at::DATA, data);
                }
                known => {
                    to.nested(at::DATA, |to| known.write_data(to));
                }
            }
        });
    }

    fn write_data(&self, to: &mut Writer<'_>) {
        match self {
            Self::Meta { key, to: register } => {
                to.be32(at::META_KEY, key.number()).be32(at::META_TO, register.number());
            }
            Self::SetMeta { key, from } => {
                to.be32(at::META_KEY, key.number()).be32(at::META_FROM, from.number());
            }
            Self::Payload { header, offset, length, to: register } => {
                to.be32(at::PAYLOAD_TO, register.number())
                    .be32(at::PAYLOAD_HEADER, header.number())
                    .be32(at::PAYLOAD_OFFSET, *offset)
                    .be32(at::PAYLOAD_LENGTH, (*length).into());
            }
            Self::Compare { from, test, with } => {
                to.be32(at::COMPARE_FROM, from.number()).be32(at::COMPARE_TEST, test.number());
                value(to, at::COMPARE_WITH, with);
            }
            Self::Bitwise { from, to: register, mask, xor } => {
                to.be32(at::BITWISE_FROM, from.number())
                    .be32(at::BITWISE_TO, register.number())
                    .be32(at::BITWISE_LENGTH, u32::try_from(mask.len()).unwrap_or(u32::MAX));
                value(to, at::BITWISE_MASK, mask);
                value(to, at::BITWISE_XOR, xor);
            }
            Self::Ct { key, to: register } => {
                to.be32(at::CT_KEY, key.number()).be32(at::CT_TO, register.number());
            }
            Self::SetCt { key, from } => {
                to.be32(at::CT_KEY, key.number()).be32(at::CT_FROM, from.number());
            }
            Self::Fib { result, flags, to: register } => {
                to.be32(at::FIB_TO, register.number())
                    .be32(at::FIB_RESULT, result.number())
                    .be32(at::FIB_FLAGS, *flags);
            }
            Self::Counter { packets, bytes } => {
                to.be64(at::COUNTER_BYTES, *bytes).be64(at::COUNTER_PACKETS, *packets);
            }
            decision => decision.write_decision(to),
        }
    }

    fn write_decision(&self, to: &mut Writer<'_>) {
        match self {
            Self::Lookup { set, from, to: register, verdict, inverted } => {
                to.text(at::LOOKUP_SET, set).be32(at::LOOKUP_FROM, from.number());
                match register {
                    Some(register) => to.be32(at::LOOKUP_TO, register.number()),
                    // The register of verdicts.
                    None if *verdict => to.be32(at::LOOKUP_TO, 0),
                    None => to,
                };
                if *inverted {
                    to.be32(at::LOOKUP_FLAGS, LOOKUP_INVERTED);
                }
            }
            Self::Verdict(verdict) => {
                to.be32(at::IMMEDIATE_TO, 0);
                to.nested(at::IMMEDIATE_VALUE, |to| verdict.write(to));
            }
            Self::Immediate { to: register, value: bytes } => {
                to.be32(at::IMMEDIATE_TO, register.number());
                value(to, at::IMMEDIATE_VALUE, bytes);
            }
            Self::Nat { kind, family, address, port, flags } => {
                let kind = match kind {
                    NatKind::Source => 0,
                    NatKind::Destination => 1,
                };
                to.be32(at::NAT_KIND, kind).be32(at::NAT_FAMILY, (*family).into());
                if let Some(address) = address {
                    to.be32(at::NAT_ADDRESS, address.number());
                }
                if let Some(port) = port {
                    to.be32(at::NAT_PORT, port.number());
                }
                if *flags != 0 {
                    to.be32(at::NAT_FLAGS, *flags);
                }
            }
            Self::Masquerade { flags } if *flags != 0 => {
                to.be32(at::MASQUERADE_FLAGS, *flags);
            }
            Self::Redirect { port, flags } => {
                if let Some(port) = port {
                    to.be32(at::REDIRECT_PORT, port.number());
                }
                if *flags != 0 {
                    to.be32(at::REDIRECT_FLAGS, *flags);
                }
            }
            Self::Reject(reject) => {
                to.be32(at::REJECT_KIND, reject.kind).u8(at::REJECT_CODE, reject.code);
            }
            _ => {}
        }
    }
}

fn value(to: &mut Writer<'_>, kind: u16, bytes: &[u8]) {
    to.nested(kind, |to| {
        to.attribute(at::DATA_VALUE, bytes);
    });
}

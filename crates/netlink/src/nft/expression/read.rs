//! Reads the steps of a rule. What is not known, or has something that is not known, is kept as it came.

use super::{
    Ct, Expression, FibResult, Header, Meta, NAT_IMPLIED, NatKind, Register, Reject, Test, Verdict,
    at,
};
use crate::nft::LIST_ELEMENT;
use crate::wire::{Attribute, Attributes, Malformed};

/// Those of a list.
pub(in crate::nft) fn expressions(list: Attributes<'_>) -> Result<Vec<Expression>, Malformed> {
    let mut expressions = Vec::new();
    for element in list {
        let element = element?;
        if element.kind != LIST_ELEMENT {
            continue;
        }
        let attributes = element.nested();
        let name = attributes.find(at::NAME)?.ok_or(Malformed("a rule's step has no name"))?;
        let data = attributes.find(at::DATA)?;
        let data = data.map(|data| data.value).unwrap_or_default();
        let known = read(name.bytes(), &Parts(Attributes::new(data)))?;
        let other = || Expression::Other { name: name.text(), data: data.to_owned() };
        expressions.push(known.unwrap_or_else(other));
    }
    Ok(expressions)
}

/// The attributes of a step.
struct Parts<'a>(Attributes<'a>);

impl<'a> Parts<'a> {
    fn find(&self, kind: u16) -> Result<Option<Attribute<'a>>, Malformed> {
        self.0.find(kind)
    }

    fn has(&self, kind: u16) -> Result<bool, Malformed> {
        Ok(self.find(kind)?.is_some())
    }

    fn number(&self, kind: u16) -> Result<Option<u32>, Malformed> {
        self.find(kind)?.map(|attribute| attribute.be32()).transpose()
    }

    fn register(&self, kind: u16) -> Result<Option<Register>, Malformed> {
        Ok(self.number(kind)?.and_then(Register::from_number))
    }

    fn value(&self, kind: u16) -> Result<Option<Vec<u8>>, Malformed> {
        let Some(attribute) = self.find(kind)? else { return Ok(None) };
        let value = attribute.nested().find(at::DATA_VALUE)?;
        Ok(value.map(|value| value.value.to_owned()))
    }
}

/// The verdict in a row of data.
pub(in crate::nft) fn verdict(data: &Attributes<'_>) -> Result<Option<Verdict>, Malformed> {
    let Some(verdict) = data.find(at::DATA_VERDICT)? else { return Ok(None) };
    let parts = verdict.nested();
    let Some(code) = parts.find(at::VERDICT_CODE)? else { return Ok(None) };
    let code = i32::from_be_bytes(code.exact()?);
    let chain = parts.find(at::VERDICT_CHAIN)?.map(|chain| chain.text());
    let known = [Verdict::Drop, Verdict::Accept, Verdict::Continue, Verdict::Return];
    let led =
        chain.into_iter().flat_map(|chain| [Verdict::Jump(chain.clone()), Verdict::Goto(chain)]);
    Ok(known.into_iter().chain(led).find(|verdict| verdict.code() == code))
}

/// Reads a step of this name, if it is one that can be written again as it came.
fn read(name: &[u8], parts: &Parts<'_>) -> Result<Option<Expression>, Malformed> {
    match name {
        b"meta" => meta(parts),
        b"payload" => payload(parts),
        b"cmp" => compare(parts),
        b"bitwise" => bitwise(parts),
        b"lookup" => lookup(parts),
        b"immediate" => immediate(parts),
        b"ct" => ct(parts),
        b"fib" => fib(parts),
        b"nat" => nat(parts),
        b"masq" => masquerade(parts),
        b"redir" => redirect(parts),
        b"counter" => counter(parts),
        b"reject" => reject(parts),
        _ => Ok(None),
    }
}

fn meta(parts: &Parts<'_>) -> Result<Option<Expression>, Malformed> {
    let Some(key) = parts.number(at::META_KEY)?.map(Meta::from_number) else { return Ok(None) };
    let from = parts.register(at::META_FROM)?.map(|from| Expression::SetMeta { key, from });
    let to = parts.register(at::META_TO)?.map(|to| Expression::Meta { key, to });
    Ok(to.or(from))
}

fn ct(parts: &Parts<'_>) -> Result<Option<Expression>, Malformed> {
    let Some(key) = parts.number(at::CT_KEY)?.map(Ct::from_number) else { return Ok(None) };
    if parts.has(at::CT_DIRECTION)? {
        return Ok(None);
    }
    let from = parts.register(at::CT_FROM)?.map(|from| Expression::SetCt { key, from });
    let to = parts.register(at::CT_TO)?.map(|to| Expression::Ct { key, to });
    Ok(to.or(from))
}

fn payload(parts: &Parts<'_>) -> Result<Option<Expression>, Malformed> {
    if parts.has(at::PAYLOAD_FROM)? {
        return Ok(None);
    }
    let header = parts.number(at::PAYLOAD_HEADER)?.map(Header::from_number);
    let offset = parts.number(at::PAYLOAD_OFFSET)?;
    let length = parts.number(at::PAYLOAD_LENGTH)?.and_then(|length| u8::try_from(length).ok());
    let to = parts.register(at::PAYLOAD_TO)?;
    Ok(match (header, offset, length, to) {
        (Some(header), Some(offset), Some(length), Some(to)) => {
            Some(Expression::Payload { header, offset, length, to })
        }
        _ => None,
    })
}

fn compare(parts: &Parts<'_>) -> Result<Option<Expression>, Malformed> {
    let from = parts.register(at::COMPARE_FROM)?;
    let number = parts.number(at::COMPARE_TEST)?;
    let test = Test::ALL.into_iter().find(|test| Some(test.number()) == number);
    let with = parts.value(at::COMPARE_WITH)?;
    Ok(match (from, test, with) {
        (Some(from), Some(test), Some(with)) => Some(Expression::Compare { from, test, with }),
        _ => None,
    })
}

fn bitwise(parts: &Parts<'_>) -> Result<Option<Expression>, Malformed> {
    if parts.number(at::BITWISE_WHAT)?.unwrap_or(0) != 0 {
        return Ok(None);
    }
    let from = parts.register(at::BITWISE_FROM)?;
    let to = parts.register(at::BITWISE_TO)?;
    let mask = parts.value(at::BITWISE_MASK)?;
    let xor = parts.value(at::BITWISE_XOR)?;
    Ok(match (from, to, mask, xor) {
        (Some(from), Some(to), Some(mask), Some(xor)) => {
            Some(Expression::Bitwise { from, to, mask, xor })
        }
        _ => None,
    })
}

fn lookup(parts: &Parts<'_>) -> Result<Option<Expression>, Malformed> {
    let set = parts.find(at::LOOKUP_SET)?.map(|set| set.text());
    let from = parts.register(at::LOOKUP_FROM)?;
    let number = parts.number(at::LOOKUP_TO)?;
    let to = number.and_then(Register::from_number);
    let verdict = number == Some(0);
    if number.is_some() && !verdict && to.is_none() {
        return Ok(None);
    }
    let inverted = match parts.number(at::LOOKUP_FLAGS)? {
        None | Some(0) => false,
        Some(1) => true,
        Some(_) => return Ok(None),
    };
    Ok(match (set, from) {
        (Some(set), Some(from)) => Some(Expression::Lookup { set, from, to, verdict, inverted }),
        _ => None,
    })
}

fn immediate(parts: &Parts<'_>) -> Result<Option<Expression>, Malformed> {
    let Some(attribute) = parts.find(at::IMMEDIATE_VALUE)? else { return Ok(None) };
    if parts.number(at::IMMEDIATE_TO)? == Some(0) {
        return Ok(verdict(&attribute.nested())?.map(Expression::Verdict));
    }
    let to = parts.register(at::IMMEDIATE_TO)?;
    let value = parts.value(at::IMMEDIATE_VALUE)?;
    Ok(to.zip(value).map(|(to, value)| Expression::Immediate { to, value }))
}

fn fib(parts: &Parts<'_>) -> Result<Option<Expression>, Malformed> {
    let result = parts.number(at::FIB_RESULT)?.map(FibResult::from_number);
    let flags = parts.number(at::FIB_FLAGS)?;
    let to = parts.register(at::FIB_TO)?;
    Ok(match (result, flags, to) {
        (Some(result), Some(flags), Some(to)) => Some(Expression::Fib { result, flags, to }),
        _ => None,
    })
}

fn nat(parts: &Parts<'_>) -> Result<Option<Expression>, Malformed> {
    let kind = match parts.number(at::NAT_KIND)? {
        Some(0) => NatKind::Source,
        Some(1) => NatKind::Destination,
        _ => return Ok(None),
    };
    let address = parts.register(at::NAT_ADDRESS)?;
    let port = parts.register(at::NAT_PORT)?;
    // The kernel gives the ends of ranges also where there is none.
    let same = parts.register(at::NAT_ADDRESS_END)?.is_none_or(|end| Some(end) == address)
        && parts.register(at::NAT_PORT_END)?.is_none_or(|end| Some(end) == port);
    let family = parts.number(at::NAT_FAMILY)?.and_then(|family| u8::try_from(family).ok());
    let flags = parts.number(at::NAT_FLAGS)?.unwrap_or(0) & !NAT_IMPLIED;
    let nat = family.map(|family| Expression::Nat { kind, family, address, port, flags });
    Ok(nat.filter(|_| same))
}

fn masquerade(parts: &Parts<'_>) -> Result<Option<Expression>, Malformed> {
    if parts.has(at::MASQUERADE_PORT)? {
        return Ok(None);
    }
    let flags = parts.number(at::MASQUERADE_FLAGS)?.unwrap_or(0);
    Ok(Some(Expression::Masquerade { flags }))
}

fn redirect(parts: &Parts<'_>) -> Result<Option<Expression>, Malformed> {
    let port = parts.register(at::REDIRECT_PORT)?;
    let same = parts.register(at::REDIRECT_PORT_END)?.is_none_or(|end| Some(end) == port);
    let flags = parts.number(at::REDIRECT_FLAGS)?.unwrap_or(0) & !NAT_IMPLIED;
    Ok(same.then_some(Expression::Redirect { port, flags }))
}

fn counter(parts: &Parts<'_>) -> Result<Option<Expression>, Malformed> {
    let number = |kind| parts.find(kind)?.map(|attribute| attribute.be64()).transpose();
    let (packets, bytes) = (number(at::COUNTER_PACKETS)?, number(at::COUNTER_BYTES)?);
    Ok(packets.zip(bytes).map(|(packets, bytes)| Expression::Counter { packets, bytes }))
}

fn reject(parts: &Parts<'_>) -> Result<Option<Expression>, Malformed> {
    let kind = parts.number(at::REJECT_KIND)?;
    let code = parts.find(at::REJECT_CODE)?.map(|code| code.u8()).transpose()?;
    Ok(kind.map(|kind| Expression::Reject(Reject { kind, code: code.unwrap_or(0) })))
}

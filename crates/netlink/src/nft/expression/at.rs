//! Numbers of the attributes of steps.

pub(in crate::nft) const NAME: u16 = 1;
pub(in crate::nft) const DATA: u16 = 2;

pub(in crate::nft) const DATA_VALUE: u16 = 1;
pub(in crate::nft) const DATA_VERDICT: u16 = 2;
pub(in crate::nft) const VERDICT_CODE: u16 = 1;
pub(in crate::nft) const VERDICT_CHAIN: u16 = 2;

pub(in crate::nft) const META_TO: u16 = 1;
pub(in crate::nft) const META_KEY: u16 = 2;
pub(in crate::nft) const META_FROM: u16 = 3;

pub(in crate::nft) const PAYLOAD_TO: u16 = 1;
pub(in crate::nft) const PAYLOAD_HEADER: u16 = 2;
pub(in crate::nft) const PAYLOAD_OFFSET: u16 = 3;
pub(in crate::nft) const PAYLOAD_LENGTH: u16 = 4;
pub(in crate::nft) const PAYLOAD_FROM: u16 = 5;

pub(in crate::nft) const COMPARE_FROM: u16 = 1;
pub(in crate::nft) const COMPARE_TEST: u16 = 2;
pub(in crate::nft) const COMPARE_WITH: u16 = 3;

pub(in crate::nft) const BITWISE_FROM: u16 = 1;
pub(in crate::nft) const BITWISE_TO: u16 = 2;
pub(in crate::nft) const BITWISE_LENGTH: u16 = 3;
pub(in crate::nft) const BITWISE_MASK: u16 = 4;
pub(in crate::nft) const BITWISE_XOR: u16 = 5;
pub(in crate::nft) const BITWISE_WHAT: u16 = 6;

pub(in crate::nft) const LOOKUP_SET: u16 = 1;
pub(in crate::nft) const LOOKUP_FROM: u16 = 2;
pub(in crate::nft) const LOOKUP_TO: u16 = 3;
pub(in crate::nft) const LOOKUP_FLAGS: u16 = 5;

pub(in crate::nft) const IMMEDIATE_TO: u16 = 1;
pub(in crate::nft) const IMMEDIATE_VALUE: u16 = 2;

pub(in crate::nft) const CT_TO: u16 = 1;
pub(in crate::nft) const CT_KEY: u16 = 2;
pub(in crate::nft) const CT_DIRECTION: u16 = 3;
pub(in crate::nft) const CT_FROM: u16 = 4;

pub(in crate::nft) const FIB_TO: u16 = 1;
pub(in crate::nft) const FIB_RESULT: u16 = 2;
pub(in crate::nft) const FIB_FLAGS: u16 = 3;

pub(in crate::nft) const NAT_KIND: u16 = 1;
pub(in crate::nft) const NAT_FAMILY: u16 = 2;
pub(in crate::nft) const NAT_ADDRESS: u16 = 3;
pub(in crate::nft) const NAT_ADDRESS_END: u16 = 4;
pub(in crate::nft) const NAT_PORT: u16 = 5;
pub(in crate::nft) const NAT_PORT_END: u16 = 6;
pub(in crate::nft) const NAT_FLAGS: u16 = 7;

pub(in crate::nft) const MASQUERADE_FLAGS: u16 = 1;
pub(in crate::nft) const MASQUERADE_PORT: u16 = 2;

pub(in crate::nft) const REDIRECT_PORT: u16 = 1;
pub(in crate::nft) const REDIRECT_PORT_END: u16 = 2;
pub(in crate::nft) const REDIRECT_FLAGS: u16 = 3;

pub(in crate::nft) const COUNTER_BYTES: u16 = 1;
pub(in crate::nft) const COUNTER_PACKETS: u16 = 2;

pub(in crate::nft) const REJECT_KIND: u16 = 1;
pub(in crate::nft) const REJECT_CODE: u16 = 2;

//! The kernel's netlink as values: links, addresses, routes, rules, neighbours, traffic control and nf_tables.
//!
//! ```text
//! wire     bytes: messages and attributes, written by a Writer and read by iterators that believe nothing
//! socket   Batch of requests -> one sendmsg -> answers; lists; the kernel's refusals in words
//! link     address  route  rule  neighbour  traffic     requests to the routing part, and the records it lists
//! conntrack  flows that were seen, to be forgotten
//! nft      transactions of tables, chains, rules, sets and their elements, as nft itself writes them
//! ```
//!
//! A request is data: it says in words what it does (its `Display`, "create veth eth0") and writes itself into a batch. A
//! refusal then reads "cannot create veth eth0: File exists", with what the kernel adds. Drivers compute requests, this
//! crate carries them: it knows no pod, no CNI, and no policy.
//!
//! It has an encoder of its own rather than one of the packages for rtnetlink: nf_tables needs one anyway, and one encoder
//! serves both; theirs allocate for each attribute, send request by request and change with every release. Starting pods
//! fast is what rkt exists for: all requests of a batch go out in one `sendmsg`, and only the last asks for an
//! acknowledgement, so that a batch that succeeds costs two system calls whatever its length.
//!
//! Invariant: whatever arrives is read within its bounds or is an error. A socket stays in the network namespace in which
//! it was opened.

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod address;
pub mod conntrack;
pub mod link;
pub mod neighbour;
pub mod nft;
pub mod route;
pub mod rule;
pub mod socket;
pub mod traffic;
pub mod wire;

pub use rustix::io::Errno;
pub use socket::{Batch, Cause, Dump, Query, Refusal, Reply, Request, RequestError, Socket};

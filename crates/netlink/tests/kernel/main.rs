//! Requests against this kernel, each test in a network namespace of its own, and what `ip`, `tc` and `nft` say of it then.
//! Needs root, iproute2 and nftables.

#[cfg(test)]
mod filter;
#[cfg(test)]
mod flows;
#[cfg(test)]
mod ground;
#[cfg(test)]
mod links;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod sets;
#[cfg(test)]
mod traffic;

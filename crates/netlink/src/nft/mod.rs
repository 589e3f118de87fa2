//! The packet filter, nf_tables.

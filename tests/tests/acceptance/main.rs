//! What a user of the whole program observes, a module for each part of the acceptance list; `ROWS.md` says which test
//! proves which row.

mod absent;
mod apps;
mod client_networks;
mod clients;
mod command_line;
mod configuration;
mod crashes;
mod crowds;
mod dead_neighbours;
mod downloads;
mod end_of_pods;
mod exit_codes;
mod fetching;
mod flavours;
mod given_networks;
mod images;
mod isolation;
mod leases;
mod lifecycle;
mod listing;
mod networks;
mod packet_filters;
mod parity;
mod plugins;
mod ports;
mod rows;
mod shell;
mod volumes;

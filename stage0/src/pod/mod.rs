//! The pods folder: phases, transitions, locks, listing and collection.

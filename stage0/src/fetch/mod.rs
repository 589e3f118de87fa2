//! From an image reference to an image in the store.

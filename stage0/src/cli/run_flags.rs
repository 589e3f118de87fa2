//! The flags that `run`, `prepare` and `run-prepared` share.

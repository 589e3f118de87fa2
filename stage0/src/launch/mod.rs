//! From a prepared pod to its stage1: the last thing that stage0 does.

//! Image to directories: the layers or the tree that a pod mounts.

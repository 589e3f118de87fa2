//! Fills a new pod's folder: stage1, apps, manifest.

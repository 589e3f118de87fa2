//! The networks that are there without a file.

/// Base names and contents, by name.
pub(super) const FILES: [(&str, &str); 2] = [
    (
        "99-default-restricted.conf",
        r#"{
  "cniVersion": "0.1.0",
  "name": "default-restricted",
  "type": "ptp",
  "ipMasq": false,
  "ipam": {
    "type": "host-local",
    "subnet": "172.31.0.0/16"
  }
}
"#,
    ),
    (
        "99-default.conf",
        r#"{
  "cniVersion": "0.1.0",
  "name": "default",
  "type": "ptp",
  "ipMasq": true,
  "ipam": {
    "type": "host-local",
    "subnet": "172.16.28.0/24",
    "routes": [
      { "dst": "0.0.0.0/0" }
    ]
  }
}
"#,
    ),
];

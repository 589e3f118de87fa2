//! A registry that is not ours, on a port of its own, which writes down what it is asked for.

use crate::program::{Running, tool};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

/// A registry of Docker images without a password. Dropped, it ends.
#[derive(Debug)]
pub struct Registry {
    server: Running,
    address: String,
    asked: usize,
}

impl Registry {
    /// Starts one that keeps its images in this folder.
    #[track_caller]
    pub fn start(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let configuration = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '127.0.0.1:0', secret: corpus}}\n",
            folder.join("data").display()
        );
        fs::write(&configuration, text).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "exec docker-registry serve \"$1\" 2>&1", "sh"]).arg(&configuration);
        let server = Running::start(command.env("OTEL_TRACES_EXPORTER", "none"));
        let start = "listening on 127.0.0.1:";
        let said = server.says(start);
        let port: String =
            said.split_once(start).unwrap().1.chars().take_while(char::is_ascii_digit).collect();
        Self { server, address: format!("127.0.0.1:{port}"), asked: 0 }
    }

    /// How `rkt` names an image of it.
    pub fn image(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.address)
    }

    /// Copies an image of an OCI layout into it, byte by byte.
    #[track_caller]
    pub fn push(&self, layout: &Path, tag: &str, name: &str) {
        let from = format!("oci:{}:{tag}", layout.display());
        let flags = ["-q", "--insecure-policy", "--dest-tls-verify=false", "--preserve-digests"];
        tool(&[&["skopeo", "copy"], &flags[..], &[&from, &self.image(name)]].concat());
    }

    /// The digests of the blobs that were sent since this was called last, each as often as it was.
    pub fn sent(&mut self) -> Vec<String> {
        // What it is asked after all that is written down after all that.
        let mark = format!("/v2/?mark={}", self.asked);
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {mark} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        let log = self.server.says(&mark);
        let news = log.get(self.asked..).unwrap();
        self.asked = log.len();
        // The lines of the access log, not those of the server's own.
        news.lines()
            .filter_map(|line| line.split_once("\"GET /v2/")?.1.split_once("/blobs/"))
            .map(|(_, rest)| rest.split([' ', '?']).next().unwrap().to_owned())
            .collect()
    }
}

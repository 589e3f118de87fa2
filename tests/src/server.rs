//! A web server on loopback that answers as the test says, and remembers what it was asked.

use crate::wait::deadline;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// GET or HEAD, or what a client of a proxy says.
    pub method: String,
    /// The path, or for a proxy the whole URL.
    pub path: String,
    /// The headers by lower-case name.
    pub headers: BTreeMap<String, String>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    code: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// How much of the body is sent before the connection breaks off.
    cut: Option<usize>,
}

impl Answer {
    /// A body with status 200.
    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self { code: 200, headers: Vec::new(), body: body.into(), cut: None }
    }

    /// A status without a body.
    pub fn status(code: u16) -> Self {
        Self { code, ..Self::body("") }
    }

    /// With this status.
    #[must_use]
    pub fn code(self, code: u16) -> Self {
        Self { code, ..self }
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Breaks off after so many bytes of the body.
    #[must_use]
    pub fn cut(self, after: usize) -> Self {
        Self { cut: Some(after), ..self }
    }
}

#[derive(Debug, Default)]
struct Log {
    asked: Mutex<Vec<Request>>,
    news: Condvar,
}

/// The server. It ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    log: Arc<Log>,
    over: Arc<AtomicBool>,
}

impl Server {
    /// Starts one that answers so.
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (all, over) = (Arc::<Log>::default(), Arc::<AtomicBool>::default());
        let (log, ends, answer) = (Arc::clone(&all), Arc::clone(&over), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                std::thread::spawn(move || {
                    // A client that goes away in the middle is its own business.
                    drop(serve(stream, &log, &*answer));
                });
            }
        });
        Self { address, log: all, over }
    }

    /// A registry that serves a layout as the repository `NAME`.
    pub fn registry(name: &str, layout: &Path) -> Self {
        let (prefix, layout) = (format!("/v2/{name}/"), layout.to_owned());
        Self::start(move |request| {
            if request.path == "/v2/" {
                return Answer::body("{}");
            }
            let Some(rest) = request.path.strip_prefix(&prefix) else { return Answer::status(404) };
            registry(&layout, rest).unwrap_or_else(|| Answer::status(404))
        })
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Request> {
        self.log.asked.lock().unwrap().clone()
    }

    /// Waits until it was asked so many times.
    pub fn wait_for(&self, count: usize) {
        let asked = self.log.asked.lock().unwrap();
        let few = |asked: &mut Vec<Request>| asked.len() < count;
        let waited = self.log.news.wait_timeout_while(asked, deadline(), few).unwrap();
        assert!(!waited.1.timed_out(), "it is not asked {count} times");
    }

    /// How often it was asked with GET for a path that ends so.
    pub fn count(&self, end: &str) -> usize {
        let asked = self.asked();
        asked.iter().filter(|one| one.method == "GET" && one.path.ends_with(end)).count()
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

fn registry(layout: &Path, rest: &str) -> Option<Answer> {
    let blob = |digest: &str| -> Option<Vec<u8>> {
        let path: PathBuf = layout.join("blobs").join(digest.replace(':', "/"));
        std::fs::read(path).ok()
    };
    if let Some(digest) = rest.strip_prefix("blobs/") {
        return Some(Answer::body(blob(digest)?));
    }
    let reference = rest.strip_prefix("manifests/")?;
    let index = std::fs::read_to_string(layout.join("index.json")).ok()?;
    let index: serde_json::Value = serde_json::from_str(&index).ok()?;
    let found = index["manifests"].as_array()?.iter().find(|one| {
        one["digest"] == reference
            || one["annotations"]["org.opencontainers.image.ref.name"] == reference
    })?;
    let digest = found["digest"].as_str()?;
    let answer = Answer::body(blob(digest)?).header("docker-content-digest", digest);
    Some(answer.header("content-type", found["mediaType"].as_str()?))
}

fn serve(
    mut stream: TcpStream,
    log: &Log,
    answer: &dyn Fn(&Request) -> Answer,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = read(&mut reader)?;
    if request.method == "CONNECT" {
        // A proxy's client: what comes now is meant for that host, and is answered here all the same.
        let host = request.path;
        stream.write_all(b"HTTP/1.1 200 x\r\n\r\n")?;
        request = read(&mut reader)?;
        request.path = format!("http://{host}{}", request.path);
    }
    log.asked.lock().unwrap().push(request.clone());
    log.news.notify_all();
    let answer = answer(&request);
    let length = answer.body.len();
    let mut head =
        format!("HTTP/1.1 {} x\r\nconnection: close\r\ncontent-length: {length}", answer.code);
    for (name, value) in &answer.headers {
        head.extend(["\r\n", name, ": ", value]);
    }
    head.push_str("\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    if request.method != "HEAD" {
        stream.write_all(&answer.body[..answer.cut.unwrap_or(length)])?;
    }
    stream.flush()
}

fn read(reader: &mut impl BufRead) -> std::io::Result<Request> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let (method, path) = (word(), word());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    Ok(Request { method, path, headers })
}

//! A web server on loopback that does what a test tells it, however bad.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
    /// How often this path was asked for before.
    pub(super) before: usize,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first byte that is wanted.
    pub(super) fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.trim_end_matches('-').parse().ok()
    }
}

/// How a body comes.
pub(super) enum Body {
    Whole(Vec<u8>),
    /// Without a length, ended by closing the connection.
    Bare(Vec<u8>),
    /// Some of it, with this length, and the end.
    Cut(Vec<u8>, u64),
    /// Some of it, with this length, and silence.
    Stall(Vec<u8>, u64),
    /// A byte now and then.
    Drip(Vec<u8>),
    /// Zeros without end.
    Endless,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: Body::Whole(body.into()) }
    }

    pub(super) fn of(body: Body) -> Self {
        Self { body, ..Self::new(200, "") }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

/// Ends with the value.
pub(super) struct Server {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    log: Arc<Mutex<Vec<Asked>>>,
    listener: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (stopped, log) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()));
        let handler: Arc<Handler> = Arc::new(handler);
        let shared = (Arc::clone(&stopped), Arc::clone(&log));
        let listener = std::thread::spawn(move || {
            for stream in socket.incoming() {
                if shared.0.load(Ordering::Relaxed) {
                    break;
                }
                let (stopped, log) = (Arc::clone(&shared.0), Arc::clone(&shared.1));
                let handler = Arc::clone(&handler);
                // A client that hangs up is what most tests are about.
                std::thread::spawn(move || drop(serve(stream.unwrap(), &stopped, &log, &*handler)));
            }
        });
        Self { address, stopped, log, listener: Some(listener) }
    }

    pub(super) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What was asked for so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    /// How often something that ends so was asked for from its first byte on.
    pub(super) fn count(&self, end: &str) -> usize {
        let wanted = |asked: &&Asked| asked.path.ends_with(end) && asked.from().is_none();
        self.asked().iter().filter(wanted).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        if let Some(listener) = self.listener.take() {
            drop(listener.join());
        }
    }
}

fn serve(
    stream: TcpStream,
    stopped: &AtomicBool,
    log: &Mutex<Vec<Asked>>,
    handler: &Handler,
) -> std::io::Result<()> {
    let mut from = BufReader::new(stream.try_clone()?);
    let mut to = stream;
    if from.fill_buf()?.first() == Some(&0x16) {
        return to.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
    }
    let mut line = String::new();
    from.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        from.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let asked = {
        let mut log = log.lock().unwrap();
        let before = log.iter().filter(|earlier| earlier.path == path).count();
        log.push(Asked { path, headers, before });
        log.last().unwrap().clone()
    };
    let answer = handler(&asked);
    let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head = format!("{head}{name}: {value}\r\n");
    }
    let length = match &answer.body {
        Body::Whole(body) | Body::Drip(body) => Some(body.len() as u64),
        Body::Cut(_, length) | Body::Stall(_, length) => Some(*length),
        Body::Bare(_) | Body::Endless => None,
    };
    if let Some(length) = length.filter(|_| answer.status != 304) {
        head = format!("{head}Content-Length: {length}\r\n");
    }
    head.push_str("\r\n");
    to.write_all(head.as_bytes())?;
    send(&mut to, answer.body, stopped)
}

fn send(to: &mut TcpStream, body: Body, stopped: &AtomicBool) -> std::io::Result<()> {
    // Nothing here lives longer than any test may.
    let end = Instant::now() + Duration::from_secs(30);
    let goes_on = || !stopped.load(Ordering::Relaxed) && Instant::now() < end;
    let wait = || crate::fetch::http::pause(Duration::from_millis(20));
    match body {
        Body::Whole(body) | Body::Bare(body) | Body::Cut(body, _) => to.write_all(&body),
        Body::Stall(body, _) => {
            to.write_all(&body)?;
            while goes_on() {
                wait();
            }
            Ok(())
        }
        Body::Drip(body) => {
            for byte in body {
                if !goes_on() {
                    break;
                }
                to.write_all(&[byte])?;
                wait();
            }
            Ok(())
        }
        Body::Endless => {
            while goes_on() {
                to.write_all(&[0; 1 << 13])?;
            }
            Ok(())
        }
    }
}

//! `rkt fetch` as it is typed: what stands on stdout and on stderr, and with which code it ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A folder that goes away with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rkt-fetch-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    /// Runs `rkt fetch` with these words: stdout, stderr without what depends on the machine, and the code.
    fn fetch(&self, words: &[&str]) -> (String, String, Option<i32>) {
        let dir = format!("--dir={}", self.0.join("data").display());
        let output = Command::new(env!("CARGO_BIN_EXE_rkt"))
            .args([dir.as_str(), "fetch"])
            .args(words)
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .expect("rkt starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let stderr = text(&output.stderr);
        let lines = stderr.lines().filter(|line| !line.contains("group \"rkt\" not found"));
        (text(&output.stdout), lines.flat_map(|line| [line, "\n"]).collect(), output.status.code())
    }

    fn aci(&self, name: &str) -> String {
        let path = self.0.join(format!("{name}.aci"));
        std::fs::write(&path, aci(name)).expect("space");
        path.to_str().expect("a path of text").to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn aci(name: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let manifest = format!(
        r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/{name}",
            "labels":[{{"name":"os","value":"linux"}},{{"name":"arch","value":"amd64"}}]}}"#
    );
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(manifest.len() as u64);
    tar.append_data(&mut header, "manifest", manifest.as_bytes()).expect("memory takes it");
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    tar.append_data(&mut header, "rootfs", &[][..]).expect("memory takes it");
    tar.into_inner().expect("memory takes it")
}

#[test]
fn ids_come_in_order_and_only_when_all_is_well() {
    let place = Place::new("order");
    let (a, b) = (place.aci("a"), place.aci("b"));
    let insecure = "--insecure-options=image";
    let (both, stderr, code) = place.fetch(&[insecure, "--full", &b, &a]);
    assert_eq!((stderr.as_str(), code), ("", Some(0)));
    let ids: Vec<&str> = both.lines().collect();
    assert!(ids.iter().all(|id| id.len() == "sha512-".len() + 64), "{both}");
    let (short, _, _) = place.fetch(&[insecure, &a]);
    let [_, of_a] = ids[..] else { panic!("{both}") };
    assert_eq!(short, format!("{}\n", &of_a[.."sha512-".len() + 32]));
    let missing = format!("{a}x");
    let (stdout, stderr, code) = place.fetch(&[insecure, &a, &missing]);
    let message = format!("fetch: open {missing}: no such file or directory\n");
    assert_eq!((stdout.as_str(), stderr, code), ("", message, Some(254)));
    let (stdout, stderr, _) = place.fetch(&[insecure, "--debug", &a]);
    assert_eq!((stdout, stderr), (short, format!("image: using image from file {a}\n")));
}

#[test]
fn mistakes_are_told_in_one_line() {
    let place = Place::new("mistakes");
    let a = place.aci("a");
    let docker = "signature verification for docker images is not supported \
                  (try --insecure-options=image)";
    let never = "unable to fetch image from image name \"example.com/a\": either image was not found in the store or \
                 store was disabled and fetching from remote yielded nothing or it was disabled";
    let (store_only, no_store) = (
        "Flag --store-only has been deprecated, please use --pull-policy=never\n",
        "Flag --no-store has been deprecated, please use --pull-policy=update\n",
    );
    for (words, notices, message) in [
        (&[][..], String::new(), "must provide at least one image"),
        (&["docker://localhost:1/x"], String::new(), docker),
        (&["http://localhost:1/x"], String::new(), "invalid image string \"http://localhost:1/x\""),
        (&["--pull-policy=never", "example.com/a"], String::new(), never),
        (&["--store-only", "example.com/a"], store_only.to_owned(), never),
        (
            &["--store-only", "--no-store", "example.com/a"],
            format!("{store_only}{no_store}"),
            "both --store-only and --no-store specified",
        ),
        (
            &["--insecure-options=image", "https://127.0.0.1:1/x.aci"],
            String::new(),
            "Get \"https://127.0.0.1:1/x.aci\": connect: connection refused",
        ),
        (
            &[&a, "--signature=/nonexistent"],
            String::new(),
            "open /nonexistent: no such file or directory (try --insecure-options=image)",
        ),
    ] {
        let (stdout, stderr, code) = place.fetch(words);
        assert_eq!(
            (stderr, code),
            (format!("{notices}fetch: {message}\n"), Some(254)),
            "{words:?}"
        );
        assert_eq!(stdout, "");
    }
    let (_, stderr, code) = place.fetch(&["--pull-policy=maybe", &a]);
    assert!(stderr.contains("\"maybe\" is not one of new, update, never"), "{stderr}");
    assert_eq!(code, Some(254));
}

#[test]
fn downloads_are_told_in_lines_where_there_is_no_terminal() {
    let place = Place::new("lines");
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a.aci", socket.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = socket.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
        let body = aci("a");
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
        stream.write_all(&body).unwrap();
        body.len()
    });
    let (stdout, stderr, code) = place.fetch(&["--insecure-options=image,http", &url]);
    // Had nobody asked, the server would still wait.
    drop(std::net::TcpStream::connect(
        url.trim_start_matches("http://").trim_end_matches("/a.aci"),
    ));
    let size = u32::try_from(server.join().unwrap()).unwrap();
    let size = format!("{:.2} KB", f64::from(size) / 1000.0);
    let wanted = format!("Downloading ACI:  0 B/{size}\nDownloading ACI:  {size}/{size}\n\n");
    assert_eq!((stderr, code), (wanted, Some(0)));
    assert!(stdout.starts_with("sha512-"));
}

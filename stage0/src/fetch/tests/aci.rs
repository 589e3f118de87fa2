//! App Container Images from web servers.

use super::server::{Answer, Asked, Body, Server};
use super::*;
use crate::store::tests::samples::{aci_bytes, manifest};

fn image() -> Vec<u8> {
    let noise: String =
        (0..200_000_u32).map(|n| char::from(b'a' + (n.wrapping_mul(n) % 23) as u8)).collect();
    aci_bytes(&manifest("example.com/a", "1"), &[("file", &noise)])
}

fn text(server: &Server) -> String {
    format!("http://{}/a.aci", server.host())
}

#[test]
fn the_store_is_asked_as_the_policy_says() {
    let server = Server::start(|_| Answer::new(200, image()));
    let place = Place::new("fetch-url-policy");
    let store = place.store();
    let text = text(&server);
    let by = |policy| fetch_as(&store, CARELESS, policy, &text);
    let never = by(PullPolicy::Never).unwrap_err();
    assert!(innermost(&never).starts_with("unable to fetch image from URL \"http://"), "{never}");
    assert_eq!(server.count("a.aci"), 0);
    let id = by(PullPolicy::New).unwrap();
    for (policy, requests) in
        [(PullPolicy::New, 1), (PullPolicy::Never, 1), (PullPolicy::Update, 2)]
    {
        assert_eq!(by(policy).unwrap(), id);
        assert_eq!(server.count("a.aci"), requests, "{policy:?}");
    }
    let asked = server.asked();
    let agent = asked.first().unwrap().header("user-agent").unwrap().to_owned();
    assert_eq!(agent, format!("rkt/{}", crate::VERSION));
}

#[test]
fn servers_may_say_that_nothing_has_changed() {
    let server = Server::start(|asked| match asked.header("if-none-match") {
        Some("\"one\"") => Answer::new(304, "").with("cache-control", "max-age=1000"),
        Some(other) => Answer::new(500, other),
        None => Answer::new(200, image()).with("etag", "\"one\""),
    });
    let place = Place::new("fetch-etag");
    let store = place.store();
    let id = fetch(&store, &text(&server)).unwrap();
    for _ in 0..3 {
        assert_eq!(fetch(&store, &text(&server)).unwrap(), id);
    }
    // The second answer holds for a while.
    assert_eq!(server.count("a.aci"), 2);
}

#[test]
fn transfers_are_resumed_only_within_one_state() {
    let cut = |asked: &Asked, second: &'static str| {
        let bytes = image();
        match asked.from() {
            None => {
                let half = bytes[..bytes.len() / 2].to_vec();
                Answer::of(Body::Cut(half, bytes.len() as u64)).with("etag", "\"one\"")
            }
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                Answer::new(206, &bytes[from..]).with("content-range", range).with("etag", second)
            }
        }
    };
    let place = Place::new("fetch-url-resume");
    let server = Server::start(move |asked| cut(asked, "\"two\""));
    let error = fetch(&place.store(), &text(&server)).unwrap_err();
    assert_eq!(
        innermost(&error),
        format!("Get {:?}: the server closed the connection", text(&server))
    );
    let server = Server::start(move |asked| cut(asked, "\"one\""));
    let id = fetch(&place.store(), &text(&server)).unwrap();
    assert_eq!(server.asked().last().unwrap().header("if-range"), Some("\"one\""));
    assert!(place.store().has(&id).unwrap());
}

#[test]
fn the_next_fetch_goes_on_where_the_last_one_broke_off() {
    for (ranges, validator) in [
        (true, ("etag", "\"one\"")),
        (true, ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")),
        (false, ("etag", "\"one\"")),
    ] {
        let whole = image();
        let half = whole.len() / 2;
        let server = Server::start(move |asked| {
            let answer = match (asked.before, asked.from()) {
                (0, _) => {
                    let first = whole.get(..half).unwrap().to_vec();
                    Answer::of(Body::Cut(first, whole.len() as u64))
                }
                // The same process may not go on.
                (1, _) => Answer::new(500, ""),
                (_, Some(from)) if ranges => {
                    let range = format!("bytes {from}-{}/{}", whole.len() - 1, whole.len());
                    let rest = whole.get(from..).unwrap();
                    Answer::new(206, rest).with("content-range", range)
                }
                _ => Answer::new(200, whole.clone()),
            };
            answer.with(validator.0, validator.1)
        });
        let place = Place::new("fetch-url-partial");
        let store = place.store();
        fetch(&store, &text(&server)).unwrap_err();
        let id = fetch(&store, &text(&server)).unwrap();
        let asked = server.asked();
        let last = asked.last().unwrap();
        assert_eq!((asked.len(), last.from()), (3, Some(half)));
        assert_eq!(last.header("if-range"), Some(validator.1));
        assert!(place.names("cas/tmp").is_empty());
        let direct = crate::store::tests::samples::import(&store, &image());
        assert_eq!(id, direct);
    }
}

#[test]
fn bytes_that_somebody_else_left_are_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let whole = image();
    let half = whole.len() / 2;
    let server = Server::start(move |asked| {
        let length = whole.len() as u64;
        match asked.before % 2 {
            0 => Answer::of(Body::Cut(whole.get(..half).unwrap().to_vec(), length)),
            _ => Answer::new(500, ""),
        }
        .with("etag", "\"one\"")
    });
    let place = Place::new("fetch-url-planted");
    let store = place.store();
    fetch(&store, &text(&server)).unwrap_err();
    let names = place.names("cas/tmp");
    let [name] = &names[..] else { panic!("{names:?}") };
    let path = place.0.join("cas/tmp").join(name);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660)).unwrap();
    fetch(&store, &text(&server)).unwrap_err();
    assert!(server.asked().get(2).unwrap().from().is_none());
    // Bytes of another URL, even of the same user, are none of this one.
    let other = text(&server).replace("a.aci", "b.aci");
    fetch(&store, &other).unwrap_err();
    let [ours, theirs] = [text(&server), other].map(|url| {
        let hash = crate::store::hex(&<sha2::Sha256 as sha2::Digest>::digest(url.as_bytes()));
        place.0.join(format!("cas/tmp/partial-{hash}"))
    });
    std::fs::rename(theirs, ours).unwrap();
    let before = server.asked().len();
    fetch(&store, &text(&server)).unwrap_err();
    assert!(server.asked().get(before).unwrap().from().is_none());
}

#[test]
fn bad_servers_cost_little() {
    let huge = || Answer::of(Body::Cut(Vec::new(), 1 << 60));
    let place = Place::new("fetch-bad-servers");
    let whole = image();
    let cut = whole[..whole.len() / 2].to_vec();
    let length = whole.len() as u64;
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/missing.aci" => Answer::new(404, ""),
        "/huge.aci" => huge(),
        "/endless.aci" => Answer::of(Body::Endless),
        "/loop.aci" => Answer::new(302, "").with("location", "/loop.aci"),
        "/file.aci" => Answer::new(302, "").with("location", "file:///etc/shadow"),
        "/cloud.aci" => Answer::new(302, "").with("location", "http://169.254.169.254/"),
        "/cut.aci" => Answer::of(Body::Cut(cut.clone(), length)),
        "/bare.aci" => Answer::of(Body::Bare(cut.clone())),
        "/stall.aci" => Answer::of(Body::Stall(cut.clone(), length)),
        "/drip.aci" => Answer::of(Body::Drip(whole.clone())),
        "/unchanged.aci" => Answer::new(304, ""),
        "/busy.aci" => Answer::new(429, "").with("retry-after", "3600"),
        _ => Answer::new(200, "no image"),
    });
    for (name, reason) in [
        ("missing", "bad HTTP status code: 404"),
        ("huge", "image is larger than 34359738368 bytes"),
        // Zeros are an empty archive.
        ("endless", "followed by more than 64 MiB"),
        ("loop", "stopped after 10 redirects"),
        ("file", "neither an http nor an https URL"),
        ("cloud", "link-local"),
        ("cut", "the server closed the connection"),
        ("bare", "the archive is cut off"),
        ("stall", "nothing came for"),
        ("drip", "sends less than 8192 bytes"),
        ("unchanged", "bad HTTP status code: 304"),
        ("busy", "bad HTTP status code: 429"),
        ("other", "the archive is cut off"),
    ] {
        refused(&place, &format!("http://{}/{name}.aci", server.host()), reason);
    }
    let port = server.port();
    drop(server);
    refused(&place, &format!("http://127.0.0.1:{port}/a.aci"), "connect: connection refused");
}

#[test]
fn plain_http_and_missing_signatures_are_refused() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/a.aci.asc?x" => Answer::new(200, "signature"),
        _ => Answer::new(404, ""),
    });
    let place = Place::new("fetch-url-careful");
    let store = place.store();
    let http = Insecure { http: true, ..Insecure::default() };
    for (insecure, end, message) in [
        (Insecure { image: true, ..Insecure::default() }, "", "plain http is not allowed"),
        (http, "", "bad HTTP status code: 404"),
        (http, "?x", "signatures cannot be verified yet"),
    ] {
        let text = format!("{}{end}", text(&server));
        let error = fetch_as(&store, insecure, PullPolicy::Update, &text).unwrap_err();
        assert!(innermost(&error).contains(message), "{error}");
    }
    assert_eq!(server.count("a.aci"), 0);
}

#[test]
fn one_image_is_downloaded_once_however_many_want_it() {
    let server = Server::start(|_| {
        super::super::http::pause(std::time::Duration::from_millis(200));
        Answer::new(200, image())
    });
    let place = Place::new("fetch-url-parallel");
    drop(place.store());
    let text = text(&server);
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| fetch(&place.store(), &text).unwrap());
        }
    });
    assert_eq!(server.count("a.aci"), 1);
}

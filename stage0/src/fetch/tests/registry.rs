//! Images from registries.

use super::server::{Answer, Asked, Body, Server};
use super::*;
use oci::media;

/// A registry that has one image, under every name. What `fault` answers comes instead.
fn registry(oci: &Oci, fault: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Server {
    let (manifest, blobs) = (oci.manifest.clone(), oci.blobs.clone());
    Server::start(move |asked| {
        if let Some(answer) = fault(asked) {
            return answer;
        }
        match asked.path.rsplit_once('/') {
            Some((start, _)) if start.ends_with("/manifests") => {
                Answer::new(200, manifest.clone()).with("content-type", media::MANIFEST)
            }
            Some((start, digest)) if start.ends_with("/blobs") => match blobs.get(digest) {
                Some(blob) => Answer::new(200, blob.clone()),
                None => Answer::new(404, ""),
            },
            _ => Answer::new(200, "{}"),
        }
    })
}

/// Two layers that do not shrink much.
fn image() -> Oci {
    let noise: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    Oci::new(&[&[("a", &noise)], &[("b", b"small")]])
}

fn text(server: &Server, rest: &str) -> String {
    format!("docker://{}/{rest}", server.host())
}

/// The blob of the large layer.
fn large(oci: &Oci) -> (String, Vec<u8>) {
    let digest = oci.layers.first().unwrap().clone();
    let blob = oci.blobs.get(&digest).unwrap().clone();
    (digest, blob)
}

#[test]
fn only_what_is_missing_is_transferred() {
    let first = image();
    let server = registry(&first, |_| None);
    let place = Place::new("fetch-registry");
    let store = place.store();
    let id = fetch(&store, &text(&server, "a/b:1")).unwrap();
    let found = store.image(&id).unwrap();
    let name = server.host().replace(':', "_");
    assert_eq!(found.shown_name(), format!("{name}/a/b:1"));
    assert_eq!(fetch(&store, &text(&server, "a/b:1")).unwrap(), id);
    for blob in first.blobs.keys() {
        assert_eq!(server.count(blob), 1, "{blob}");
    }
    // The manifest's own digest leads to the same, any other to nothing.
    let digest = oci::Digest::of(&first.manifest);
    assert_eq!(fetch(&store, &text(&server, &format!("a/b@{digest}"))).unwrap(), id);
    let other = oci::Digest::of(b"other");
    let error = fetch(&store, &text(&server, &format!("a/b@{other}"))).unwrap_err();
    assert!(innermost(&error).contains("was asked for"), "{error}");
    // Another image on the same base.
    let noise: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let second = Oci::new(&[&[("a", &noise)], &[("b", b"changed")]]);
    let server = registry(&second, |_| None);
    assert_ne!(fetch(&store, &text(&server, "a/b:2")).unwrap(), id);
    assert_eq!(server.count(&large(&second).0), 0);
}

#[test]
fn policies_and_options_are_kept_to() {
    let server = registry(&image(), |_| None);
    let place = Place::new("fetch-registry-policy");
    let store = place.store();
    let text = text(&server, "a:1");
    let careful = Insecure { http: true, ..Insecure::default() };
    let by = |insecure, policy| fetch_as(&store, insecure, policy, &text);
    assert_eq!(
        by(careful, PullPolicy::New).unwrap_err().to_string(),
        "signature verification for docker images is not supported (try --insecure-options=image)"
    );
    assert!(matches!(by(CARELESS, PullPolicy::Never), Err(FetchError::Unable(_))));
    let plain = by(Insecure { image: true, ..Insecure::default() }, PullPolicy::New).unwrap_err();
    assert_eq!(plain.hint(), Some("try --insecure-options=http"));
    assert!(server.asked().is_empty());
    let id = by(CARELESS, PullPolicy::New).unwrap();
    let requests = server.asked().len();
    assert_eq!(by(careful, PullPolicy::New).unwrap(), id);
    assert_eq!(by(careful, PullPolicy::Never).unwrap(), id);
    assert_eq!(server.asked().len(), requests);
}

#[test]
fn the_image_for_this_machine_is_chosen() {
    let oci = image();
    let host = oci::Platform::host();
    let (digest, size) = (oci::Digest::of(&oci.manifest), oci.manifest.len());
    let index = move |architecture: &str| {
        format!(
            r#"{{"schemaVersion":2,"manifests":[
                {{"mediaType":"{kind}","digest":"{absent}","size":1,
                  "platform":{{"os":"unknown","architecture":"unknown"}}}},
                {{"mediaType":"{kind}","digest":"{digest}","size":{size},
                  "platform":{{"os":"linux","architecture":"{architecture}"}}}}]}}"#,
            kind = media::MANIFEST,
            absent = oci::Digest::of(b"absent"),
        )
    };
    let server = registry(&oci, move |asked| {
        let index = match asked.path.rsplit_once('/')?.1 {
            "mine" => index(&host.architecture),
            "other" => index("vax"),
            "unknown" => index(&host.architecture).replace("sha256", "sha256-new"),
            _ => return None,
        };
        Some(Answer::new(200, index).with("content-type", media::DOCKER_LIST))
    });
    let place = Place::new("fetch-index");
    refused(&place, &text(&server, "a:other"), "only for: linux/vax");
    refused(&place, &text(&server, "a:unknown"), "only sha256 and sha512 are known");
    assert!(server.asked().iter().all(|asked| !asked.path.contains("sha256-new")));
    let id = fetch(&place.store(), &text(&server, "a:mine")).unwrap();
    assert_eq!(fetch(&place.store(), &text(&server, "a:latest")).unwrap(), id);
    assert!(server.asked().iter().any(|asked| {
        asked.header("accept").is_some_and(|types| media::ACCEPT.iter().any(|t| types.contains(t)))
    }));
}

#[test]
fn tokens_are_got_once_and_stay_with_their_server() {
    let oci = image();
    let (digest, blob) = large(&oci);
    let store_blob = blob.clone();
    let elsewhere = Server::start(move |_| Answer::new(200, store_blob.clone()));
    let location = format!("http://localhost:{}/blob", elsewhere.port());
    let issuer = Server::start(|asked| match asked.path.as_str() {
        "/token?service=s%20x&scope=repository:a/b:pull,push" => {
            Answer::new(200, r#"{"access_token":"secret"}"#)
        }
        other => Answer::new(403, other),
    });
    let challenge = format!(
        r#"Bearer realm="http://{}/token",service="s x",scope="repository:a/b:pull,push""#,
        issuer.host()
    );
    let server = registry(&oci, move |asked| match asked.header("authorization") {
        _ if asked.path == "/v2/" => None,
        Some("Bearer secret") if asked.path.ends_with(&digest) => {
            Some(Answer::new(307, "").with("location", location.clone()))
        }
        Some("Bearer secret") => None,
        _ => Some(Answer::new(401, "{}").with("www-authenticate", challenge.clone())),
    });
    let place = Place::new("fetch-token");
    fetch(&place.store(), &text(&server, "a/b:1")).unwrap();
    assert_eq!(issuer.asked().len(), 1);
    assert_eq!(elsewhere.asked().len(), 1);
    assert!(elsewhere.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[test]
fn refusals_say_what_is_wanted() {
    let oci = image();
    let place = Place::new("fetch-refusals");
    for (challenge, reason) in [
        ("Basic realm=\"x\"", "asks for a user name and a password"),
        ("Negotiate", "credentials of an unknown kind"),
        ("Bearer realm=\"file:///etc/passwd\"", "credentials of an unknown kind"),
        ("Bearer realm=\"REALM\"", "access to a/b is denied"),
    ] {
        let issuer = Server::start(|_| Answer::new(200, r#"{"token":"useless"}"#));
        let challenge = challenge.replace("REALM", &format!("http://{}/", issuer.host()));
        let server = registry(&oci, move |asked| {
            (asked.path != "/v2/")
                .then(|| Answer::new(401, "{}").with("www-authenticate", challenge.clone()))
        });
        refused(&place, &text(&server, "a/b:1"), reason);
    }
    let server = registry(&oci, |asked| {
        let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        asked.path.contains("/manifests/").then(|| Answer::new(404, body))
    });
    refused(&place, &text(&server, "a"), "bad HTTP status code: 404 (manifest unknown)");
}

#[test]
fn broken_transfers_are_resumed() {
    let oci = image();
    let (digest, blob) = large(&oci);
    for ranges in [true, false] {
        let (digest, blob) = (digest.clone(), blob.clone());
        let name = digest.clone();
        let server = registry(&oci, move |asked| {
            let size = blob.len();
            if !asked.path.ends_with(&digest) || asked.before >= 3 {
                return None;
            }
            // Each time a little more of it comes.
            let from = asked.from().filter(|_| ranges).unwrap_or_default();
            let to = (asked.before + 1) * size / 5;
            let part = blob.get(from..to).unwrap().to_vec();
            let promised = (size - from) as u64;
            let answer = Answer::of(Body::Cut(part, promised));
            Some(if from > 0 {
                let range = format!("bytes {from}-{}/{size}", size - 1);
                Answer { status: 206, ..answer.with("content-range", range) }
            } else {
                answer
            })
        });
        let place = Place::new("fetch-resume");
        fetch(&place.store(), &text(&server, "a:1")).unwrap();
        let all = server.asked();
        assert_eq!(all.iter().filter(|asked| asked.path.ends_with(&name)).count(), 4);
    }
}

/// What a registry with some fault answers, if that is not what any would.
fn bad_manifest(fault: &str, manifest: &[u8]) -> Option<Answer> {
    match fault {
        "type" => Some(Answer::new(200, manifest).with("content-type", media::INDEX)),
        "large" => Some(Answer::of(Body::Cut(Vec::new(), 64 << 20))),
        "flood" => Some(Answer::of(Body::Endless)),
        _ => None,
    }
}

fn bad_blob(fault: &str, asked: &Asked, blob: &[u8]) -> Option<Answer> {
    let (half, length) = (blob.get(..blob.len() / 2).unwrap().to_vec(), blob.len() as u64);
    let longer = [blob, b"and more"].concat();
    let part = |range: String, bytes: Vec<u8>| {
        Answer::new(206, bytes).with("content-range", format!("bytes {range}/{length}"))
    };
    Some(match (fault, asked.from()) {
        ("missing", _) => Answer::new(404, ""),
        ("cut", _) | ("range" | "elsewhere", None) => Answer::of(Body::Cut(half, length)),
        ("range", Some(from)) => part(format!("{from}-{}", length - 1), vec![0; blob.len() - from]),
        ("elsewhere", Some(_)) => part("0-9".to_owned(), vec![0; 10]),
        ("bare", _) => Answer::of(Body::Bare(half)),
        ("longer", _) => Answer::of(Body::Bare(longer)),
        ("announced", _) => Answer::new(200, longer),
        ("endless", _) => Answer::of(Body::Endless),
        ("stall", _) => Answer::of(Body::Stall(half, length)),
        ("drip", _) => Answer::of(Body::Drip(blob.to_vec())),
        ("flip", _) => {
            let mut bytes = blob.to_vec();
            *bytes.get_mut(blob.len() / 2).unwrap() ^= 1;
            Answer::new(200, bytes)
        }
        ("loop", _) => Answer::new(307, "").with("location", asked.path.clone()),
        ("file", _) => Answer::new(307, "").with("location", "file:///etc/shadow"),
        _ => return None,
    })
}

#[test]
fn bad_registries_cost_little() {
    let oci = image();
    let (digest, blob) = large(&oci);
    let place = Place::new("fetch-bad-registries");
    let manifest = oci.manifest.clone();
    let server = registry(&oci, move |asked| {
        let fault = asked.path.split('/').nth(2)?;
        if asked.path.contains("/manifests/") {
            bad_manifest(fault, &manifest)
        } else if asked.path.ends_with(&digest) {
            bad_blob(fault, asked, &blob)
        } else {
            None
        }
    });
    for (fault, reason) in [
        ("type", "which is not \"application/vnd.oci.image.index"),
        ("large", "manifest is larger than 4194304 bytes"),
        ("flood", "manifest is larger than 4194304 bytes"),
        ("missing", "bad HTTP status code: 404"),
        ("cut", "the server closed the connection"),
        ("bare", "the transfer ended after"),
        ("longer", "bytes instead of"),
        ("announced", "bytes instead of"),
        ("endless", "bytes instead of"),
        ("stall", "nothing came for"),
        ("drip", "sends less than 8192 bytes"),
        ("flip", "was asked for"),
        ("range", "was asked for"),
        ("elsewhere", "another range of bytes"),
        ("loop", "stopped after 10 redirects"),
        ("file", "neither an http nor an https URL"),
    ] {
        refused(&place, &text(&server, &format!("{fault}:1")), reason);
    }
}

#[test]
fn a_busy_registry_is_waited_for() {
    let server = registry(&image(), |asked| {
        (asked.before < 2 && asked.path != "/v2/")
            .then(|| Answer::new(429, "{}").with("retry-after", "0"))
    });
    let place = Place::new("fetch-busy");
    fetch(&place.store(), &text(&server, "a:1")).unwrap();
}

#[test]
fn one_layer_is_transferred_once_however_many_want_it() {
    let oci = image();
    let server = registry(&oci, |_| None);
    let place = Place::new("fetch-parallel");
    drop(place.store());
    let text = text(&server, "a:1");
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| fetch(&place.store(), &text).unwrap());
        }
    });
    for layer in &oci.layers {
        assert_eq!(server.count(layer), 1, "{layer}");
    }
}

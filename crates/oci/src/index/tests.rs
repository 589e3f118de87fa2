use super::*;
use crate::media;
use std::collections::BTreeMap;

fn platform(text: &str) -> Platform {
    let mut words = text.split('/').map(str::to_owned);
    let mut word = || words.next().unwrap_or_default();
    Platform { os: word(), architecture: word(), variant: word() }
}

/// An entry for a platform, or for none if that is empty.
fn entry(kind: &str, on: &str, bytes: &[u8]) -> String {
    let on = match platform(on) {
        none if none.os.is_empty() => String::new(),
        Platform { os, architecture, variant } => format!(
            r#","platform":{{"os":"{os}","architecture":"{architecture}","variant":"{variant}"}}"#
        ),
    };
    let (digest, size) = (Digest::of(bytes), bytes.len());
    format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}{on}}}"#)
}

fn text(entries: &[String]) -> String {
    let all = entries.join(",");
    format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{all}]}}"#, media::INDEX)
}

fn index(entries: &[String]) -> Index {
    Index::from_json(text(entries).as_bytes()).unwrap()
}

/// An index of manifests for these platforms; which is chosen is told by its number.
fn offers(platforms: &[&str]) -> Index {
    let entry =
        |(number, on): (usize, &&str)| entry(media::MANIFEST, on, number.to_string().as_bytes());
    index(&platforms.iter().enumerate().map(entry).collect::<Vec<_>>())
}

#[test]
fn the_first_entry_that_fits_is_chosen() {
    for (offered, wanted, number) in [
        (&["linux/arm64", "linux/amd64"][..], "linux/amd64/v3", Some(1)),
        // The publisher's order counts, not the closest variant.
        (&["linux/amd64", "linux/amd64/v2", "linux/amd64/v3"], "linux/amd64/v3", Some(0)),
        (&["linux/amd64/v4", "linux/amd64/v3", "linux/amd64"], "linux/amd64/v3", Some(1)),
        (&["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"], "linux/arm/v6", Some(1)),
        (&["linux/arm64"], "linux/arm64/v8", Some(0)),
        (&["linux/arm64/v8"], "linux/arm64", Some(0)),
        (&["unknown/unknown", "linux/amd64"], "linux/amd64/v1", Some(1)),
        (&["unknown/unknown"], "linux/amd64/v1", None),
        (&["windows/amd64"], "linux/amd64/v1", None),
        (&["linux/386"], "linux/amd64/v1", None),
        (&[], "linux/amd64/v1", None),
        // An entry that says nothing comes after all that do.
        (&["", "linux/amd64"], "linux/amd64/v1", Some(1)),
        (&["linux/s390x", ""], "linux/amd64/v1", Some(1)),
    ] {
        let index = offers(offered);
        let found = choose(&index, &platform(wanted)).ok().map(|found| found.digest.clone());
        let number = number.map(|number: usize| Digest::of(number.to_string().as_bytes()));
        assert_eq!(found, number, "{wanted} of {offered:?}");
    }
}

#[test]
fn entries_of_unknown_types_are_passed_over() {
    let index = index(&[
        entry("application/vnd.example", "linux/amd64", b"0"),
        entry(media::CONFIG, "linux/amd64", b"1"),
        entry(media::DOCKER_MANIFEST, "linux/amd64", b"2"),
    ]);
    let found = choose(&index, &platform("linux/amd64/v1")).unwrap();
    assert_eq!(found.digest, Digest::of(b"2"));
}

#[test]
fn what_is_offered_is_told() {
    let index = offers(&["linux/arm/v7", "windows/amd64", "unknown/unknown", "linux/arm/v7"]);
    let error = choose(&index, &platform("linux/amd64/v2")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "image is not available for linux/amd64/v2; only for: linux/arm/v7, windows/amd64"
    );
    let error = choose(&offers(&[]), &platform("linux/riscv64")).unwrap_err();
    assert_eq!(error.to_string(), "image is not available for linux/riscv64; only for: nothing");
    let many: Vec<String> = (0..40).map(|n| format!("linux/x{n:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let error = choose(&offers(&many), &platform("linux/amd64")).unwrap_err().to_string();
    assert!(error.ends_with("linux/x15, …"), "{error}");
}

/// Looks for a manifest through nested indexes; gives also how many documents were asked for.
fn walk(
    top: &str,
    documents: &BTreeMap<String, Vec<u8>>,
) -> (Result<Descriptor, FindError<std::fmt::Error>>, usize) {
    let mut asked = Vec::new();
    let top = Index::from_json(top.as_bytes()).unwrap();
    let found = find(&top, &platform("linux/amd64/v1"), &mut |wanted| {
        asked.push(wanted.digest.clone());
        documents.get(wanted.digest.as_str()).cloned().ok_or(std::fmt::Error)
    });
    (found, asked.len())
}

/// As many indexes in each other, each with so many entries for the next; the last leads to a manifest.
fn nested(depth: usize, width: usize, on: &str) -> (String, BTreeMap<String, Vec<u8>>) {
    let mut documents = BTreeMap::new();
    let mut inner = entry(media::MANIFEST, on, b"image");
    for _ in 1..depth {
        let document = text(&vec![inner; width]);
        inner = entry(media::INDEX, "", document.as_bytes());
        documents.insert(Digest::of(document.as_bytes()).to_string(), document.into_bytes());
    }
    (text(&vec![inner; width]), documents)
}

#[test]
fn indexes_in_indexes_are_followed_within_bounds() {
    for (depth, width, on, asked, wanted) in [
        (1, 1, "linux/amd64", 0, "found"),
        (2, 1, "linux/amd64", 1, "found"),
        (5, 1, "linux/amd64", 4, "found"),
        (6, 1, "linux/amd64", 4, "too many"),
        (300, 1, "linux/amd64", 4, "too many"),
        // A document is asked for once, however many ways lead to it.
        (5, 2, "linux/s390x", 4, "no match"),
        (40, 2, "linux/s390x", 4, "too many"),
    ] {
        let (top, documents) = nested(depth, width, on);
        let (found, count) = walk(&top, &documents);
        let found = match found {
            Ok(found) if found.digest == Digest::of(b"image") => "found",
            Err(FindError::TooMany) => "too many",
            Err(FindError::NoMatch(_)) => "no match",
            other => panic!("{other:?}"),
        };
        assert_eq!((found, count), (wanted, asked), "{depth} deep, {width} wide, for {on}");
    }
    // Wide instead of deep.
    let mut documents = BTreeMap::new();
    let mut entries = Vec::new();
    for number in 0..100 {
        let other = entry(media::MANIFEST, "linux/s390x", number.to_string().as_bytes());
        let document = text(&[other]);
        entries.push(entry(media::INDEX, "", document.as_bytes()));
        documents.insert(Digest::of(document.as_bytes()).to_string(), document.into_bytes());
    }
    let (found, asked) = walk(&text(&entries), &documents);
    assert!(matches!(found, Err(FindError::TooMany)), "{found:?}");
    assert_eq!(asked, 32);
}

#[test]
fn documents_are_what_they_were_promised_to_be() {
    let inner = text(&[entry(media::MANIFEST, "linux/amd64", b"image")]);
    let digest = Digest::of(inner.as_bytes()).to_string();
    let top = text(&[entry(media::INDEX, "", inner.as_bytes())]);
    let answer = |bytes: &[u8]| walk(&top, &[(digest.clone(), bytes.to_vec())].into()).0;
    answer(inner.as_bytes()).unwrap();
    let changed = inner.replace("linux", "Linux");
    assert!(matches!(answer(changed.as_bytes()), Err(FindError::Mismatch { .. })));
    assert!(matches!(answer(b"{}"), Err(FindError::Mismatch { .. })));
    let missing = walk(&top, &BTreeMap::new()).0;
    assert!(matches!(missing, Err(FindError::Get { .. })), "{missing:?}");
    // A manifest under the type of an index.
    let manifest = br#"{"schemaVersion":2,"config":{},"layers":[]}"#;
    let top = text(&[entry(media::INDEX, "", manifest)]);
    let documents = [(Digest::of(manifest).to_string(), manifest.to_vec())].into();
    let wrong = walk(&top, &documents).0;
    assert!(matches!(wrong, Err(FindError::Document { .. })), "{wrong:?}");
}

#[test]
fn what_is_no_index() {
    let list = |rest: &str| format!(r#"{{"schemaVersion":2,{rest}}}"#);
    for bad in [
        list(r#""manifests":[],"layers":[]"#),
        list(r#""manifests":[],"config":{}"#),
        list(r#""manifests":[],"fsLayers":[]"#),
        list(r#""manifests":{}"#),
        list(r#""manifests":[{}]"#),
        list(r#""manifests":[],"mediaType":"application/vnd.oci.image.manifest.v1+json""#),
        list(r#""manifests":[],"manifests":[]"#),
        list(r#""layers":[]"#),
        r#"{"manifests":[]}"#.into(),
        r#"{"schemaVersion":1,"manifests":[]}"#.into(),
        "[]".into(),
    ] {
        Index::from_json(bad.as_bytes()).expect_err(&bad);
    }
    assert!(index(&[]).manifests.is_empty());
}

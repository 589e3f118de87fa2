use std::fmt::Write as _;

use super::super::flags::json_format;
use super::*;

const FLAGS: &[Flag] = &[
    Flag::bool("full", ""),
    Flag::on("pretty", ""),
    Flag::value("format", "", "").check(json_format),
    Flag::optional("net", "default", "default", ""),
    Flag::value("volume", "", "").all(),
    Flag::value("set-env", "", "").keys(),
    Flag::text("exec", "", "").app().once(),
    Flag::text("user", "", "").app(),
    Flag::value("mount", "", "").both().all(),
    Flag::bool("quiet-old", "").deprecated("please use --full"),
    Flag::text("user-old", "", "").app().alias("user").hidden(),
    Flag::text("seccomp", "", "").app().absent(),
    Flag::bool("mds-register", "").absent(),
    Flag::text("one", "", "").one_of(&["one", "two"]),
    Flag::text("two", "", "").one_of(&["one", "two"]),
];

const fn command(grammar: Grammar) -> Command {
    Command { name: "test", summary: "", usage: "", description: "", grammar, flags: FLAGS }
}

static WORDS: Command = command(Grammar::Words);
static IMAGES: Command = command(Grammar::Images);
static APPS: Command = command(Grammar::Apps);
static PROGRAM: Command = command(Grammar::Program);

/// Parses words separated by blanks; `''` stands for an empty one.
fn parsed(command: &'static Command, line: &str) -> Result<Parsed, String> {
    let argv = line.split(' ').filter(|word| !word.is_empty());
    let argv = argv.map(|word| OsString::from(if word == "''" { "" } else { word })).collect();
    match parse(command, argv) {
        Ok(Asked::Run(parsed)) => Ok(parsed),
        Ok(Asked::Help) => Err("help".to_owned()),
        Err(failure) => {
            Err(failure.text("test", false).lines().next().unwrap_or_default().to_owned())
        }
    }
}

/// What was understood, in one line.
fn show(parsed: &Parsed) -> String {
    let pairs = |values: &[(&str, String)]| -> String {
        values.iter().map(|(name, value)| format!(" {name}={value}")).collect::<Vec<_>>().concat()
    };
    let mut text = pairs(&parsed.values);
    if !parsed.before.is_empty() {
        text += &[" all[", pairs(&parsed.before).trim(), "]"].concat();
    }
    for image in &parsed.images {
        text += &[" ", &image.image, "[", pairs(&image.flags).trim(), "]"].concat();
        if let Some(args) = &image.args {
            write!(text, "{args:?}").unwrap();
        }
    }
    if !parsed.words.is_empty() {
        write!(text, " {:?}", parsed.words).unwrap();
    }
    text.trim().to_owned()
}

#[test]
fn binds_what_follows_an_image_to_it() {
    for (line, meaning) in [
        ("i", "i[]"),
        ("--net i", "net=default i[]"),
        ("--net foo i", "net=default foo[] i[]"),
        ("--net=foo i", "net=foo i[]"),
        ("i --net=none", "net=none i[]"),
        ("i --debug --insecure-options=image", "debug=true insecure-options=image i[]"),
        ("--volume a --volume=b i --volume c", "volume=a volume=b volume=c i[]"),
        ("i1 --user=1 i2 --user 2", "i1[user=1] i2[user=2]"),
        ("i --user-old=3", "i[user=3]"),
        ("--mount=g i --mount=a", "all[mount=g] i[mount=a]"),
        ("i --exec=/bin/echo -- hi", "i[exec=/bin/echo][\"hi\"]"),
        ("i1 -- a --b --- i2 -- c", "i1[][\"a\", \"--b\"] i2[][\"c\"]"),
        ("i -- --help -h -x '' --", "i[][\"--help\", \"-h\", \"-x\", \"\", \"--\"]"),
        ("i -- a ---", "i[][\"a\"]"),
        ("--- i ---", "i[]"),
        ("i -- --- --user=5", "i[user=5][]"),
        ("'' i ''", "i[]"),
        ("i --user -x", "i[user=-x]"),
        ("i --seccomp=", "i[seccomp=]"),
        ("--mds-register=false i", "mds-register=false i[]"),
        ("--set-env=A=1 --set-env=B=1 i", "set-env=A=1 set-env=B=1 i[]"),
    ] {
        assert_eq!(
            parsed(&APPS, line).map(|parsed| show(&parsed)),
            Ok(meaning.to_owned()),
            "{line}"
        );
    }
}

#[test]
fn refuses_what_has_no_place() {
    let app = "test: error parsing app image arguments: ";
    for (line, message) in [
        ("-- x", format!("{app}an image is required before any app arguments")),
        ("i -- a --- -- b", format!("{app}only one set of app arguments allowed per image")),
        ("--exec=/x i", "Error: invalid argument \"/x\" for --exec=/x: --exec must follow an image".to_owned()),
        (
            "i --exec=/a --exec=/b",
            format!("{app}invalid argument \"/b\" for --exec=/b: --exec specified multiple times for the same image"),
        ),
        ("--nosuch i", "Error: unknown flag: --nosuch".to_owned()),
        ("i --nosuch", format!("{app}unknown flag: --nosuch")),
        ("-x i", "Error: unknown shorthand flag: 'x' in -x".to_owned()),
        ("i --format", format!("{app}flag needs an argument: --format")),
        ("--format", "Error: flag needs an argument: --format".to_owned()),
        ("--format=yaml", "Error: invalid argument \"yaml\" for --format=yaml: Invalid format option: yaml".to_owned()),
        (
            "--full=maybe",
            "Error: invalid argument \"maybe\" for --full=maybe: strconv.ParseBool: parsing \"maybe\": invalid syntax"
                .to_owned(),
        ),
        (
            "--set-env=A=1 --set-env=A=2",
            "Error: invalid argument \"A=2\" for --set-env=A=2: key \"A\" already set".to_owned(),
        ),
        ("--set-env=A", "Error: invalid argument \"A\" for --set-env=A: must be specified as key=value".to_owned()),
        (
            "--one=x --two=y",
            "Error: invalid argument \"y\" for --two=y: flags --one and --two are mutually exclusive".to_owned(),
        ),
        ("--one=x --one=y", "Error: invalid argument \"y\" for --one=y: --one already used".to_owned()),
        ("i --seccomp=mode=retain", "test: --seccomp is not there yet".to_owned()),
        ("--mds-register i", "test: --mds-register is not there yet".to_owned()),
        ("--dir= i", "Error: invalid argument \"\" for --dir=: \"\" is not a valid directory".to_owned()),
        ("--insecure-options=image,image i", "Error: invalid argument \"image,image\" for \
          --insecure-options=image,image: duplicated option \"image\"".to_owned()),
    ] {
        assert_eq!(parsed(&APPS, line).map(|parsed| show(&parsed)), Err(message), "{line}");
    }
}

#[test]
fn other_grammars() {
    for (command, line, meaning) in [
        (
            &WORDS,
            "a --full b '' -- --format -x",
            "full=true [\"a\", \"b\", \"\", \"--format\", \"-x\"]",
        ),
        (&WORDS, "--full=false - x", "full=false [\"-\", \"x\"]"),
        (
            &PROGRAM,
            "--full U ls -l -- --full",
            "full=true [\"U\", \"ls\", \"-l\", \"--\", \"--full\"]",
        ),
        (&PROGRAM, "U --full ls -l", "full=true [\"U\", \"ls\", \"-l\"]"),
        (&PROGRAM, "U -- ls -l", "[\"U\", \"ls\", \"-l\"]"),
        (&IMAGES, "a b --full", "full=true a[] b[]"),
    ] {
        assert_eq!(
            parsed(command, line).map(|parsed| show(&parsed)),
            Ok(meaning.to_owned()),
            "{line}"
        );
    }
    parsed(&IMAGES, "a -- b").unwrap_err();
    for line in ["--help", "a -h b", "--full --help --nosuch"] {
        assert_eq!(
            parsed(&WORDS, line).map(|parsed| show(&parsed)),
            Err("help".to_owned()),
            "{line}"
        );
    }
}

#[test]
fn answers_by_name() {
    let given =
        parsed(&APPS, "--pretty=0 --volume=a --volume=b i --user=1 --user=2 --mount=x").unwrap();
    assert!(!given.bool("pretty"));
    assert_eq!((given.value("volume"), given.values("volume")), (Some("b"), vec!["a", "b"]));
    let image = given.images().first().unwrap();
    assert_eq!((image.value("user"), image.values("user")), (Some("2"), vec!["1", "2"]));
    assert_eq!(image.value("exec"), None);
    let nothing = parsed(&APPS, "").unwrap();
    assert!(nothing.bool("pretty") && !nothing.bool("full"));
    assert_eq!((nothing.value("net"), nothing.given("net")), (Some("default"), None));
    assert_eq!((nothing.value("format"), nothing.value("dir")), (None, Some("/var/lib/rkt")));
    assert!(nothing.exactly::<1>().is_err() && nothing.exactly::<0>().is_ok());
    assert_eq!(parsed(&WORDS, "a b").unwrap().exactly::<2>().ok(), Some(["a", "b"]));
    let notice = "Flag --quiet-old has been deprecated, please use --full";
    assert_eq!(parsed(&WORDS, "--quiet-old").unwrap().notices(), [notice]);
}

#[test]
fn names_what_is_no_text() {
    use std::os::unix::ffi::OsStringExt as _;
    let error =
        parse(&WORDS, vec![OsString::from("a"), OsString::from_vec(vec![b'x', 0xff])]).unwrap_err();
    assert!(error.text("test", false).starts_with("Error: argument 2 is not valid UTF-8"));
}

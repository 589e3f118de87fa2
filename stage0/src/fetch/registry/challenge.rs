//! What a server that answers 401 wants to see: `WWW-Authenticate`, which holds one challenge or several.

/// One way to be let in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Challenge {
    /// In lower case: `bearer`, `basic`.
    pub(super) scheme: String,
    params: Vec<(String, String)>,
}

impl Challenge {
    /// The first parameter of this name.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All parameters of this name.
    pub(super) fn params<'c>(&'c self, name: &'c str) -> impl Iterator<Item = &'c str> {
        self.params.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Reads the challenges of one header. What makes no sense is left out.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    for item in items(header) {
        let item = item.trim();
        let word = item.find(|letter: char| !is_token(letter)).unwrap_or(item.len());
        let (first, rest) = item.split_at_checked(word).unwrap_or((item, ""));
        // A parameter has its `=` right after its name, a scheme has a blank or nothing.
        let param = if rest.trim_start().starts_with('=') {
            item
        } else {
            if first.is_empty() {
                continue;
            }
            found.push(Challenge { scheme: first.to_ascii_lowercase(), params: Vec::new() });
            rest.trim()
        };
        if let Some((name, value)) = param.split_once('=')
            && let Some(challenge) = found.last_mut()
        {
            challenge.params.push((name.trim().to_ascii_lowercase(), unquote(value.trim())));
        }
    }
    found
}

fn is_token(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter)
}

/// Splits at the commas that are not in quotes.
fn items(header: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    header
        .split(move |letter| {
            match letter {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                ',' if !quoted => return true,
                _ => {}
            }
            false
        })
        .collect()
}

fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else { return value.to_owned() };
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let mut text = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        text.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(scheme: &str, params: &[(&str, &str)]) -> Challenge {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Challenge { scheme: scheme.to_owned(), params: params.iter().map(own).collect() }
    }

    #[test]
    fn reads_challenges() {
        let bearer =
            [("realm", "https://a/t"), ("service", "s"), ("scope", "repository:x:pull,push")];
        for (header, wanted) in [
            (
                r#"Bearer realm="https://a/t",service="s",scope="repository:x:pull,push""#,
                vec![challenge("bearer", &bearer)],
            ),
            (
                r#"bearer  Realm = "https://a/t" , service=s , scope="repository:x:pull,push""#,
                vec![challenge("bearer", &bearer)],
            ),
            (
                r#"Basic realm="a, \"b\"", Bearer realm="r""#,
                vec![
                    challenge("basic", &[("realm", "a, \"b\"")]),
                    challenge("bearer", &[("realm", "r")]),
                ],
            ),
            ("Negotiate", vec![challenge("negotiate", &[])]),
            (
                "Negotiate, Basic realm=x",
                vec![challenge("negotiate", &[]), challenge("basic", &[("realm", "x")])],
            ),
            (r#"Bearer realm="open"#, vec![challenge("bearer", &[("realm", "open")])]),
            ("", vec![]),
            (",=,\"", vec![]),
        ] {
            assert_eq!(parse(header), wanted, "{header}");
        }
    }
}

//! Token: the secret that authenticates calls, a bearer token (RFC 6750).

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use hyper::header::HeaderValue;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::reloaded::Reloaded;
use super::security_error::SecurityError;

/// A bearer token. It never shows: `Debug` is redacted, there is no `Display`, comparing takes
/// the same time wherever two tokens differ, and its memory is overwritten when it is dropped.
///
/// It may have several lines, each a token: all of them open, and the first is shown. So a token is
/// replaced without a gap: the new one below the old, everywhere; then above it; then alone. One
/// from a file changes with it.
#[derive(Clone)]
pub struct Token(Source);

#[derive(Clone)]
enum Source {
    Text(Secrets),
    File(Arc<Reloaded<Secrets>>),
}

/// Tokens that open, the one to show first.
type Secrets = Arc<Vec<Zeroizing<String>>>;

/// Environment variable that may hold the token instead of a file. Never a flag: those show in the list of processes.
pub const TOKEN_VARIABLE: &str = "ENGRAM_TOKEN";

/// A token any shorter could be guessed.
const SHORTEST: usize = 16;

/// A token any longer would not fit into a request's headers.
const LONGEST: usize = 1024;

impl Token {
    /// Takes the token that `source` (a phrase: "the file x") holds; space around it is dropped.
    pub fn new(text: &str, source: &str) -> Result<Self, SecurityError> {
        secrets(text, source).map(Source::Text).map(Token)
    }

    /// Reads the token from a file, and again when that changes.
    pub fn read(path: &Path) -> Result<Self, SecurityError> {
        let file = path.to_path_buf();
        let load = move || {
            let read = std::fs::read_to_string(&file).map(Zeroizing::new);
            let text = read.map_err(|source| SecurityError::Read {
                what: "token",
                path: file.clone(),
                source,
            })?;
            secrets(&text, &format!("the token in {}", file.display()))
        };
        let read = Reloaded::read("the token", vec![path.to_path_buf()], load)?;
        Ok(Token(Source::File(read)))
    }

    fn secrets(&self) -> Secrets {
        match &self.0 {
            Source::Text(secrets) => secrets.clone(),
            Source::File(file) => file.current(),
        }
    }

    /// The token from a file or, without one, from the environment; `None` if neither holds one.
    pub fn find(file: Option<&Path>) -> Result<Option<Self>, SecurityError> {
        let variable = std::env::var(TOKEN_VARIABLE).ok().map(Zeroizing::new);
        match (file, variable) {
            (Some(_), Some(_)) => Err(SecurityError::TwoTokens),
            (Some(file), None) => Self::read(file).map(Some),
            (None, Some(text)) => Self::new(&text, TOKEN_VARIABLE).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// True if an `authorization` header shows this token.
    pub(super) fn matches(&self, header: &HeaderValue) -> bool {
        let Some((scheme, shown)) = header.as_bytes().split_at_checked(SCHEME.len()) else {
            return false;
        };
        // All of them, whichever opens.
        let matches =
            |any: Choice, secret: &Zeroizing<String>| any | shown.ct_eq(secret.as_bytes());
        let any = self.secrets().iter().fold(Choice::from(0), matches);
        scheme.eq_ignore_ascii_case(SCHEME) && bool::from(any)
    }

    /// The `authorization` header that shows this token, marked as sensitive: HTTP/2 does not
    /// index it, and `Debug` does not print it.
    pub(super) fn header(&self) -> HeaderValue {
        let text = Zeroizing::new([SCHEME, self.secrets()[0].as_bytes()].concat());
        let mut header = HeaderValue::from_bytes(&text).expect("a token is visible ASCII");
        header.set_sensitive(true);
        header
    }
}

/// Tokens in a text, a line each.
fn secrets(text: &str, source: &str) -> Result<Secrets, SecurityError> {
    let refuse = |why| Err(SecurityError::Token { source_name: source.into(), why });
    let mut secrets = Vec::new();
    for line in text.trim().lines().map(str::trim) {
        if !line.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse("has spaces or characters that a header cannot carry");
        }
        match line.len() {
            0 => return refuse("has an empty line"),
            1..SHORTEST => return refuse("is shorter than 16 characters"),
            SHORTEST..=LONGEST => secrets.push(Zeroizing::new(line.into())),
            _ => return refuse("is longer than 1024 characters"),
        }
    }
    match secrets.is_empty() {
        true => refuse("is empty"),
        false => Ok(Arc::new(secrets)),
    }
}

/// Scheme, which stands before the token in the header.
const SCHEME: &[u8] = b"Bearer ";

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "correct-horse-battery";

    #[test]
    fn a_token_opens_to_itself_alone() {
        let token = Token::new(&format!(" {SECRET}\n"), "a test").unwrap();
        assert!(token.matches(&token.header()));
        for (header, matches) in [
            (format!("bearer {SECRET}"), true),
            (SECRET.to_owned(), false),
            ("Bearer ".to_owned(), false),
            (String::new(), false),
            (format!("Bearer {SECRET}x"), false),
            (format!("Bearer {}", &SECRET[1..]), false),
            (format!("Bearer {}", SECRET.to_uppercase()), false),
            (format!("Basic  {SECRET}"), false),
        ] {
            assert_eq!(
                token.matches(&HeaderValue::from_str(&header).unwrap()),
                matches,
                "{header}"
            );
        }
    }

    #[test]
    fn each_line_is_a_token_that_opens_and_the_first_is_shown() {
        let [old, new] = [SECRET, "battery-horse-correct"];
        let only = |text: &str| Token::new(text, "a test").unwrap();
        let both = only(&format!("{new}\n{old}\n"));
        assert!(both.matches(&only(old).header()) && both.matches(&only(new).header()));
        assert_eq!(both.header(), only(new).header());
        assert!(!only(old).matches(&both.header()));
        assert!(Token::new(&format!("{new}\n\n{old}"), "a test").is_err());
    }

    #[test]
    fn a_token_does_not_show() {
        let token = Token::new(SECRET, "a test").unwrap();
        assert_eq!(format!("{token:?}"), "Token(redacted)");
        assert!(!format!("{:?}", token.header()).contains(SECRET));
    }

    #[test]
    fn what_can_be_guessed_or_not_be_sent_is_refused_without_showing_it() {
        for (text, why) in [
            ("", "is empty"),
            ("xyzzy", "is shorter than 16"),
            ("correct horse battery", "has spaces"),
            ("pferdebatterie-für-alle", "cannot carry"),
            (&"x".repeat(1025), "is longer than 1024"),
        ] {
            let error = Token::new(text, "the token in x").unwrap_err().to_string();
            assert!(error.starts_with("the token in x ") && error.contains(why), "{error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }
}

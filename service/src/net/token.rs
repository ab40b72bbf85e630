//! Token: the secret that authenticates calls, a bearer token (RFC 6750).

use std::fmt;
use std::path::Path;

use hyper::header::HeaderValue;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::security_error::SecurityError;

/// A bearer token. It never shows: `Debug` is redacted, there is no `Display`, comparing takes
/// the same time wherever two tokens differ, and its memory is overwritten when it is dropped.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

/// Environment variable that may hold the token instead of a file. Never a flag: those show in the list of processes.
pub const TOKEN_VARIABLE: &str = "ENGRAM_TOKEN";

/// A token any shorter could be guessed.
const SHORTEST: usize = 16;

/// A token any longer would not fit into a request's headers.
const LONGEST: usize = 1024;

impl Token {
    /// Takes the token that `source` (a phrase: "the file x") holds; space around it is dropped.
    pub fn new(text: &str, source: &str) -> Result<Self, SecurityError> {
        let text = text.trim();
        let refuse = |why| Err(SecurityError::Token { source_name: source.into(), why });
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse("has spaces or characters that a header cannot carry");
        }
        match text.len() {
            0 => refuse("is empty"),
            1..SHORTEST => refuse("is shorter than 16 characters"),
            SHORTEST..=LONGEST => Ok(Token(Zeroizing::new(text.into()))),
            _ => refuse("is longer than 1024 characters"),
        }
    }

    /// Reads the token from a file.
    pub fn read(path: &Path) -> Result<Self, SecurityError> {
        let read = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = read.map_err(|source| SecurityError::Read {
            what: "token",
            path: path.into(),
            source,
        })?;
        Self::new(&text, &format!("the token in {}", path.display()))
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
        scheme.eq_ignore_ascii_case(SCHEME) && bool::from(shown.ct_eq(self.0.as_bytes()))
    }

    /// The `authorization` header that shows this token, marked as sensitive: HTTP/2 does not
    /// index it, and `Debug` does not print it.
    pub(super) fn header(&self) -> HeaderValue {
        let text = Zeroizing::new([SCHEME, self.0.as_bytes()].concat());
        let mut header = HeaderValue::from_bytes(&text).expect("a token is visible ASCII");
        header.set_sensitive(true);
        header
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

//! Failure of a program, printed as a sentence.

use std::fmt::Write;

/// An error with its causes, as one sentence. A cause that the message before it quotes already is
/// not said twice.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if told.is_empty() {
            told = cause;
        } else if !told.contains(&cause) {
            let _ = write!(told, ": {cause}");
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read it: {source}")]
        struct Quoting {
            source: std::io::Error,
        }
        let source = std::io::Error::other("the disk is gone");
        let error = anyhow::Error::from(Quoting { source }).context("no run");
        assert_eq!(sentence(&error), "no run: cannot read it: the disk is gone");
        let silent = Err::<(), _>(std::io::Error::other("gone")).context("no disk").unwrap_err();
        assert_eq!(sentence(&silent), "no disk: gone");
    }
}

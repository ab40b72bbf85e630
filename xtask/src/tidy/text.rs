//! Reading Rust and proto sources without parsing them: comments and strings blanked out.

/// The source with comments and the contents of strings replaced by spaces. Lines stay lines.
pub(crate) fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let blank = blank_length(rest, code.chars().next_back());
        if blank == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            let (skipped, after) = rest.split_at(blank);
            code.extend(skipped.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = after;
        }
    }
    code
}

/// The identifiers and other words of a line of code.
pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The length of the comment, string or character that starts here; 0 if it is code.
fn blank_length(rest: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match rest.as_bytes() {
        [b'/', b'/', ..] => rest.find('\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => 1 + quoted(&rest[1..], '"'),
        [b'r', b'"' | b'#', ..] if !in_word => raw_string(rest, 1),
        [b'b', b'r', b'"' | b'#', ..] if !in_word => raw_string(rest, 2),
        [b'\'', ..] => character(rest),
        _ => 0,
    }
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// The length up to and with the closing quote, minding backslashes.
fn quoted(rest: &str, close: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == close => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn raw_string(rest: &str, prefix: usize) -> usize {
    let hashes = rest[prefix..].bytes().take_while(|byte| *byte == b'#').count();
    let open = prefix + hashes + 1;
    if rest.as_bytes().get(open - 1) != Some(&b'"') {
        return 0; // A raw identifier, r#type.
    }
    let close = format!("\"{}", "#".repeat(hashes));
    rest[open..].find(&close).map_or(rest.len(), |at| open + at + close.len())
}

/// A character literal; a lifetime is code.
fn character(rest: &str) -> usize {
    let mut chars = rest[1..].char_indices();
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => 1 + quoted(&rest[1..], '\''),
        (Some(_), Some((at, '\''))) => at + 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squeezed(source: &str) -> String {
        code_only(source).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_strings_are_blanked_and_code_is_kept() {
        assert_eq!(squeezed("let a = 1; // done\nlet b;"), "let a = 1; let b;");
        assert_eq!(squeezed("a /* x /* nested */ done */ b"), "a b");
        assert_eq!(squeezed(r#"f("done \" todo!()", x)"#), "f( , x)");
        assert_eq!(squeezed("f(r##\"a \"# done\"##) + r#type"), "f( ) + r#type");
        assert_eq!(squeezed("br\"done\" + bar\"x\""), "+ bar");
    }

    #[test]
    fn a_character_is_blanked_and_a_lifetime_is_not() {
        assert_eq!(
            squeezed(r"if c == '\'' || c == '/' || c == 'é' {}"),
            "if c == || c == || c == {}"
        );
        assert_eq!(
            squeezed("fn f<'a>(x: &'a str) -> &'static str"),
            "fn f<'a>(x: &'a str) -> &'static str"
        );
    }

    #[test]
    fn lines_stay_where_they_were() {
        let source = "a\n/* b\nc */\n\"d\ne\" f\n";
        assert_eq!(code_only(source).lines().count(), source.lines().count());
        assert!(code_only(source).lines().nth(4).unwrap().ends_with('f'));
    }

    #[test]
    fn words_are_whole_identifiers() {
        assert_eq!(
            words("self.is_done(done_tx)").collect::<Vec<_>>(),
            ["self", "is_done", "done_tx"]
        );
    }
}

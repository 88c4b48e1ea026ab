//! What is said of an answer with an error, in a store's own words where it has any.

/// Bytes of a store's own words that are kept: enough for a person, too few for a page of HTML.
const WORDS_BYTES_MAX: usize = 500;

/// Characters of an answer that can't be read.
const BEGINNING_CHARACTERS: usize = 120;

/// An answer with an error status, on one short line.
pub(crate) fn in_one_line(status: u16, words: &str) -> String {
    let words: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words = words.trim();
    let words = &words[..words.floor_char_boundary(WORDS_BYTES_MAX)];
    if words.is_empty() { format!("HTTP {status}") } else { format!("{words} (HTTP {status})") }
}

/// Whether an error status asks for another try.
pub(crate) fn asks_for_another_try(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..)
}

/// What is said of an answer that isn't what a store sends, as a proxy's or a portal's page: what it claims to be, and how
/// it begins.
pub(crate) fn unreadable(content_type: Option<&str>, body: &[u8]) -> String {
    let kind = content_type.unwrap_or("of no type");
    let start: String = String::from_utf8_lossy(body).chars().take(BEGINNING_CHARACTERS).collect();
    format!("an unreadable answer ({kind}), perhaps from something between here and the store; it begins with: {start}")
}

//! What a client takes: its `Accept` (RFC 9110, 12.5.1), as far as it decides anything here. Which of several it would like best is
//! passed over: a weight is 0, which is a refusal, or it isn't.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// The media ranges of a request.
pub(super) struct Accept(Vec<MediaRange>);

struct MediaRange {
    /// `image/avif`, `image/*` or `*/*`, in lower case.
    range: String,
    is_refused: bool,
}

impl Accept {
    /// Those in `headers`: none if nothing is said.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        Self(values.flat_map(|value| value.split(',')).map(MediaRange::parse).collect())
    }

    /// Whether this media type is asked for by its name: every tool says `*/*`.
    pub(super) fn names(&self, media_type: &str) -> bool {
        self.of_range(media_type).is_some_and(|is_refused| !is_refused)
    }

    /// Whether it is taken, by the most precise of the ranges that it is in; everything is if nothing is said.
    pub(super) fn allows(&self, media_type: &str) -> bool {
        let group = media_type.split_once('/').map(|(group, _)| format!("{group}/*"));
        let is_refused = self
            .of_range(media_type)
            .or_else(|| self.of_range(&group?))
            .or_else(|| self.of_range("*/*"))
            .unwrap_or(!self.0.iter().all(|range| range.range.is_empty()));
        !is_refused
    }

    /// Whether a range is refused each time that it is named; none if it isn't named.
    fn of_range(&self, range: &str) -> Option<bool> {
        let named = self.0.iter().filter(|named| named.range == range).map(|named| named.is_refused);
        named.reduce(|one, other| one && other)
    }
}

impl MediaRange {
    fn parse(text: &str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let range = parts.next().unwrap_or_default().to_ascii_lowercase();
        let is_refused = parts.any(|parameter| {
            let weight = parameter.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
            weight.is_some_and(|(_, weight)| weight.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0))
        });
        Self { range, is_refused }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn accept(lines: &[&'static str]) -> Accept {
        Accept::of(&lines.iter().map(|line| (ACCEPT, HeaderValue::from_static(line))).collect())
    }

    #[test]
    fn what_is_named_is_named_whatever_its_weight_but_for_0() {
        for (lines, names) in [
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"][..], true),
            (&["application/json", "Text/HTML ; charset=utf-8; q=0.5"], true),
            (&["application/json, TEXT/HTML; q=0.1"], true),
            (&[], false),
            (&["*/*"], false),
            (&["text/*"], false),
            (&["application/json"], false),
            (&["text/html;q=0"], false),
            (&["text/html; Q=0.000"], false),
            (&["text/html-like"], false),
        ] {
            assert_eq!(accept(lines).names("text/html"), names, "{lines:?}");
        }
    }

    #[test]
    fn the_most_precise_range_decides() {
        for (lines, jpeg, png) in [
            (&[][..], true, true),
            (&[""], true, true),
            (&["*/*"], true, true),
            (&["image/*"], true, true),
            (&["image/jpeg"], true, false),
            (&["image/jpeg;q=0, */*"], false, true),
            (&["*/*", "image/jpeg; q=0.0"], false, true),
            (&["image/*;q=0, image/png;q=0.1"], false, true),
            (&["image/*;q=0, */*"], false, false),
            (&["*/*;q=0"], false, false),
            (&["image/avif,image/webp"], false, false),
            (&["text/html"], false, false),
        ] {
            let accept = accept(lines);
            assert_eq!((accept.allows("image/jpeg"), accept.allows("image/png")), (jpeg, png), "{lines:?}");
        }
    }
}

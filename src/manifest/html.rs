//! The element `<picture>` as HTML. Whatever a caller gives is text in it.

use std::fmt::Write;

use super::PictureElement;

/// What whoever asks puts into the element.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    /// How wide it is shown, as `sizes` says it.
    pub sizes: Option<String>,
    /// What is said in its place.
    pub alt: String,
    /// The names of classes.
    pub class: Option<String>,
}

/// `<picture>` with its sources and `<img>`.
#[must_use]
pub fn html(picture: &PictureElement, attributes: &Attributes) -> String {
    let Attributes { sizes, alt, class } = attributes;
    let mut html = "<picture>".to_owned();
    for source in &picture.sources {
        html.push_str("<source");
        attribute(&mut html, "type", source.media_type);
        attribute(&mut html, "srcset", &source.srcset);
        optional(&mut html, "sizes", sizes.as_deref());
        html.push('>');
    }
    let img = &picture.img;
    html.push_str("<img");
    attribute(&mut html, "src", &img.src);
    optional(&mut html, "srcset", img.srcset.as_deref());
    optional(&mut html, "sizes", sizes.as_deref());
    attribute(&mut html, "alt", alt);
    optional(&mut html, "class", class.as_deref());
    attribute(&mut html, "width", &img.width.to_string());
    attribute(&mut html, "height", &img.height.to_string());
    attribute(&mut html, "loading", "lazy");
    attribute(&mut html, "decoding", "async");
    html.push_str("></picture>");
    html
}

fn optional(html: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        attribute(html, name, value);
    }
}

fn attribute(html: &mut String, name: &str, value: &str) {
    let _ = write!(html, " {name}=\"");
    for c in value.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            // No character of an HTML document.
            '\0' => html.push('\u{fffd}'),
            c => html.push(c),
        }
    }
    html.push('"');
}

#[cfg(test)]
mod tests {
    use super::super::{Img, Source};
    use super::*;

    #[test]
    fn whatever_is_given_stays_text() {
        let img = Img { src: "https://a/b?c&d".to_owned(), srcset: None, width: 8, height: 6 };
        let source = Source { media_type: "image/webp", srcset: "https://a/1 8w".to_owned() };
        let attributes = Attributes {
            sizes: Some("\"><script>".to_owned()),
            alt: "a \"b\" <c> & 'd'\0".to_owned(),
            class: Some("x\" onload=\"y".to_owned()),
        };
        let html = html(&PictureElement { sources: vec![source], img }, &attributes);
        let expected = concat!(
            r#"<picture><source type="image/webp" srcset="https://a/1 8w" sizes="&quot;&gt;&lt;script&gt;">"#,
            r#"<img src="https://a/b?c&amp;d" sizes="&quot;&gt;&lt;script&gt;" alt="a &quot;b&quot; &lt;c&gt; &amp; &#39;d&#39;"#,
            "\u{fffd}",
            r#"" class="x&quot; onload=&quot;y" width="8" height="6" loading="lazy" decoding="async"></picture>"#,
        );
        assert_eq!(html, expected);
    }
}

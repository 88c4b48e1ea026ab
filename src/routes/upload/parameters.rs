//! The parameters of `Content-Type` and `Content-Disposition`, as clients write them rather than as the RFCs would have
//! it: names in any case, values without quotes that hold `=`, backslashes that escape nothing.

use percent_encoding::percent_decode_str;

/// What stands before the first `;`, in lower case.
pub(super) fn kind(value: &str) -> String {
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The value of the first parameter of this name, which is in lower case.
pub(super) fn parameter(value: &str, name: &str) -> Option<String> {
    parameters(value).find(|(found, _)| found == name).map(|(_, value)| value)
}

/// The file's name in a `Content-Disposition`: `filename`, else what `filename*` encodes (RFC 5987).
pub(super) fn file_name(value: &str) -> Option<String> {
    let encoded = || {
        let extended = parameter(value, "filename*")?;
        let (_, encoded) = extended.split_once('\'')?.1.split_once('\'')?;
        Some(percent_decode_str(encoded).decode_utf8_lossy().into_owned())
    };
    parameter(value, "filename").or_else(encoded)
}

fn parameters(value: &str) -> impl Iterator<Item = (String, String)> {
    let mut rest = value.split_once(';').map_or("", |(_, rest)| rest);
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start_matches([' ', '\t', ';']);
            let end = rest.find(['=', ';'])?;
            let name = rest[..end].trim().to_ascii_lowercase();
            let is_flag = rest[end..].starts_with(';');
            rest = &rest[end + 1..];
            if is_flag {
                continue;
            }
            rest = rest.trim_start_matches([' ', '\t']);
            let value = if let Some(quoted) = rest.strip_prefix('"') {
                let (value, behind) = split_quoted(quoted)?;
                rest = behind;
                value
            } else {
                let end = rest.find(';').unwrap_or(rest.len());
                let value = rest[..end].trim().to_owned();
                rest = &rest[end..];
                value
            };
            return Some((name, value));
        }
    })
}

/// What stands before the closing quote, and what behind it; none if there is none. Only a quote is escaped by a
/// backslash: in a path of Windows it is one.
fn split_quoted(text: &str) -> Option<(String, &str)> {
    let mut end = text.find('"')?;
    while text[..end].ends_with('\\') {
        end += 1 + text[end + 1..].find('"')?;
    }
    Some((text[..end].replace("\\\"", "\""), &text[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_however_it_is_written() {
        for value in [
            "form-data; name=\"file\"",
            "form-data; NAME=\"file\"",
            "form-data;Name=file",
            "form-data; filename=\"name=no; x\"; name = \"file\"",
            "form-data; name=file; name=second",
            "form-data; flag; ; name=\"file\"; rest",
        ] {
            assert_eq!(parameter(value, "name").as_deref(), Some("file"), "{value}");
        }
        for value in
            ["form-data", "", "form-data; xname=file", "name=file", "form-data; name=\"file", "form-data; name"]
        {
            assert_eq!(parameter(value, "name"), None, "{value}");
        }
    }

    #[test]
    fn a_boundary_may_hold_anything_that_ends_no_parameter() {
        for (value, boundary) in [
            ("multipart/form-data; boundary=a=b==", "a=b=="),
            ("Multipart/Form-Data; charset=utf-8; Boundary=\"a b;c\"", "a b;c"),
            ("multipart/form-data;boundary=---x ; charset=utf-8", "---x"),
        ] {
            assert_eq!(
                (kind(value).as_str(), parameter(value, "boundary").as_deref()),
                ("multipart/form-data", Some(boundary))
            );
        }
    }

    #[test]
    fn a_file_name_may_be_quoted_escaped_or_encoded() {
        for (value, name) in [
            (r#"form-data; filename="a \"b\".jpg""#, "a \"b\".jpg"),
            (r#"form-data; filename="C:\pictures\a.jpg""#, r"C:\pictures\a.jpg"),
            ("form-data; filename*=UTF-8''%e2%82%ac.jpg", "\u{20ac}.jpg"),
            ("form-data; filename*=UTF-8''%e2%82%ac.jpg; filename=\"euro.jpg\"", "euro.jpg"),
            ("form-data; filename=\"\"", ""),
        ] {
            assert_eq!(file_name(value).as_deref(), Some(name), "{value}");
        }
        assert_eq!(file_name("form-data; name=\"file\""), None);
    }
}

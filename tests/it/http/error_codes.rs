//! The codes of errors, as the README lists them.

use pixerve::job::ErrorCode;
use pixerve::routes::status_of;

const README: &str = include_str!("../../../README.md");

/// As the README shows it between its markers.
fn table() -> String {
    let rows = ErrorCode::ALL.iter().map(|code| {
        let status = status_of(*code).map_or("job".to_owned(), |status| status.as_u16().to_string());
        format!("| `{code}` | {status} | {} |\n", code.description())
    });
    format!("\n| `code` | status | meaning |\n|---|---|---|\n{}", rows.collect::<String>())
}

#[test]
fn the_readme_lists_every_code_with_its_status() {
    let (_, shown) = README.split_once("<!-- error-codes:begin -->\n").expect("the table begins");
    let (shown, _) = shown.split_once("\n<!-- error-codes:end -->").expect("the table ends");
    let table = table();
    assert!(shown == table, "the README should have this:\n{table}");
}

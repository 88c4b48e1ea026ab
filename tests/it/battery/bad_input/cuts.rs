//! Files that end too early.

use futures_util::{StreamExt, stream};
use pixerve::job::ContentHash;
use serde_json::json;

use super::sources::with_avif;
use super::{assert_spool_is_empty, assert_still_works, figure, outcome};
use crate::harness::app::{TestApp, files_below};
use crate::harness::token::Claims;

/// Uploads every format cut at this many offsets: none completes, none leaves a file.
async fn cut(offsets: usize) {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_RATE_PER_USER", "0")]).await;
    let sources = with_avif(&app, 64, 48, 5).await;
    let job = json!({ "directHost": true, "subDir": "cut", "formats": { "jpg": { "sizes": [[16]] } } });
    let token = Claims::of("me").job(job).sign();
    let cuts = sources.iter().flat_map(|source| {
        (0..offsets).map(move |i| (source.extension, &source.bytes[..source.bytes.len() * i / offsets]))
    });
    let ends: Vec<(&str, usize, String)> = stream::iter(cuts)
        .map(|(format, bytes)| {
            let (app, token) = (&app, &token);
            async move {
                let response = app.upload(token, "cut.jpg", bytes.to_vec()).await;
                // The same bytes twice at once are a 409; a cut may be empty, or end in the same place.
                (format, bytes.len(), outcome(app, response).await.0)
            }
        })
        .buffer_unordered(4)
        .collect()
        .await;
    let count = |end: &str| ends.iter().filter(|(_, _, was)| was == end).count();
    let (damaged, failed) = (count("415"), count("failed"));
    for (format, at, end) in &ends {
        assert!(["415", "failed"].contains(&end.as_str()), "{format} cut at {at}: {end}");
    }
    assert!(damaged > 0 && failed > 0, "{damaged} and {failed}");
    assert_eq!(files_below(&app.serve_dir().join("cut")), Vec::<String>::new());
    for source in &sources {
        let job = json!({ "directHost": true, "formats": { "jpg": { "sizes": [[16]] } } });
        let whole = app.done("me", job, "whole", source.bytes.clone()).await;
        assert_eq!(whole["state"], "completed", "{} whole: {whole}", source.extension);
        assert!(whole["hash"].as_str().expect("a hash").starts_with(&ContentHash::of(&source.bytes).to_string()));
    }
    assert_still_works(&app, 1).await;
    assert_spool_is_empty(&app.data_dir()).await;
    figure(format!(
        "{} formats cut at {offsets} offsets each: {damaged} refused from the header, {failed} failed, none completed, 0 files left",
        sources.len(),
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_cut_anywhere_never_completes() {
    cut(6).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn a_file_cut_at_a_hundred_offsets_never_completes() {
    cut(100).await;
}

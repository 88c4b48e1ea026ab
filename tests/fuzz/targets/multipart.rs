//! A content type, a line break, and a body in pieces: what an upload's parser makes of it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(line) = input.iter().position(|b| *b == b'\n') else { return };
    let Ok(kind) = std::str::from_utf8(&input[..line]) else { return };
    let Some((size, body)) = input[line + 1..].split_first() else { return };
    let chunks: Vec<Vec<u8>> = body.chunks(usize::from(*size).max(1)).map(<[u8]>::to_vec).collect();
    let whole: usize = chunks.iter().map(Vec::len).sum();
    if let Ok(parts) = pixerve::routes::fuzz::multipart(kind, chunks) {
        let content: usize = parts.iter().map(|part| part.bytes).sum();
        assert!(content <= whole && parts.len() <= 8);
        for part in parts {
            assert!(part.stem.len() <= 80 && !part.stem.is_empty());
            assert!(part.stem.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
        }
    }
});

//! Small files that ask for much, against a server in a process of its own, whose memory is watched.

use std::time::Duration;

use image::codecs::gif::GifEncoder;
use image::{Frame, RgbaImage};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::sources::sources;
use super::{assert_spool_is_empty, assert_still_works, figure, outcome};
use crate::harness::process::{Home, ServerProcess};
use crate::harness::token::Claims;
use crate::pixels::bombs::{scans, zeros};
use crate::pixels::tiff::Tiff;

/// The most memory that the server's process ever had, in MiB. Children are processes of their own.
pub(in crate::battery) fn peak_mib(server: &ServerProcess) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") / 1024
}

/// A PNG with this header, a further chunk, and these compressed samples.
fn png(width: u32, height: u32, extra: Option<(&[u8; 4], &[u8])>, data: &[u8]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8], body: &[u8]| {
        let content = [kind, body].concat();
        file.extend(u32::try_from(body.len()).expect("small").to_be_bytes());
        file.extend(&content);
        file.extend(crc32fast::hash(&content).to_be_bytes());
    };
    // Eight bits of grey.
    chunk(b"IHDR", &[&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat());
    if let Some((kind, body)) = extra {
        chunk(kind, body);
    }
    chunk(b"IDAT", data);
    chunk(b"IEND", &[]);
    file
}

/// What it is; the file; how it may end.
fn bombs() -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
    let of = |extension: &str| sources(32, 24, 8).into_iter().find(|s| s.extension == extension).expect("made").bytes;
    let with = |mut bytes: Vec<u8>, at: usize, value: &[u8]| {
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes
    };
    let jpeg_side = |bytes: Vec<u8>| {
        let frame = bytes.windows(2).position(|w| w == [0xFF, 0xC0]).expect("a baseline JPEG");
        with(bytes, frame + 5, &[0xFF; 4])
    };
    let stream = zeros(48);
    let too_large: &[&str] = &["422"];
    let made: &[&str] = &["completed"];
    let side = 60_000_u32.to_le_bytes();
    let vp8x = [b"RIFF\x1E\0\0\0WEBPVP8X\x0A\0\0\0\0\0\0\0".as_slice(), &[0xFF; 6], b"VP8 \0\0\0\0"].concat();
    let frames = {
        let mut file = Vec::new();
        let mut encoder = GifEncoder::new_with_speed(&mut file, 30);
        encoder.encode_frames((0..11_000).map(|_| Frame::new(RgbaImage::new(1, 1)))).expect("frames");
        drop(encoder);
        file
    };
    let [iccp, ztxt, itxt] = [&b"x\0\0"[..], b"x\0\0", b"x\0\x01\0\0\0"].map(|head| [head, &stream].concat());
    let small = zeros_for(64, 64);
    vec![
        ("a PNG of 65,535 x 65,535 in 80 bytes", png(65_535, 65_535, None, b""), too_large),
        ("a PNG of 900 MP", png(30_000, 30_000, None, &zeros_for(30_000, 3_000)), too_large),
        ("a JPEG of 65,535 x 65,535", jpeg_side(of("jpg")), too_large),
        ("a GIF screen of 65,535 x 65,535", with(of("gif"), 6, &[0xFF; 4]), too_large),
        ("a WebP canvas of 16,777,216 x 16,777,216", vp8x, &["422", "415"]),
        ("a BMP of 60,000 x 60,000", with(with(of("bmp"), 18, &side), 22, &side), too_large),
        ("a TIFF of 60,000 x 60,000", Tiff::new((60_000, 60_000), 1, 1, 1, vec![0; 64]).file(), too_large),
        (
            "a TIFF tile of 60,000 x 60,000",
            Tiff::new((8, 8), 1, 8, 1, vec![0; 64]).with(322, &[60_000]).with(323, &[60_000]).file(),
            too_large,
        ),
        (
            "a TIFF of 81 MP of which 64 bytes are there",
            Tiff::new((9_000, 9_000), 1, 8, 1, vec![0; 64]).file(),
            &["failed", "415"],
        ),
        ("a JPEG of a thousand scans", scans(1000).1, &["failed"]),
        ("a GIF of 11,000 frames, to be animated", frames, &["failed"]),
        ("a PNG of 16 MP in 16 kB", png(4_000, 4_000, None, &zeros_for(4_000, 4_000)), made),
        ("a PNG whose profile unpacks to 48 MB", png(64, 64, Some((b"iCCP", &iccp)), &small), made),
        ("a PNG whose zTXt unpacks to 48 MB", png(64, 64, Some((b"zTXt", &ztxt)), &small), made),
        ("a PNG whose iTXt unpacks to 48 MB", png(64, 64, Some((b"iTXt", &itxt)), &small), made),
        ("a PNG of 64 x 64 with 48 MB of samples", png(64, 64, None, &stream), &["completed", "failed"]),
    ]
}

/// The compressed samples of a grey PNG of nothing.
fn zeros_for(width: u32, height: u32) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::best());
    let rows = vec![0; (width as usize + 1) * height as usize];
    let mut packed = vec![0; compressor.zlib_compress_bound(rows.len())];
    let length = compressor.zlib_compress(&rows, &mut packed).expect("it fits");
    packed.truncate(length);
    packed
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_refused_quickly_and_the_server_stays_small() {
    let home = Home::new(&[]);
    let server = home.start().await;
    assert_still_works(&server, 6).await;
    let before = peak_mib(&server);
    let job =
        json!({ "directHost": true, "subDir": "bombs", "animated": true, "formats": { "webp": { "sizes": [[32]] } } });
    let token = Claims::of("me").job(job).sign();
    let (mut slowest_refusal, mut slowest_failure, mut slowest) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut ends, mut count): (Vec<String>, usize) = (Vec::new(), 0);
    for (what, bomb, may_be) in bombs() {
        assert!(bomb.len() < 1 << 20, "{what}: {} bytes", bomb.len());
        // The fastest of three: other tests run at the same time.
        let mut took = Duration::MAX;
        // What is made takes as long as its pixels do, and is made once.
        let times = if may_be.contains(&"completed") { 1 } else { 3 };
        for _ in 0..times {
            let started = Instant::now();
            let (end, said): (String, Value) = outcome(&server, server.upload(&token, "a", bomb.clone()).await).await;
            took = took.min(started.elapsed());
            assert!(may_be.contains(&end.as_str()), "{what}: {end}: {said}");
            ends.push(end);
        }
        count += 1;
        let place = match ends.last().expect("one").as_str() {
            "completed" => &mut slowest,
            "failed" => &mut slowest_failure,
            _ => &mut slowest_refusal,
        };
        *place = (*place).max(took);
    }
    assert!(slowest_refusal < Duration::from_secs(1), "refused after {slowest_refusal:?}");
    let grown = peak_mib(&server) - before;
    assert!(grown < 64, "the server grew by {grown} MiB");
    assert_still_works(&server, 7).await;
    assert_spool_is_empty(&home.data_dir()).await;
    figure(format!(
        "{count} bombs, {} uploads: refused from the header within {slowest_refusal:?}, failed within {slowest_failure:?}, \
         passed over within {slowest:?} (unoptimised); the server grew by {grown} MiB",
        ends.len(),
    ));
}

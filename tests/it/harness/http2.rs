//! HTTP/2 by the frame, for what no client does.

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The identifier of the setting that says how much may be sent on a stream.
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
/// The largest window there is.
pub(crate) const WINDOW_MAX: u32 = (1 << 31) - 1;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), body].concat()
}

/// What a client says first, with these settings.
pub(crate) fn hello(settings: &[(u16, u32)]) -> Vec<u8> {
    let settings: Vec<u8> =
        settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &settings)].concat()
}

/// `GET path` in HPACK: two entries of the static table, and two literals.
pub(crate) fn get(path: &str) -> Vec<u8> {
    // :method GET, :scheme http, :path (4) and :authority (1), each as a literal without indexing.
    let length = u8::try_from(path.len()).ok().filter(|length| *length < 0x7F).expect("short");
    [b"\x82\x86\x04", &[length][..], path.as_bytes(), b"\x01\x01x"].concat()
}

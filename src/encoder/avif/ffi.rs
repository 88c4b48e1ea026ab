//! A still picture through libaom: but for what the sandbox's probe tries, all the `unsafe` that there is.
//!
//! What goes in are slices whose lengths are checked here, what comes out is a `Vec`; nobody outside sees a pointer.
//! libaom sees only pixels that the pipeline made.
#![expect(unsafe_code, reason = "libaom is C; every call of it stands in this file")]

use std::ffi::{CStr, CString, c_int};
use std::mem::MaybeUninit;
use std::ptr::null;

use libaom_sys as sys;

/// A plane without padding.
#[derive(Clone, Copy, Debug)]
pub(super) enum PlaneSamples<'a> {
    /// 8 bits a sample.
    Eight(&'a [u8]),
    /// 10 bits a sample.
    Ten(&'a [u16]),
}

impl<'a> From<&'a [u8]> for PlaneSamples<'a> {
    fn from(samples: &'a [u8]) -> Self {
        Self::Eight(samples)
    }
}

impl<'a> From<&'a [u16]> for PlaneSamples<'a> {
    fn from(samples: &'a [u16]) -> Self {
        Self::Ten(samples)
    }
}

impl PlaneSamples<'_> {
    fn len(self) -> usize {
        match self {
            Self::Eight(samples) => samples.len(),
            Self::Ten(samples) => samples.len(),
        }
    }

    fn start(self) -> *const u8 {
        match self {
            Self::Eight(samples) => samples.as_ptr(),
            Self::Ten(samples) => samples.as_ptr().cast(),
        }
    }

    fn bits(self) -> u32 {
        match self {
            Self::Eight(_) => 8,
            Self::Ten(_) => 10,
        }
    }
}

/// One picture as libaom wants it: planes of one depth, full range, BT.601 matrix, sRGB.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlanarFrame<'a> {
    /// Pixels a row.
    pub(super) width: u32,
    /// Rows.
    pub(super) height: u32,
    /// Width x height samples.
    pub(super) luma: PlaneSamples<'a>,
    /// None for a grey picture.
    pub(super) chroma: Option<Chroma<'a>>,
}

/// The colour planes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chroma<'a> {
    /// Half the samples in both directions, rounded up; all of them otherwise.
    pub(super) halved: bool,
    /// Blue-yellow, then red-green.
    pub(super) planes: [PlaneSamples<'a>; 2],
}

/// A setting by its name on libaom's command line, and its value.
pub(super) type Setting = (&'static str, u32);

/// `frame` as AV1: one temporal unit with its sequence header.
///
/// `quantizer` is 0 (finest) to 63. Runs on the calling thread alone.
pub(super) fn encode(frame: &PlanarFrame<'_>, quantizer: u32, settings: &[Setting]) -> Result<Vec<u8>, String> {
    let image = Image::of(frame)?;
    let mut encoder = AomEncoder::new(frame, quantizer.min(63))?;
    for (name, value) in settings {
        encoder.set(name, *value)?;
    }
    encoder.encode(&image)
}

/// A borrowed picture in libaom's words.
struct Image<'a> {
    raw: sys::aom_image,
    /// Keeps the planes alive that `raw` points into.
    _planes: std::marker::PhantomData<PlanarFrame<'a>>,
}

impl<'a> Image<'a> {
    /// Checks that every plane holds what libaom is going to read.
    fn of(frame: &PlanarFrame<'a>) -> Result<Self, String> {
        let (width, height) = (frame.width as usize, frame.height as usize);
        let halved = frame.chroma.is_none_or(|chroma| chroma.halved);
        let (chroma_width, chroma_height) =
            if halved { (width.div_ceil(2), height.div_ceil(2)) } else { (width, height) };
        let bits = frame.luma.bits();
        let size = chroma_width * chroma_height;
        let fits = frame.luma.len() == width * height
            && frame.chroma.is_none_or(|c| c.planes.iter().all(|plane| plane.len() == size && plane.bits() == bits));
        if !fits || width == 0 || height == 0 {
            return Err("the planes are not of the picture's size".to_owned());
        }
        let bytes = if bits == 8 { 1 } else { 2 };
        let stride = |width: usize| c_int::try_from(width * bytes).map_err(|_| "a row is too long".to_owned());
        // SAFETY: the struct is plain data of C: integers, and pointers that may be null.
        let mut raw: sys::aom_image = unsafe { MaybeUninit::zeroed().assume_init() };
        raw.fmt = match (halved, bits) {
            (true, 8) => sys::AOM_IMG_FMT_I420,
            (true, _) => sys::AOM_IMG_FMT_I42016,
            (false, 8) => sys::AOM_IMG_FMT_I444,
            (false, _) => sys::AOM_IMG_FMT_I44416,
        };
        raw.cp = sys::AOM_CICP_CP_BT_709;
        raw.tc = sys::AOM_CICP_TC_SRGB;
        raw.mc = sys::AOM_CICP_MC_BT_601;
        raw.range = sys::AOM_CR_FULL_RANGE;
        raw.monochrome = c_int::from(frame.chroma.is_none());
        raw.bit_depth = bits;
        raw.bps = if halved { 12 } else { 24 } * if bits == 8 { 1 } else { 2 };
        (raw.w, raw.h, raw.d_w, raw.d_h) = (frame.width, frame.height, frame.width, frame.height);
        (raw.x_chroma_shift, raw.y_chroma_shift) = (u32::from(halved), u32::from(halved));
        // libaom only reads the picture: its pointers are mutable because the type also serves its decoder.
        raw.planes[0] = frame.luma.start().cast_mut();
        raw.stride[0] = stride(width)?;
        if let Some(chroma) = frame.chroma {
            for (i, plane) in chroma.planes.iter().enumerate() {
                raw.planes[i + 1] = plane.start().cast_mut();
                raw.stride[i + 1] = stride(chroma_width)?;
            }
        }
        Ok(Self { raw, _planes: std::marker::PhantomData })
    }
}

/// An initialised encoder. Dropping it frees all that libaom allocated.
struct AomEncoder {
    context: Box<sys::aom_codec_ctx>,
}

impl AomEncoder {
    fn new(frame: &PlanarFrame<'_>, quantizer: u32) -> Result<Self, String> {
        // SAFETY: gives a pointer to a table that lives as long as the program.
        let interface = unsafe { sys::aom_codec_av1_cx() };
        let mut config = MaybeUninit::uninit();
        // SAFETY: `interface` is the encoder's; libaom fills `config` wholly or says that it hasn't.
        let config = unsafe {
            check(sys::aom_codec_enc_config_default(interface, config.as_mut_ptr(), sys::AOM_USAGE_ALL_INTRA))?;
            &mut *config.as_mut_ptr()
        };
        let config: &mut sys::aom_codec_enc_cfg = config;
        config.g_w = frame.width;
        config.g_h = frame.height;
        config.g_threads = 1;
        config.g_limit = 1;
        config.g_lag_in_frames = 0;
        let bits = frame.luma.bits();
        config.g_bit_depth = bits;
        config.g_input_bit_depth = bits;
        // 4:4:4 is the only thing here that needs the profile after the first.
        config.g_profile = u32::from(frame.chroma.is_some_and(|chroma| !chroma.halved));
        config.monochrome = u32::from(frame.chroma.is_none());
        // A header that says still picture is shorter.
        config.full_still_picture_hdr = 0;
        config.rc_end_usage = sys::AOM_Q;
        // The search for a quantiser within a range has nothing to do for one picture.
        config.rc_min_quantizer = quantizer;
        config.rc_max_quantizer = quantizer;
        let mut context = Box::new(MaybeUninit::<sys::aom_codec_ctx>::zeroed());
        let version = c_int::try_from(sys::AOM_ENCODER_ABI_VERSION).map_err(|e| e.to_string())?;
        let flags = if bits == 8 { 0 } else { sys::aom_codec_flags_t::from(sys::AOM_CODEC_USE_HIGHBITDEPTH) };
        // SAFETY: the interface is the encoder's, `config` lives through the call (libaom copies it), and the version
        // is the one that the bindings were made for. If it fails, libaom has freed what it allocated.
        unsafe { check(sys::aom_codec_enc_init_ver(context.as_mut_ptr(), interface, config, flags, version))? };
        // SAFETY: just initialised; all zeros before that, which is valid for this plain struct.
        let mut encoder = Self { context: unsafe { context.assume_init() } };
        encoder.set("cq-level", quantizer)?;
        encoder.set("row-mt", 0)?;
        encoder.set("color-primaries", sys::AOM_CICP_CP_BT_709)?;
        encoder.set("transfer-characteristics", sys::AOM_CICP_TC_SRGB)?;
        encoder.set("matrix-coefficients", sys::AOM_CICP_MC_BT_601)?;
        encoder.set_full_range()?;
        Ok(encoder)
    }

    fn set(&mut self, name: &str, value: u32) -> Result<(), String> {
        let (name_c, value_c) = (CString::new(name), CString::new(value.to_string()));
        let (Ok(name_c), Ok(value_c)) = (name_c, value_c) else { return Err("a setting has a zero byte".to_owned()) };
        // SAFETY: the context is initialised; libaom reads both texts, which end in a zero byte, during the call only.
        let code = unsafe { sys::aom_codec_set_option(&raw mut *self.context, name_c.as_ptr(), value_c.as_ptr()) };
        check(code).map_err(|e| format!("{name}={value}: {e}"))
    }

    /// The only setting here that has no name to be set by.
    fn set_full_range(&mut self) -> Result<(), String> {
        let control = c_int::try_from(sys::AV1E_SET_COLOR_RANGE).map_err(|e| e.to_string())?;
        let full = c_int::try_from(sys::AOM_CR_FULL_RANGE).map_err(|e| e.to_string())?;
        // SAFETY: the context is initialised, and this control takes one `int`.
        check(unsafe { sys::aom_codec_control(&raw mut *self.context, control, full) })
    }

    fn encode(&mut self, image: &Image<'_>) -> Result<Vec<u8>, String> {
        let context = &raw mut *self.context;
        // SAFETY: the context is initialised. `Image` checked that its planes hold the rows and columns that it says,
        // which are those that the encoder was set up for, and borrows them for longer than this call; libaom copies
        // them before it returns.
        self.check(unsafe { sys::aom_codec_encode(context, &raw const image.raw, 0, 1, 0) })?;
        let mut stream = Vec::new();
        self.take(&mut stream);
        // SAFETY: as above; no image means that none follows.
        self.check(unsafe { sys::aom_codec_encode(context, null(), 0, 1, 0) })?;
        self.take(&mut stream);
        if stream.is_empty() { Err("libaom gave no data".to_owned()) } else { Ok(stream) }
    }

    /// Appends what libaom has finished.
    fn take(&mut self, stream: &mut Vec<u8>) {
        let mut position = null();
        loop {
            // SAFETY: the context is initialised; `position` is null at first and libaom's own afterwards.
            let packet = unsafe { sys::aom_codec_get_cx_data(&raw mut *self.context, &raw mut position) };
            // SAFETY: null or a packet that is valid until the next call on the context.
            let Some(packet) = (unsafe { packet.as_ref() }) else { return };
            if packet.kind != sys::AOM_CODEC_CX_FRAME_PKT {
                continue;
            }
            // SAFETY: of this kind of packet, `frame` is the member of the union that was written.
            let frame = unsafe { packet.data.frame };
            if !frame.buf.is_null() {
                // SAFETY: `buf` is the start of `sz` bytes that stay until the next call on the context.
                stream.extend_from_slice(unsafe { std::slice::from_raw_parts(frame.buf.cast::<u8>(), frame.sz) });
            }
        }
    }

    /// The same as [`check`] with what the encoder has to say besides.
    fn check(&self, code: sys::aom_codec_err_t) -> Result<(), String> {
        check(code).map_err(|error| {
            // SAFETY: the context is initialised; the text is null or ends in a zero byte and is copied at once.
            let detail = unsafe {
                let detail = sys::aom_codec_error_detail(&raw const *self.context);
                if detail.is_null() { None } else { Some(CStr::from_ptr(detail).to_string_lossy().into_owned()) }
            };
            detail.map_or(error.clone(), |detail| format!("{error}: {detail}"))
        })
    }
}

impl Drop for AomEncoder {
    fn drop(&mut self) {
        // SAFETY: the context is initialised, and this is the last that anyone does with it.
        unsafe { sys::aom_codec_destroy(&raw mut *self.context) };
    }
}

fn check(code: sys::aom_codec_err_t) -> Result<(), String> {
    if code == sys::AOM_CODEC_OK {
        return Ok(());
    }
    // SAFETY: gives a text of the program's own that ends in a zero byte, for every code.
    let text = unsafe { CStr::from_ptr(sys::aom_codec_err_to_string(code)) };
    Err(text.to_string_lossy().into_owned())
}

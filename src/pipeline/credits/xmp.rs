//! XMP's properties (ISO 16684-1): Dublin Core's creator and rights, and what is a copy of EXIF's.

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;
use quick_xml::name::{QName, ResolveResult};
use quick_xml::reader::NsReader;

use super::{joined, text};
use crate::encoder::Credits;

/// Elements that are looked at. A packet of an editor's history has some thousands.
const EVENTS_MAX: usize = 200_000;

const DUBLIN_CORE: &[u8] = b"http://purl.org/dc/elements/1.1/";
const TIFF: &[u8] = b"http://ns.adobe.com/tiff/1.0/";
const PHOTOSHOP: &[u8] = b"http://ns.adobe.com/photoshop/1.0/";

/// A property that says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Property {
    Creator,
    Rights,
    Artist,
    Copyright,
}

impl Property {
    fn of(namespace: &ResolveResult<'_>, name: &[u8]) -> Option<Self> {
        let ResolveResult::Bound(namespace) = namespace else { return None };
        match (namespace.as_ref(), name) {
            (DUBLIN_CORE, b"creator") => Some(Self::Creator),
            (DUBLIN_CORE, b"rights") => Some(Self::Rights),
            (TIFF, b"Artist") => Some(Self::Artist),
            (TIFF | PHOTOSHOP, b"Copyright") => Some(Self::Copyright),
            _ => None,
        }
    }
}

/// What a packet says, in its order.
#[derive(Default)]
struct Found {
    /// Each value, and whether it is that for readers of no language in particular.
    values: Vec<(Property, String, bool)>,
}

impl Found {
    /// Every value of a property.
    fn all(&self, wanted: Property) -> impl Iterator<Item = &str> {
        self.values.iter().filter(move |(property, ..)| *property == wanted).map(|(_, value, _)| value.as_str())
    }

    /// The value of a property that has one a language.
    fn one(&self, wanted: Property) -> Option<&str> {
        let default = self.values.iter().find(|(property, _, default)| *property == wanted && *default);
        default.map(|(_, value, _)| value.as_str()).or_else(|| self.all(wanted).next())
    }
}

/// The credits in a packet; of one that is damaged, those before the damage.
pub(super) fn credits(packet: &[u8]) -> Credits {
    let packet = decoded(packet);
    let mut found = Found::default();
    // What was found before an error counts.
    let _ = read(&packet, &mut found);
    Credits {
        artist: joined(found.all(Property::Creator)).or_else(|| joined(found.one(Property::Artist))),
        copyright: joined(found.one(Property::Rights)).or_else(|| joined(found.one(Property::Copyright))),
    }
}

/// UTF-8, mostly; a packet may also be in UTF-16.
fn decoded(packet: &[u8]) -> String {
    let pairs = |number: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = packet.as_chunks::<2>().0.iter().map(|pair| number(*pair)).collect();
        String::from_utf16_lossy(&units)
    };
    match packet {
        [0xFE, 0xFF, ..] | [0, b'<', ..] => pairs(u16::from_be_bytes),
        [0xFF, 0xFE, ..] | [b'<', 0, ..] => pairs(u16::from_le_bytes),
        _ => text(packet),
    }
}

fn read(packet: &str, found: &mut Found) -> quick_xml::Result<()> {
    let mut reader = NsReader::from_str(packet);
    let config = reader.config_mut();
    config.allow_dangling_amp = true;
    config.check_end_names = false;
    // The property that is being read, how deep inside it the reader is, and what was read of the value at hand.
    let (mut inside, mut depth) = (None, 0_usize);
    let (mut value, mut default) = (String::new(), false);
    for _ in 0..EVENTS_MAX {
        let (namespace, event) = reader.read_resolved_event()?;
        match event {
            Event::Start(start) => {
                match inside {
                    Some(_) => depth += 1,
                    None => inside = Property::of(&namespace, start.local_name().as_ref()),
                }
                value.clear();
                default =
                    start.attributes().with_checks(false).flatten().any(|attribute| {
                        attribute.key == QName(b"xml:lang") && attribute.value.as_ref() == b"x-default"
                    });
                of_attributes(&reader, &start, found);
            }
            Event::Empty(start) => of_attributes(&reader, &start, found),
            Event::Text(part) => value.push_str(&part.decode()?),
            Event::CData(part) => value.push_str(&part.decode()?),
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(character)) => value.push(character),
                _ => value.push_str(resolve_predefined_entity(&reference.decode()?).unwrap_or_default()),
            },
            Event::End(_) => {
                if let Some(property) = inside {
                    if !value.trim().is_empty() {
                        found.values.push((property, std::mem::take(&mut value), default));
                    }
                    inside = inside.filter(|_| depth > 0);
                    depth = depth.saturating_sub(1);
                }
                value.clear();
            }
            Event::Eof => return Ok(()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    Ok(())
}

/// Simple properties may be attributes of what they describe.
fn of_attributes(reader: &NsReader<&[u8]>, start: &quick_xml::events::BytesStart<'_>, found: &mut Found) {
    for attribute in start.attributes().with_checks(false).flatten() {
        let (namespace, name) = reader.resolver().resolve_attribute(attribute.key);
        if let Some(property) = Property::of(&namespace, name.as_ref())
            && let Ok(value) = attribute.normalized_value(XmlVersion::Implicit1_0)
        {
            found.values.push((property, value.into_owned(), false));
        }
    }
}

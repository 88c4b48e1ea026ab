//! AVIF and HEIC files put together box by box.

#![expect(clippy::trivially_copy_pass_by_ref, reason = "byte strings are references")]

use avif_parse::read_avif;

type Code = [u8; 4];

/// An item: its type, bytes, and properties with their contents.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) kind: Code,
    pub(super) data: Vec<u8>,
    pub(super) properties: Vec<(Code, Vec<u8>)>,
}

impl Item {
    pub(super) fn with(mut self, code: &Code, body: &[u8]) -> Self {
        self.properties.push((*code, body.to_vec()));
        self
    }
}

/// A file of items, numbered from 1.
#[derive(Clone)]
pub(super) struct File {
    pub(super) brand: Code,
    pub(super) items: Vec<Item>,
    pub(super) primary: u16,
    pub(super) references: Vec<(Code, u16, Vec<u16>)>,
}

impl File {
    pub(super) fn of(items: Vec<Item>) -> Self {
        Self { brand: *b"mif1", items, primary: 1, references: Vec::new() }
    }

    pub(super) fn refers(mut self, how: &Code, from: u16, to: &[u16]) -> Self {
        self.references.push((*how, from, to.to_vec()));
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.bytes_with(|at, length| (at, length))
    }

    /// The same with other places of the items' bytes than the true ones.
    pub(super) fn bytes_with(&self, place: impl Fn(u32, u32) -> (u32, u32)) -> Vec<u8> {
        let ftyp = boxed(b"ftyp", &[&self.brand, &[0; 4], b"mif1", b"miaf"]);
        let start = ftyp.len() + self.meta(&vec![(0, 0); self.items.len()]).len() + 8;
        let mut at = u32::try_from(start).expect("small");
        let places: Vec<_> = self
            .items
            .iter()
            .map(|item| {
                let length = u32::try_from(item.data.len()).expect("small");
                at += length;
                place(at - length, length)
            })
            .collect();
        let data: Vec<_> = self.items.iter().map(|item| &item.data[..]).collect();
        [ftyp, self.meta(&places), boxed(b"mdat", &data)].concat()
    }

    fn meta(&self, places: &[(u32, u32)]) -> Vec<u8> {
        let count = u16::try_from(self.items.len()).expect("few").to_be_bytes();
        let (mut entries, mut location, mut container, mut uses) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut known = 0;
        for ((id, item), (at, length)) in (1_u16..).zip(&self.items).zip(places) {
            entries.extend(boxed(b"infe", &[&[2, 0, 0, 0], &id.to_be_bytes(), &[0, 0], &item.kind, &[0]]));
            location.extend([&id.to_be_bytes()[..], &[0, 0, 0, 1], &at.to_be_bytes(), &length.to_be_bytes()].concat());
            uses.extend(id.to_be_bytes());
            uses.push(u8::try_from(item.properties.len()).expect("few"));
            for (code, body) in &item.properties {
                container.extend(boxed(code, &[body]));
                known += 1_u16;
                uses.extend(known.to_be_bytes());
            }
        }
        let references: Vec<u8> = self
            .references
            .iter()
            .flat_map(|(how, from, to)| {
                let to: Vec<u8> = to.iter().flat_map(|id| id.to_be_bytes()).collect();
                let count = u16::try_from(to.len() / 2).expect("few").to_be_bytes();
                boxed(how, &[&from.to_be_bytes(), &count, &to])
            })
            .collect();
        let associations = [&[0, 0, 0, 1, 0, 0], &count[..], &uses].concat();
        boxed(
            b"meta",
            &[
                &[0; 4],
                &boxed(b"hdlr", &[&[0; 8], b"pict", &[0; 13]]),
                &boxed(b"pitm", &[&[0; 4], &self.primary.to_be_bytes()]),
                &boxed(b"iinf", &[&[0; 4], &count, &entries]),
                &boxed(b"iloc", &[&[0, 0, 0, 0, 0x44, 0], &count, &location]),
                &boxed(b"iref", &[&[0; 4], &references]),
                &boxed(b"iprp", &[&boxed(b"ipco", &[&container]), &boxed(b"ipma", &[&associations])]),
            ],
        )
    }
}

fn boxed(code: &Code, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&u32::try_from(8 + body.len()).expect("small").to_be_bytes()[..], code, &body].concat()
}

pub(super) fn ispe(width: u32, height: u32) -> Vec<u8> {
    [[0; 4], width.to_be_bytes(), height.to_be_bytes()].concat()
}

/// Numbers for primaries, transfer, matrix, and whether the range is full.
pub(super) fn nclx(primaries: u8, transfer: u8, matrix: u8, full: bool) -> Vec<u8> {
    [b"nclx", &[0, primaries, 0, transfer, 0, matrix, u8::from(full) << 7][..]].concat()
}

/// A description of a grid.
pub(super) fn grid(columns: u8, rows: u8, width: u16, height: u16) -> Item {
    let data = [&[0, 0, rows - 1, columns - 1], &width.to_be_bytes()[..], &height.to_be_bytes()].concat();
    Item { kind: *b"grid", data, properties: Vec::new() }.with(b"ispe", &ispe(width.into(), height.into()))
}

/// The first box of this type, wherever it is.
pub(super) fn find(file: &[u8], code: &Code) -> Vec<u8> {
    let at = file.windows(4).position(|window| window == code).expect("the box is there");
    let length = u32::from_be_bytes(file[at - 4..at].try_into().expect("four bytes")) as usize;
    file[at + 4..at - 4 + length].to_vec()
}

/// The colour picture of an AVIF as an item without colours of its own.
pub(super) fn av1(file: &[u8]) -> Item {
    let data = read_avif(&mut &*file).expect("an AVIF").primary_item.to_vec();
    Item { kind: *b"av01", data, properties: Vec::new() }
        .with(b"ispe", &find(file, b"ispe"))
        .with(b"av1C", &find(file, b"av1C"))
}

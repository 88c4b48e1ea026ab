//! The files of an entry as they are kept: short, since there are millions of entries, and each name begins as the one before.
//!
//! ```text
//! entry  = 1, bases, files                            (each number a LEB128, each text its length and UTF-8)
//! bases  = count, { store, text }                     what locations in one store begin with, up to the file's name
//! files  = count, { shared, text, bytes, places }     a name is so many bytes of the one before, then the text; the first
//!                                                     shares with the job's hash
//! places = count, { base }
//! ```
//! A location that doesn't end with its file's name has a base of its own, whose text is the whole; such bases come behind a
//! second count.

use crate::job::HashKey;
use crate::ledger::{EntryFile, Place};

const VERSION: u8 = 1;

/// The stores that bodies refer to, by their number in the database.
pub(super) trait StoreNumbers {
    type Error;
    /// The number of a store, which gets one if it has none.
    fn number(&mut self, backend: &str, access_key: Option<&str>) -> Result<u64, Self::Error>;
}

/// A store by its number.
pub(super) type NumberedStore<'a> = &'a dyn Fn(u64) -> Option<(String, Option<String>)>;

/// What locations begin with, in one store.
#[derive(PartialEq, Eq)]
struct Base<'a> {
    store: u64,
    text: &'a str,
    is_whole: bool,
}

pub(super) fn encode<S: StoreNumbers>(
    hash: &HashKey,
    files: &[EntryFile],
    stores: &mut S,
) -> Result<Vec<u8>, S::Error> {
    let mut bases: Vec<Base<'_>> = Vec::new();
    let mut placed = Vec::with_capacity(files.len());
    for file in files {
        let mut of_file = Vec::with_capacity(file.places.len());
        for place in &file.places {
            let start = place.location.strip_suffix(&*file.name);
            let base = Base {
                store: stores.number(&place.backend, place.access_key.as_deref())?,
                text: start.unwrap_or(&place.location),
                is_whole: start.is_none(),
            };
            of_file.push(bases.iter().position(|known| *known == base).unwrap_or_else(|| {
                bases.push(base);
                bases.len() - 1
            }));
        }
        placed.push(of_file);
    }
    let mut body = vec![VERSION];
    put(&mut body, bases.len());
    for base in &bases {
        put(&mut body, base.store * 2 + u64::from(base.is_whole));
        put_text(&mut body, base.text);
    }
    put(&mut body, files.len());
    let mut before = hash.as_str();
    for (file, of_file) in files.iter().zip(placed) {
        let shared = shared_bytes(before, &file.name);
        put(&mut body, shared);
        put_text(&mut body, &file.name[shared..]);
        put(&mut body, file.bytes);
        put(&mut body, of_file.len());
        for base in of_file {
            put(&mut body, base);
        }
        before = &file.name;
    }
    Ok(body)
}

/// None if `body` is damaged, of a later version, or names a store that isn't known.
pub(super) fn decode(hash: &HashKey, body: &[u8], store: NumberedStore<'_>) -> Option<Vec<EntryFile>> {
    let mut rest = body.strip_prefix(&[VERSION])?;
    let mut bases = Vec::new();
    for _ in 0..take(&mut rest)? {
        let number = take(&mut rest)?;
        let (backend, access_key) = store(number / 2)?;
        bases.push((backend, access_key, take_text(&mut rest)?, number % 2 == 1));
    }
    let mut files: Vec<EntryFile> = Vec::new();
    for _ in 0..take(&mut rest)? {
        let before = files.last().map_or(hash.as_str(), |file| &file.name);
        let shared = usize::try_from(take(&mut rest)?).ok()?;
        let name = format!("{}{}", before.get(..shared)?, take_text(&mut rest)?);
        let bytes = take(&mut rest)?;
        let mut places = Vec::new();
        for _ in 0..take(&mut rest)? {
            let (backend, access_key, text, is_whole) = bases.get(usize::try_from(take(&mut rest)?).ok()?)?;
            let location = if *is_whole { (*text).to_owned() } else { format!("{text}{name}") };
            places.push(Place { backend: backend.clone(), access_key: access_key.clone(), location });
        }
        files.push(EntryFile { name, bytes, places });
    }
    rest.is_empty().then_some(files)
}

/// How many bytes two texts begin with in common, whole characters only.
fn shared_bytes(one: &str, other: &str) -> usize {
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    same.map(|(c, _)| c.len_utf8()).sum()
}

fn put(body: &mut Vec<u8>, number: impl TryInto<u64>) {
    let mut number: u64 = number.try_into().unwrap_or(u64::MAX);
    while number >= 0x80 {
        body.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    body.push(number.to_le_bytes()[0]);
}

fn put_text(body: &mut Vec<u8>, text: &str) {
    put(body, text.len());
    body.extend_from_slice(text.as_bytes());
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        let part = u64::from(byte & 0x7f);
        if part.leading_zeros() < shift {
            return None;
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let bytes = usize::try_from(take(rest)?).ok()?;
    let (text, behind) = rest.split_at_checked(bytes)?;
    *rest = behind;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::job::{ContentHash, Owner};

    #[derive(Default)]
    struct Numbers(Vec<(String, Option<String>)>);

    impl StoreNumbers for Numbers {
        type Error = Infallible;

        fn number(&mut self, backend: &str, access_key: Option<&str>) -> Result<u64, Infallible> {
            let store = (backend.to_owned(), access_key.map(str::to_owned));
            let known = self.0.iter().position(|known| *known == store);
            Ok(known.unwrap_or_else(|| {
                self.0.push(store);
                self.0.len() - 1
            }) as u64)
        }
    }

    impl Numbers {
        fn decode(&self, hash: &HashKey, body: &[u8]) -> Option<Vec<EntryFile>> {
            decode(hash, body, &|number| self.0.get(usize::try_from(number).ok()?).cloned())
        }
    }

    fn hash() -> HashKey {
        let owner = Owner { user: None, access_key: None, sub: "customer-000042".to_owned() };
        HashKey::new(&ContentHash::of(b"picture"), &owner)
    }

    fn file(name: &str, bases: &[&str]) -> EntryFile {
        let places = bases.iter().enumerate().map(|(number, base)| Place {
            backend: ["directHost", "s3"][number].to_owned(),
            access_key: (number > 0).then(|| "pxs_6d9f4c2ab1e84d0c".to_owned()),
            location: format!("{base}{name}"),
        });
        EntryFile { name: name.to_owned(), bytes: 123_456, places: places.collect() }
    }

    #[test]
    fn six_variants_in_two_stores_take_less_than_200_bytes() {
        let (hash, mut stores) = (hash(), Numbers::default());
        let files: Vec<_> = [1600, 800, 400]
            .into_iter()
            .flat_map(|width| {
                ["webp", "jpg"].map(|extension| format!("{hash}_IMG-20261130-142233_0_{width}_.{extension}"))
            })
            .map(|name| file(&name, &["/files/tour/", "s3://pictures-of-the-shop/px/tour/"]))
            .collect();
        let body = encode(&hash, &files, &mut stores).expect("encoded");
        assert!(body.len() < 200, "{}", body.len());
        assert_eq!(stores.decode(&hash, &body), Some(files));
    }

    proptest! {
        #[test]
        fn whatever_is_kept_comes_back(
            files in prop::collection::vec(
                (
                    ".{0,20}", any::<u64>(),
                    prop::collection::vec((0..3_usize, prop::option::of("[a-c]{1,3}"), ".{0,12}", any::<bool>()), 0..4),
                ),
                0..6,
            ),
        ) {
            let files: Vec<_> = files
                .into_iter()
                .map(|(name, bytes, places)| {
                    let places = places.into_iter().map(|(backend, access_key, base, ends_with_name)| Place {
                        backend: ["directHost", "s3", "gcs"][backend].to_owned(),
                        access_key,
                        location: if ends_with_name { format!("{base}{name}") } else { base },
                    });
                    EntryFile { places: places.collect(), name, bytes }
                })
                .collect();
            let mut stores = Numbers::default();
            let body = encode(&hash(), &files, &mut stores).expect("encoded");
            prop_assert_eq!(stores.decode(&hash(), &body), Some(files));
            // Damaged ones are told, or come to something else; none is too much for the reader.
            for cut in 0..body.len() {
                prop_assert_eq!(stores.decode(&hash(), &body[..cut]), None);
            }
        }

        #[test]
        fn noise_is_read_without_harm(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Numbers(vec![("s3".to_owned(), None)]).decode(&hash(), &body);
        }
    }
}

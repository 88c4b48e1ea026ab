//! Where a file is that the server serves itself.

use std::fmt;

use super::{JobRecord, PrivateOwner, SubDir, is_plain_name};

/// To whom what lies there is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServedArea {
    /// To anyone, under `/files/`.
    #[default]
    Public,
    /// Under `/private/`, to whoever has a token of this owner's that says so.
    Private(PrivateOwner),
}

impl ServedArea {
    /// What locations of public files start with.
    pub const PUBLIC: &str = "/files/";
    /// What locations of private files start with.
    pub const PRIVATE: &str = "/private/";

    /// Whether nobody sees it without a token.
    #[must_use]
    pub fn is_private(&self) -> bool {
        matches!(self, Self::Private(_))
    }
}

/// The place of one file: `/files/<subDir>/<name>` or `/private/<owner>/<subDir>/<name>`. No step of it leaves a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedPath {
    /// To whom it is served.
    pub area: ServedArea,
    /// The directories.
    pub sub_dir: SubDir,
    /// The name: one of ours, or one that somebody else put there.
    pub name: String,
}

impl ServedPath {
    /// Reads a location; none if nothing can be there.
    #[must_use]
    pub fn parse(location: &str) -> Option<Self> {
        let (area, path) = if let Some(path) = location.strip_prefix(ServedArea::PUBLIC) {
            (ServedArea::Public, path)
        } else {
            let (owner, path) = location.strip_prefix(ServedArea::PRIVATE)?.split_once('/')?;
            (ServedArea::Private(PrivateOwner::parse(owner)?), path)
        };
        let (sub_dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let sub_dir = SubDir::parse(sub_dir).filter(|parsed| parsed.join(name) == path)?;
        is_plain_name(name).then(|| Self { area, sub_dir, name: name.to_owned() })
    }

    /// Directories and name below the root of its area, joined by `/`.
    #[must_use]
    pub fn below_root(&self) -> String {
        let path = self.sub_dir.join(&self.name);
        match &self.area {
            ServedArea::Public => path,
            ServedArea::Private(owner) => format!("{owner}/{path}"),
        }
    }

    /// The directories below the root of its area, outermost first.
    pub fn directories(&self) -> impl Iterator<Item = String> + '_ {
        let owner = match &self.area {
            ServedArea::Public => None,
            ServedArea::Private(owner) => Some(owner.to_string()),
        };
        owner.into_iter().chain(self.sub_dir.segments().map(str::to_owned))
    }
}

impl fmt::Display for ServedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = if self.area.is_private() { ServedArea::PRIVATE } else { ServedArea::PUBLIC };
        write!(f, "{base}{}", self.below_root())
    }
}

impl JobRecord {
    /// To whom its files are served, if they are served at all.
    #[must_use]
    pub fn served_area(&self) -> ServedArea {
        if self.spec.private { ServedArea::Private(self.owner.private_owner()) } else { ServedArea::Public }
    }

    /// Where its file of this name is, if its files are served.
    #[must_use]
    pub fn served_path(&self, name: &str) -> ServedPath {
        ServedPath { area: self.served_area(), sub_dir: self.spec.sub_dir.clone(), name: name.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_read_in_one_way_and_none_leaves_its_directory() {
        let owner = "0123456789abcdef0123456789abcdef";
        let deepest = "a/b/c/d/e/f/g/h";
        for good in [
            "/files/a.jpg".to_owned(),
            "/files/private/x/a.jpg".to_owned(),
            format!("/files/{deepest}/a.jpg"),
            format!("/private/{owner}/a.jpg"),
            format!("/private/{owner}/me@example.com/a.jpg"),
            format!("/private/{owner}/{deepest}/a.jpg"),
        ] {
            assert_eq!(ServedPath::parse(&good).expect(&good).to_string(), good);
        }
        for bad in [
            "/files/".to_owned(),
            "/files//a.jpg".to_owned(),
            "/files/../private/a.jpg".to_owned(),
            "/private/a.jpg".to_owned(),
            format!("/private/{owner}"),
            format!("/private/{owner}/"),
            format!("/private/{owner}//a.jpg"),
            format!("/private/{owner}/../a.jpg"),
            format!("/private/{owner}/.a.jpg"),
            format!("/private/{}/a.jpg", owner.to_uppercase()),
            format!("/private/{}/a.jpg", &owner[1..]),
            format!("/private/{owner}/{deepest}/i/a.jpg"),
            format!("private/{owner}/a.jpg"),
            "s3://pictures/files/a.jpg".to_owned(),
        ] {
            assert_eq!(ServedPath::parse(&bad), None, "{bad}");
        }
    }
}

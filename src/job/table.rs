//! Enums that are tables: a variant is a row, and what is known about it stands beside it.

/// An enum with `ALL`, its variants in their order, and `info`, the row of each. A row that lacks a column doesn't
/// compile, and there is no second list to keep.
macro_rules! table {
    (
        $(#[$attribute:meta])*
        pub enum $Enum:ident of $Info:ident {
            $($(#[$doc:meta])* $Variant:ident { $($column:ident: $value:expr),+ $(,)? })+
        }
    ) => {
        $(#[$attribute])*
        pub enum $Enum {
            $($(#[$doc])* $Variant,)+
        }

        impl $Enum {
            /// Every one, in the order of the table.
            pub const ALL: [Self; [$(Self::$Variant),+].len()] = [$(Self::$Variant),+];

            /// Its row.
            #[must_use]
            pub const fn info(self) -> &'static $Info {
                match self {
                    $(Self::$Variant => const { &$Info { $($column: $value),+ } },)+
                }
            }
        }
    };
}

pub(super) use table;

/// `words` for people: `a, b and c`, where `and` is the last conjunction.
pub(crate) fn enumerate(words: impl IntoIterator<Item = impl Into<String>>, conjunction: &str) -> String {
    let mut words: Vec<String> = words.into_iter().map(Into::into).collect();
    match words.pop() {
        Some(last) if !words.is_empty() => format!("{} {conjunction} {last}", words.join(", ")),
        last => last.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::enumerate;

    #[test]
    fn words_are_joined_as_people_join_them() {
        assert_eq!(enumerate([""; 0], "or"), "");
        assert_eq!(enumerate(["a"], "or"), "a");
        assert_eq!(enumerate(["a", "b"], "or"), "a or b");
        assert_eq!(enumerate(["a", "b", "c"], "and"), "a, b and c");
    }
}

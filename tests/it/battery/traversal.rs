//! Names that lead outside.

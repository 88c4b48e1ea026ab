//! What a real browser makes of served files.

//! Pictures that kill what works on them.

//! No disk, no descriptors, no memory, no patience.

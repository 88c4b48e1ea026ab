//! Callback addresses that lead inside.

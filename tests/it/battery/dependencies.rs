//! Stores and callers that fail in every way.

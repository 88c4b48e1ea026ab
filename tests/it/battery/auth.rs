//! Forged, stale and mistaken tokens; who may do what.

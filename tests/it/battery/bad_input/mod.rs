//! Bombs, cut files, polyglots, malformed uploads, absurd claims.

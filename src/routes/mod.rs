//! What Pixerve answers.

pub mod files;

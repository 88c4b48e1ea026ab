//! From the upload to the stored file and the callback, with everything in between as it runs in production.

mod callbacks;
mod files;
mod formats;
mod orientation;
mod secrets;
mod signatures;
mod stores;
mod unreachable;

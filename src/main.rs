//! The `pixerve` command.

fn main() {}

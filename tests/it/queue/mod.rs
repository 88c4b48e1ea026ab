//! The queue: what every implementation promises, and what the durable one does on top.

mod database;

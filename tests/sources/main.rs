//! Sources that give streams, against the real servers and programs: what they give is whole and of one moment, and what
//! is not becomes no snapshot.

mod cluster;
mod command;
mod dumped;
mod postgres;
mod sqlite;
mod survey;
mod taken;

//! Sources that give streams, against the real servers and programs: what they give is whole and of one moment, and what
//! is not becomes no snapshot.

mod bucket;
mod checked;
mod cluster;
mod command;
mod compressed;
mod dumped;
mod files;
mod imitated;
mod mysql;
mod postgres;
mod private;
mod redis;
mod sqlite;
mod survey;
mod taken;
mod timed;

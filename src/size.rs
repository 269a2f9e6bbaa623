//! Sizes and parts as people write them, on the command line and in a plan: bytes, bytes each second, some of many, a
//! share of what is stored. Each has its one grammar here.

use bytesize::ByteSize;
use std::str::FromStr;

/// How much of what is stored is read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Share {
    /// Nothing: only structure and presence.
    #[default]
    Nothing,
    /// Everything.
    All,
    /// Part `number` of `of`, counted from 1.
    Part {
        /// Which part.
        number: u32,
        /// Of how many.
        of: u32,
    },
    /// About this share of all stored bytes, in percent.
    Percent(f64),
    /// About this many bytes; at least one pack.
    Bytes(u64),
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let part = if let Some((number, of)) = text.split_once('/') {
            let part = number.trim().parse().ok().zip(of.trim().parse().ok());
            part.filter(|(number, of)| (1..=*of).contains(number)).map(|(number, of)| Self::Part { number, of })
        } else if let Some(percent) = text.strip_suffix('%') {
            percent.trim().parse().ok().filter(|percent| *percent > 0.0 && *percent <= 100.0).map(Self::Percent)
        } else {
            // a bare number says neither of what nor how much
            let bytes = parse(text).ok().filter(|bytes| *bytes > 0 && text.ends_with(['b', 'B']));
            bytes.map(Self::Bytes)
        };
        part.ok_or_else(|| "write 1/7, 10% or 5GB".into())
    }
}

/// Bytes.
pub fn parse(text: &str) -> Result<u64, String> {
    text.parse::<ByteSize>().map(|size| size.0).map_err(|_| "a size is a number with a unit, like 64MiB or 2GB".into())
}

/// The same the other way round, in the largest unit that leaves no rest.
pub fn show(bytes: u64) -> String {
    let units = [("TiB", 1 << 40), ("TB", 1_000_000_000_000), ("GiB", 1 << 30), ("GB", 1_000_000_000)];
    let small = [("MiB", 1 << 20), ("MB", 1_000_000), ("KiB", 1 << 10), ("kB", 1000)];
    let unit = units.into_iter().chain(small).find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    let (name, unit) = unit.unwrap_or(("B", 1));
    format!("{}{name}", bytes / unit)
}

/// The same for people, rounded.
pub fn rounded(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// Bytes each second.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    match parse(text.strip_suffix("/s").unwrap_or(text)) {
        Ok(rate) if rate > 0 => Ok(rate),
        _ => Err("a rate is a size, like 2MB, for each second".into()),
    }
}

/// So many of so many.
pub fn parse_part(text: &str) -> Result<(u32, u32), String> {
    text.split_once('/')
        .and_then(|(some, all)| Some((some.parse::<u32>().ok()?, all.parse::<u32>().ok()?)))
        .filter(|(some, all)| *all > 0 && some <= all)
        .ok_or_else(|| "a part is two numbers, like 1/20".into())
}

#[cfg(test)]
mod tests {
    use super::{Share, parse, show};

    #[test]
    fn sizes_are_shown_as_they_are_written() {
        for text in ["0B", "999B", "10GB", "64MiB", "2TB", "3TiB", "5kB", "1KiB"] {
            assert_eq!(parse(text).map(show), Ok(text.to_owned()));
        }
    }

    #[test]
    fn parts_are_parsed() {
        let share = str::parse::<Share>;
        assert_eq!(share("1/7"), Ok(Share::Part { number: 1, of: 7 }));
        assert_eq!(share("7/7"), Ok(Share::Part { number: 7, of: 7 }));
        assert_eq!(share("2.5%"), Ok(Share::Percent(2.5)));
        assert_eq!(share("5GB"), Ok(Share::Bytes(5_000_000_000)));
        assert_eq!(share("512 MiB"), Ok(Share::Bytes(512 << 20)));
        for wrong in ["", "0/7", "8/7", "1/0", "-1/2", "0%", "101%", "NaN%", "5", "0B", "all"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}

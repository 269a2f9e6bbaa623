//! A dump of `mysqldump` or `mariadb-dump` as it flows: SQL of which only so much is understood as tells whether it is
//! whole, what it is of, and how many rows each table has. Rows are the groups of values that `INSERT` gives; what the
//! values hold, quotes and brackets too, is passed over. Bodies of routines lie between other delimiters, and are
//! passed over by the line.

use super::choice::CONSISTENT;
use std::collections::BTreeMap;

/// Of a statement or comment so much is kept as is looked at.
const HEAD_BYTES: usize = 4096;
/// The last line.
const FOOTER: &[u8] = b"-- Dump completed";

/// What was read so far.
#[derive(Default)]
pub struct Script {
    place: Place,
    /// The statement outside of brackets, or the comment, or the line.
    head: Vec<u8>,
    depth: u32,
    /// Rows of the statement, if it is one that gives rows.
    rows: Option<u64>,
    found: Found,
}

/// What a dump tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Rows by table; tables without any are here too.
    pub tables: BTreeMap<String, u64>,
    /// Tables that were not dumped as of one moment, with their engines.
    pub inconsistent: Vec<(String, String)>,
    /// `10.11.19-MariaDB`, as the dump's begin says.
    pub server_version: Option<String>,
    /// `mariadb-dump` or `mysqldump`, with its version.
    pub tool_version: Option<String>,
    /// Its first line is one that clients must know: those of MySQL, and older ones of MariaDB, don't.
    pub is_sandboxed: bool,
    /// Nothing came after its last line.
    pub is_whole: bool,
    /// Its lines end as a terminal makes them.
    pub is_of_terminal: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Between,
    /// Behind two hyphens, to the end of the line.
    Comment,
    Statement,
    /// In quotes of this kind.
    Quoted(u8),
    /// Behind a backslash in such quotes.
    Escaped(u8),
    /// In a line between other delimiters.
    Body,
}

impl Script {
    /// Takes what comes next.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            bytes = match self.place {
                Place::Quoted(quote) => self.quoted(quote, bytes),
                Place::Escaped(quote) => {
                    self.place = Place::Quoted(quote);
                    rest
                }
                _ => {
                    self.sign(*first);
                    rest
                }
            };
        }
    }

    /// What was found, once nothing comes any more.
    pub fn finish(self) -> Found {
        let is_whole = self.found.is_whole && self.place == Place::Between;
        Found { is_whole, ..self.found }
    }

    /// Passes over what is quoted, most of a dump; two quotes in it are an end and a begin.
    fn quoted<'b>(&mut self, quote: u8, bytes: &'b [u8]) -> &'b [u8] {
        let end = if quote == b'`' { memchr::memchr(quote, bytes) } else { memchr::memchr2(quote, b'\\', bytes) };
        let Some((passed, found, rest)) = end.and_then(|end| {
            let (passed, from) = bytes.split_at_checked(end)?;
            let (found, rest) = from.split_first()?;
            Some((passed, *found, rest))
        }) else {
            self.keep(bytes);
            return &[];
        };
        self.keep(passed);
        if found == b'\\' && quote != b'`' {
            self.place = Place::Escaped(quote);
        } else {
            self.place = Place::Statement;
            self.keep(&[found]);
        }
        rest
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.depth == 0 && self.rows.is_none() {
            let room = HEAD_BYTES.saturating_sub(self.head.len()).min(bytes.len());
            self.head.extend_from_slice(bytes.get(..room).unwrap_or_default());
        }
    }

    fn sign(&mut self, sign: u8) {
        match self.place {
            Place::Between if sign.is_ascii_whitespace() => {}
            Place::Between => {
                self.place = Place::Statement;
                self.statement(sign);
            }
            Place::Statement => self.statement(sign),
            Place::Comment if sign == b'\n' => self.comment(),
            Place::Body if sign == b'\n' => {
                if self.head.trim_ascii_end() == b"DELIMITER ;" {
                    self.place = Place::Between;
                }
                self.head.clear();
            }
            _ => self.keep(&[sign]),
        }
    }

    fn statement(&mut self, sign: u8) {
        match sign {
            b'\'' | b'"' | b'`' => {
                self.keep(&[sign]);
                self.place = Place::Quoted(sign);
            }
            _ if sign != b'\n' && self.head.starts_with(b"DELIMITER ") => self.keep(&[sign]),
            b'(' => {
                if self.depth == 0 {
                    self.open();
                }
                self.depth = self.depth.saturating_add(1);
            }
            b')' => self.depth = self.depth.saturating_sub(1),
            b';' if self.depth == 0 => self.end(),
            b'\n' if self.head.starts_with(b"DELIMITER ") => {
                self.head.clear();
                self.place = Place::Body;
            }
            // the line of the sandbox has no semicolon
            b'\n' if self.head.starts_with(b"/*") && self.head.trim_ascii_end().ends_with(b"*/") => self.end(),
            b'-' if self.head == b"-" => {
                self.keep(b"-");
                self.place = Place::Comment;
            }
            _ => self.keep(&[sign]),
        }
    }

    /// A bracket that lies in no other.
    fn open(&mut self) {
        if let Some(rows) = &mut self.rows {
            *rows = rows.saturating_add(1);
        } else if self.head.trim_ascii_end().ends_with(b"VALUES") && gives_rows(&self.head) {
            self.rows = Some(1);
        }
    }

    fn end(&mut self) {
        let head = std::mem::take(&mut self.head);
        let rows = self.rows.take();
        (self.place, self.depth) = (Place::Between, 0);
        self.found.is_whole = false;
        if let Some(rows) = rows {
            let table = first_name(&head).unwrap_or_default();
            let sum = self.found.tables.entry(table).or_default();
            *sum = sum.saturating_add(rows);
        } else if head.starts_with(b"CREATE TABLE ") {
            let Some(table) = first_name(&head) else { return };
            let text = String::from_utf8_lossy(&head);
            let engine = text.split_whitespace().find_map(|word| word.strip_prefix("ENGINE="));
            if let Some(engine) = engine.filter(|engine| !CONSISTENT.contains(engine)) {
                self.found.inconsistent.push((table.clone(), engine.to_owned()));
            }
            self.found.tables.entry(table).or_default();
        } else if head.starts_with(b"/*M!999999\\-") {
            self.found.is_sandboxed = true;
        }
    }

    fn comment(&mut self) {
        let line = std::mem::take(&mut self.head);
        self.place = Place::Between;
        self.found.is_of_terminal |= line.ends_with(b"\r");
        if line.starts_with(FOOTER) {
            self.found.is_whole = true;
        }
        let text = String::from_utf8_lossy(&line);
        if let Some(version) = text.strip_prefix("-- Server version") {
            self.found.server_version.get_or_insert_with(|| version.trim().to_owned());
        }
        for (begin, tool) in [("-- MariaDB dump ", "mariadb-dump"), ("-- MySQL dump ", "mysqldump")] {
            let Some(said) = text.strip_prefix(begin) else { continue };
            let version = said.split_once("Distrib ").map_or(said, |(_, version)| version);
            let version = version.split([',', ' ']).next().unwrap_or_default();
            self.found.tool_version.get_or_insert_with(|| format!("{tool} {version}"));
        }
    }
}

/// `INSERT INTO`, `INSERT IGNORE INTO`, `REPLACE INTO`.
fn gives_rows(head: &[u8]) -> bool {
    head.starts_with(b"INSERT ") || head.starts_with(b"REPLACE ")
}

/// What stands first between backquotes; two of them within are one.
fn first_name(head: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(head);
    let (_, mut rest) = text.split_once('`')?;
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('`')?;
        name.push_str(part);
        rest = match after.strip_prefix('`') {
            Some(after) => {
                name.push('`');
                after
            }
            None => return Some(name),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::{Found, Script};

    const DUMP: &str = r"/*M!999999\- enable the sandbox mode */ 
-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)
--
-- Host: localhost    Database: app
-- Server version	10.11.19-MariaDB-0+deb12u1

/*!40101 SET NAMES utf8mb4 */;
-- Table structure for table `it's`
CREATE TABLE `it's` (
  `a``b` int(11) DEFAULT NULL COMMENT 'an (odd; ''one'' \' )',
  KEY `k` (`a``b`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COMMENT='ENGINE=none;';
CREATE TABLE `empty``one` (
  `a` int(11)
) ENGINE=MyISAM;
LOCK TABLES `it's` WRITE;
/*!40000 ALTER TABLE `it's` DISABLE KEYS */;
INSERT INTO `it's` VALUES
(1,'a'),
(2,'b\'(,\\'),(3,NULL),(4,_binary 'x;('),(5,0xFF28),(-6,1.5e3);
INSERT  IGNORE INTO `it's` (`a``b`, `VALUES`) VALUES (7,'INSERT INTO `x` VALUES (1)');
UNLOCK TABLES;
DELIMITER ;;
/*!50003 CREATE*/ /*!50003 TRIGGER t BEFORE INSERT ON `it's` FOR EACH ROW
BEGIN -- it's a body
INSERT INTO `log` VALUES (1),(2);
END */;;
DELIMITER ;
/*!50001 CREATE VIEW `v` AS SELECT 1 AS `a`*/;
INSERT INTO `log` VALUES (1),(2),(3);

-- Dump completed
";

    fn read(text: &str, step: usize) -> Found {
        let mut script = Script::default();
        text.as_bytes().chunks(step).for_each(|chunk| script.push(chunk));
        script.finish()
    }

    #[test]
    fn rows_are_counted_however_the_dump_comes() {
        for step in [1, 7, 64, 100_000] {
            let found = read(DUMP, step);
            let tables: Vec<_> = found.tables.iter().map(|(name, rows)| (name.as_str(), *rows)).collect();
            assert_eq!(tables, [("empty`one", 0), ("it's", 7), ("log", 3)], "{step}");
            assert_eq!(found.inconsistent, [("empty`one".into(), "MyISAM".into())]);
            assert_eq!(found.server_version.as_deref(), Some("10.11.19-MariaDB-0+deb12u1"));
            assert_eq!(found.tool_version.as_deref(), Some("mariadb-dump 10.11.19-MariaDB"));
            assert_eq!((found.is_sandboxed, found.is_whole, found.is_of_terminal), (true, true, false));
        }
    }

    #[test]
    fn a_dump_is_whole_only_with_its_last_line_at_the_end() {
        let end = DUMP.len() - "-- Dump completed\n".len();
        for cut in [0, 10, 200, end, end + 5] {
            assert!(!read(&DUMP[..cut], 64).is_whole, "{cut}");
        }
        assert!(!read(&format!("{DUMP}INSERT INTO `log` VALUES (1);\n"), 64).is_whole);
        assert!(read(&format!("{DUMP}\n\n"), 64).is_whole);
        // with a date
        assert!(read(&DUMP.replace("completed\n", "completed on 2026-11-30  3:00:00\n"), 64).is_whole);
    }

    #[test]
    fn a_terminal_shows_and_so_does_the_other_program() {
        assert!(read(&DUMP.replace('\n', "\r\n"), 64).is_of_terminal);
        let found = read("-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)\n-- Server version\t8.0.36\n", 64);
        assert_eq!(found.tool_version.as_deref(), Some("mysqldump 8.0.36"));
        assert_eq!(found.server_version.as_deref(), Some("8.0.36"));
    }
}

//! A dump as SQL text, read while it flows: which tables have how many rows, whether it came to its end, and by what it
//! was made. It is read as the server reads it, quotes and comments included, so that the body of a function is never
//! taken for rows. Nothing is kept but the begin of a statement: memory is small whatever comes.

use std::collections::BTreeMap;

/// Bytes of a statement or a line that are looked at: two names with their quotes fit in.
const HEAD_BYTES: usize = 1024;
/// Tables whose rows are told; a snapshot has room for few more facts.
const TABLES_MAX: usize = 50_000;
/// How the statement ends that rows follow.
const ROWS_FOLLOW: &[u8] = b" FROM stdin";

/// Reads a dump.
#[derive(Default)]
pub struct Script {
    state: State,
    /// The begin of the statement that is being read; empty between statements.
    statement: Vec<u8>,
    /// Its last bytes.
    last: Vec<u8>,
    /// The begin of the comment, of the command of `psql` or of the row that is being read.
    line: Vec<u8>,
    /// The two bytes before, unless they belong to a token that is over.
    before: [u8; 2],
    /// The last text in quotes knows escapes.
    escapes: bool,
    found: Found,
}

/// What a dump says of itself.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Rows by table, `schema.name` without quotes.
    pub rows: BTreeMap<String, u64>,
    /// There are more tables than are told.
    pub has_more: bool,
    /// Large objects.
    pub large_objects: u64,
    /// Version of the server, as the dump names it.
    pub server_version: Option<String>,
    /// Version of the program that made it.
    pub tool_version: Option<String>,
    /// It is of all databases.
    pub is_cluster: bool,
    has_footer: bool,
    /// How often it limited what `psql` does, and gave that up again.
    restrictions: [u32; 2],
}

#[derive(Clone, Default)]
enum State {
    /// Between tokens, or in one that is not quoted.
    #[default]
    Plain,
    /// In single quotes; true behind a backslash that has a meaning.
    Text(bool),
    /// In double quotes.
    Name,
    /// Behind a dollar that may begin a quote.
    Tag(Vec<u8>),
    /// In dollar quotes: the tag that ends them, and how much of one was just seen.
    Dollar(Vec<u8>, Vec<u8>),
    /// Behind two dashes.
    Comment,
    /// In `/* */`, so deep.
    Block(u32),
    /// A command of `psql`.
    Command,
    /// The rows of this table begin with the next line.
    Header(String),
    /// In the rows of this table, behind so many.
    Rows(String, u64),
}

impl Script {
    /// The next bytes, from the first one on.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first().copied() {
            bytes = match &self.state {
                State::Rows(..) => self.row(bytes),
                // long text is passed over at once
                State::Text(false) if !self.escapes && first != b'\'' => {
                    let (text, rest) = bytes.split_at(memchr::memchr(b'\'', bytes).unwrap_or(bytes.len()));
                    self.keep(text);
                    rest
                }
                _ => {
                    self.state = self.byte(first);
                    bytes.get(1..).unwrap_or_default()
                }
            };
        }
    }

    /// What was found, and whether the dump came to its end.
    pub fn end(self) -> (Found, bool) {
        let [restricted, released] = self.found.restrictions;
        let is_whole = self.found.has_footer && restricted == released && matches!(self.state, State::Plain);
        (self.found, is_whole)
    }

    /// Takes bytes of rows up to the end of a line.
    fn row<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let end = memchr::memchr(b'\n', bytes);
        let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        let room = 3usize.saturating_sub(self.line.len());
        self.line.extend(line.iter().take(room));
        let State::Rows(table, rows) = &mut self.state else { return rest };
        if end.is_some() && self.line == b"\\.\n" {
            let (table, rows) = (std::mem::take(table), *rows);
            self.found.add(table, rows);
            self.state = State::Plain;
        } else if end.is_some() {
            *rows = rows.saturating_add(1);
        }
        if end.is_some() {
            self.line.clear();
        }
        rest
    }

    /// Takes one byte; gives the state behind it.
    fn byte(&mut self, byte: u8) -> State {
        let state = std::mem::take(&mut self.state);
        let before = self.before;
        self.before = [before[1], byte];
        match state {
            State::Plain => self.plain(byte, before),
            State::Text(is_escaped) => {
                self.keep(&[byte]);
                match byte {
                    b'\'' if !is_escaped => State::Plain,
                    byte => State::Text(self.escapes && byte == b'\\' && !is_escaped),
                }
            }
            State::Name => {
                self.keep(&[byte]);
                if byte == b'"' { State::Plain } else { State::Name }
            }
            State::Tag(mut tag) => match byte {
                b'$' => {
                    tag.push(byte);
                    State::Dollar(tag, Vec::new())
                }
                // a digit first is the number of a parameter
                byte if is_of_name(byte) && !(tag.len() == 1 && byte.is_ascii_digit()) && tag.len() < HEAD_BYTES => {
                    tag.push(byte);
                    State::Tag(tag)
                }
                byte => self.plain(byte, before),
            },
            State::Dollar(tag, seen) => self.dollar(tag, seen, byte),
            State::Comment | State::Command if byte == b'\n' => self.line_ends(matches!(state, State::Comment)),
            State::Comment | State::Command => {
                push_within(&mut self.line, byte);
                state
            }
            State::Block(depth) => self.block(depth, byte, before),
            State::Header(table) if byte == b'\n' => State::Rows(table, 0),
            State::Header(table) => State::Header(table),
            State::Rows(table, rows) => State::Rows(table, rows),
        }
    }

    fn plain(&mut self, byte: u8, before: [u8; 2]) -> State {
        let is_between = self.statement.is_empty();
        match byte {
            b'-' if before[1] == b'-' => {
                self.begin_comment();
                return State::Comment;
            }
            b'*' if before[1] == b'/' => {
                self.begin_comment();
                return State::Block(1);
            }
            b'\\' if is_between => {
                self.line.clear();
                return State::Command;
            }
            b';' => return self.statement_ends(),
            byte if is_between && byte.is_ascii_whitespace() => return State::Plain,
            _ => self.keep(&[byte]),
        }
        match byte {
            b'\'' => {
                // two quotes in a text are one, and the text goes on
                let goes_on = before[1] == b'\'' && self.escapes;
                self.escapes = goes_on || (matches!(before[1], b'e' | b'E') && !is_of_name(before[0]));
                State::Text(false)
            }
            b'"' => State::Name,
            b'$' if !is_of_name(before[1]) => State::Tag(vec![b'$']),
            _ => State::Plain,
        }
    }

    /// A comment begins: its first sign was taken for one of a statement.
    fn begin_comment(&mut self) {
        self.statement.pop();
        self.last.pop();
        self.line.clear();
        self.before = [0, 0];
    }

    fn block(&mut self, depth: u32, byte: u8, before: [u8; 2]) -> State {
        let depth = match (before[1], byte) {
            (b'*', b'/') => depth.saturating_sub(1),
            (b'/', b'*') => depth.saturating_add(1),
            _ => return State::Block(depth),
        };
        self.before = [0, 0];
        if depth == 0 { State::Plain } else { State::Block(depth) }
    }

    fn dollar(&mut self, tag: Vec<u8>, mut seen: Vec<u8>, byte: u8) -> State {
        seen.push(byte);
        if seen == tag {
            self.before = [0, 0];
            return State::Plain;
        }
        if !tag.starts_with(&seen) {
            seen.clear();
            // the end of one try may be the begin of the next
            seen.extend((byte == b'$').then_some(byte));
        }
        State::Dollar(tag, seen)
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = HEAD_BYTES.saturating_sub(self.statement.len());
        self.statement.extend(bytes.iter().take(room));
        let new = bytes.get(bytes.len().saturating_sub(ROWS_FOLLOW.len())..).unwrap_or_default();
        self.last.extend_from_slice(new);
        if self.last.len() > 8 * ROWS_FOLLOW.len() {
            self.last.drain(..self.last.len() - ROWS_FOLLOW.len());
        }
    }

    fn statement_ends(&mut self) -> State {
        self.found.has_footer = false;
        let (statement, last) = (std::mem::take(&mut self.statement), std::mem::take(&mut self.last));
        if statement.starts_with(b"SELECT pg_catalog.lo_open(") {
            self.found.large_objects += 1;
        }
        let copied = statement.strip_prefix(b"COPY ").filter(|_| last.ends_with(ROWS_FOLLOW));
        self.line.clear();
        copied.map_or(State::Plain, |rest| State::Header(table(rest)))
    }

    fn line_ends(&mut self, is_comment: bool) -> State {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        let line = line.trim();
        let first = |words: &str| words.split_whitespace().next().map(str::to_owned);
        let found = &mut self.found;
        match line {
            // in a statement it says nothing of the dump
            _ if !self.statement.is_empty() => {}
            "PostgreSQL database cluster dump" if is_comment => found.is_cluster = true,
            "PostgreSQL database dump complete" if is_comment => found.has_footer = !found.is_cluster,
            "PostgreSQL database cluster dump complete" if is_comment => found.has_footer = found.is_cluster,
            _ if is_comment => {
                if let Some(version) = line.strip_prefix("Dumped from database version ") {
                    found.server_version = first(version);
                } else if let Some(version) = line.strip_prefix("Dumped by pg_dump version ") {
                    found.tool_version = first(version);
                }
            }
            _ => {
                let [restricted, released] = &mut found.restrictions;
                *restricted += u32::from(line.starts_with("restrict "));
                *released += u32::from(line.starts_with("unrestrict "));
            }
        }
        State::Plain
    }
}

impl Found {
    fn add(&mut self, table: String, rows: u64) {
        // tables of one name in several databases are not one table
        if self.is_cluster {
            return;
        }
        let is_full = self.rows.len() >= TABLES_MAX && !self.rows.contains_key(&table);
        self.has_more |= is_full;
        if !is_full {
            // partitions may all be copied into the whole table
            let sum = self.rows.entry(table).or_default();
            *sum = sum.saturating_add(rows);
        }
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn push_within(line: &mut Vec<u8>, byte: u8) {
    if line.len() < HEAD_BYTES {
        line.push(byte);
    }
}

/// The name that a statement goes on with: `public."Odd ""Name"` is `public.Odd "Name`.
fn table(rest: &[u8]) -> String {
    let (mut name, mut is_quoted, mut rest) = (Vec::new(), false, rest.iter().copied().peekable());
    while let Some(byte) = rest.next() {
        match byte {
            b'"' if is_quoted && rest.next_if_eq(&b'"').is_some() => name.push(byte),
            b'"' => is_quoted = !is_quoted,
            b' ' | b'(' if !is_quoted => break,
            _ => name.push(byte),
        }
    }
    String::from_utf8_lossy(&name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Found, Script};

    const DUMP: &str = r#"--
-- PostgreSQL database dump
--

\restrict abc

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 18.6

SET standard_conforming_strings = on;
CREATE FUNCTION public.f() RETURNS text
    LANGUAGE plpgsql
    AS $_$ begin -- it's
COPY public.fake (a) FROM stdin;
return '$$;' || $1; end $_$;
/* a block /* in a block */ with ' in it */
COMMENT ON TABLE public.t IS 'it''s
COPY public.fake (a) FROM stdin;
-- PostgreSQL database dump complete
';
SELECT E'\'; COPY public.fake (a) FROM stdin', a$b$c FROM x;
COPY public."Odd ""Name; (" (x, "FROM stdin") FROM stdin;
1
\.


--
-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: owner
--

COPY public.t (a, b) FROM stdin;
1	x\ny
2	\\.
3	it's
\.
COPY public.nocol  FROM stdin;

\.
COPY public.none (a) FROM stdin;
\.
SELECT pg_catalog.lo_open('16403', 131072);
SELECT pg_catalog.lowrite(0, '\x616263');
SELECT pg_catalog.lo_open('16404', 131072);

--
-- PostgreSQL database dump complete
--

\unrestrict abc

"#;

    fn read(text: &str, step: usize) -> (Found, bool) {
        let mut script = Script::default();
        text.as_bytes().chunks(step).for_each(|bytes| script.push(bytes));
        script.end()
    }

    #[test]
    fn rows_are_counted_wherever_the_bytes_are_cut() {
        for step in [1, 2, 3, 7, 4096] {
            let (found, is_whole) = read(DUMP, step);
            let rows: Vec<_> = found.rows.iter().map(|(table, rows)| (table.as_str(), *rows)).collect();
            let expected = [("public.Odd \"Name; (", 1), ("public.nocol", 1), ("public.none", 0), ("public.t", 3)];
            assert_eq!(rows, expected, "step {step}");
            assert_eq!((found.large_objects, is_whole), (2, true));
            assert_eq!(found.server_version.as_deref(), Some("15.18"));
            assert_eq!(found.tool_version.as_deref(), Some("18.6"));
        }
    }

    #[test]
    fn a_dump_is_whole_only_at_its_end() {
        let end = DUMP.find("\\unrestrict").unwrap();
        for length in (0..DUMP.len() - 1).filter(|length| DUMP.is_char_boundary(*length)) {
            let is_whole = read(&DUMP[..length], 4096).1;
            assert_eq!(is_whole, length > end + "\\unrestrict abc".len(), "cut at {length}");
        }
        assert!(!read(&format!("{DUMP}SELECT 1;"), 4096).1, "something follows");
        // before 2025 nothing was restricted
        let old = DUMP.replace("\\restrict abc", "").replace("\\unrestrict abc", "");
        assert!(read(&old, 4096).1);
    }

    #[test]
    fn a_cluster_is_whole_at_the_end_of_the_cluster() {
        let cluster = format!(
            "--\n-- PostgreSQL database cluster dump\n--\nSET x = 1;\n\\connect app\n\n{DUMP}--\n-- PostgreSQL database \
             cluster dump complete\n--\n\n"
        );
        let (found, is_whole) = read(&cluster, 4096);
        assert!(is_whole && found.rows.is_empty());
        let inner = cluster.find("cluster dump complete").unwrap();
        assert!(!read(&cluster[..inner - 10], 4096).1);
    }

    #[test]
    fn memory_stays_small() {
        let mut script = Script::default();
        (0..1000).for_each(|_| script.push(&[b'x'; 4096]));
        script.push(b" '");
        (0..1000).for_each(|_| script.push(&[b'y'; 4096]));
        assert!(script.statement.len() + script.last.len() + script.line.len() < 4096);
        script.push(b"';COPY a.b FROM stdin;\n");
        (0..1000).for_each(|_| script.push(&[b'z'; 4096]));
        assert!(script.line.len() <= 3);
    }
}

//! Tables: the one place that lays out columns. On a terminal a table fits its width: times lose what tells nothing,
//! long texts are shortened, and what matters least is left out. Into a pipe or a file it goes whole, so that scripts
//! find every column wherever they run.

use super::render;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use vault::time::WallTime;

/// Between two columns.
const GAP: usize = 2;
/// Least that is left of a shortened text on the narrowest terminal.
const LEAST: usize = 4;
/// What stands for the rest of a text.
const REST: char = '…';

/// How a column gives way on a narrow terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Give {
    /// Not at all.
    Never,
    /// It is left out, those of a higher number first.
    Drop(u8),
    /// Its texts are shortened at the end, down to this many characters.
    End(usize),
    /// Its texts are shortened at the beginning, as paths are.
    Start(usize),
    /// The same as [`Give::End`]; if that is not enough, it is left out as by [`Give::Drop`].
    EndOrDrop(usize, u8),
    /// The same as [`Give::Start`]; if that is not enough, it is left out as by [`Give::Drop`].
    StartOrDrop(usize, u8),
    /// Its texts go on in more lines of at least this many characters; only for the last column.
    Wrap(usize),
}

/// One cell.
#[derive(Clone, Debug)]
pub enum Cell {
    /// A text, without control characters.
    Text(String),
    /// A point in time.
    Time(WallTime),
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Give {
    /// How short its texts may become.
    fn least(self) -> Option<usize> {
        match self {
            Self::End(least) | Self::Start(least) | Self::Wrap(least) => Some(least),
            Self::EndOrDrop(least, _) | Self::StartOrDrop(least, _) => Some(least),
            Self::Never | Self::Drop(_) => None,
        }
    }

    /// When it is left out, those of a higher number first.
    fn order(self) -> Option<u8> {
        match self {
            Self::Drop(order) | Self::EndOrDrop(_, order) | Self::StartOrDrop(_, order) => Some(order),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct Column {
    heading: &'static str,
    give: Give,
    is_right: bool,
    /// On a terminal it is shown only if its cells differ from this.
    unless: Option<&'static str>,
}

/// Rows below headings.
#[derive(Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    with_seconds: bool,
}

impl Table {
    /// A table of columns, which are added next.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column of texts.
    pub fn text(self, heading: &'static str, give: Give) -> Self {
        self.add(Column { heading, give, is_right: false, unless: None })
    }

    /// Adds a column that a terminal shows only where a cell is not `-` or empty.
    pub fn rare(self, heading: &'static str, give: Give) -> Self {
        self.add(Column { heading, give, is_right: false, unless: Some("-") })
    }

    /// Adds a column of numbers and sizes, which end at one line.
    pub fn number(self, heading: &'static str, give: Give) -> Self {
        self.add(Column { heading, give, is_right: true, unless: None })
    }

    /// A column of numbers that a terminal shows only where a cell is not `-` or empty.
    pub fn rare_number(self, heading: &'static str, give: Give) -> Self {
        self.add(Column { heading, give, is_right: true, unless: Some("-") })
    }

    /// The same table with a column if `is_wanted`.
    pub fn when(self, is_wanted: bool, add: impl FnOnce(Self) -> Self) -> Self {
        if is_wanted { add(self) } else { self }
    }

    fn add(mut self, column: Column) -> Self {
        self.columns.push(column);
        self
    }

    /// Shows seconds if two of these points in time lie in one minute of one group, so that the shown one is the meant
    /// one when it is typed again.
    pub fn telling_apart<K: Ord>(mut self, times: impl Iterator<Item = (K, WallTime)>) -> Self {
        let mut seen = BTreeSet::new();
        let minute = |time: WallTime| time.nanoseconds().div_euclid(60_000_000_000);
        let mut times = times;
        self.with_seconds = times.any(|(group, time)| !seen.insert((group, minute(time))));
        self
    }

    /// Adds a row of as many cells as there are columns.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Prints it.
    pub fn print(&self) {
        let out = std::io::stdout();
        let width = if out.is_terminal() { Some(terminal_width()) } else { None };
        render::text(&self.lay_out(width));
    }

    /// Its lines, for a terminal of this width or, without one, whole.
    fn lay_out(&self, width: Option<usize>) -> String {
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| self.texts(row, width.is_some())).collect();
        let mut columns: Vec<(usize, usize)> = self
            .columns
            .iter()
            .enumerate()
            .map(|(number, column)| {
                let cells = rows.iter().filter_map(|row| row.get(number));
                (number, cells.map(|cell| length(cell)).chain([length(column.heading)]).max().unwrap_or_default())
            })
            .collect();
        if let Some(width) = width {
            let says = |number: &usize, nothing: &str| {
                rows.iter().filter_map(|row| row.get(*number)).any(|cell| !cell.is_empty() && cell != nothing)
            };
            let unless = |number: usize| self.columns.get(number).and_then(|column| column.unless);
            columns.retain(|(number, _)| unless(*number).is_none_or(|nothing| says(number, nothing)));
            self.narrow(&mut columns, width);
        }
        let headings: Vec<String> = self.columns.iter().map(|column| column.heading.to_owned()).collect();
        let has_headings = headings.iter().any(|heading| !heading.is_empty());
        let mut out = String::new();
        for row in has_headings.then_some(&headings).into_iter().chain(&rows) {
            for line in self.lines(row, &columns) {
                // what can't be made to fit must not wrap into the next row
                out.push_str(&shorten(line.trim_end(), width.unwrap_or(usize::MAX), Give::Never));
                out.push('\n');
            }
        }
        out
    }

    fn texts(&self, row: &[Cell], is_short: bool) -> Vec<String> {
        let text = |cell: &Cell| match cell {
            Cell::Text(text) => text.clone(),
            Cell::Time(time) if is_short => short_time(*time, self.with_seconds),
            Cell::Time(time) => render::time(*time),
        };
        row.iter().map(text).collect()
    }

    /// Makes columns, given with their widths, fit.
    fn narrow(&self, columns: &mut Vec<(usize, usize)>, width: usize) {
        let give = |number: usize| self.columns.get(number).map_or(Give::Never, |column| column.give);
        loop {
            let total: usize = columns.iter().map(|(_, width)| width + GAP).sum::<usize>().saturating_sub(GAP);
            let over = total.saturating_sub(width);
            if over == 0 {
                return;
            }
            // a little is taken from the longest text of the least important column; else that column goes
            let longest = columns
                .iter_mut()
                .filter(|(number, width)| give(*number).least().is_some_and(|least| *width > least))
                .max_by_key(|(number, width)| (give(*number).order(), *width));
            if let Some((number, width)) = longest {
                let least = give(*number).least().unwrap_or_default();
                *width = width.saturating_sub(over.min(8)).max(least);
                continue;
            }
            let orders = columns.iter().enumerate();
            let next = orders.filter_map(|(at, (number, _))| Some((give(*number).order()?, at)));
            let Some((_, at)) = next.max() else { return self.squeeze(columns, over) };
            columns.remove(at);
            // what was shortened in vain gets its width back
            for (number, width) in columns.iter_mut() {
                if give(*number).least().is_some() {
                    *width = self.widest(*number);
                }
            }
        }
    }

    /// Takes from shortened texts what is still too much, as long as anything of them is left.
    fn squeeze(&self, columns: &mut [(usize, usize)], mut over: usize) {
        let shortens = |number: usize| self.columns.get(number).is_some_and(|column| column.give.least().is_some());
        for (_, width) in columns.iter_mut().rev().filter(|(number, _)| shortens(*number)) {
            let taken = over.min(width.saturating_sub(LEAST));
            *width -= taken;
            over -= taken;
        }
    }

    fn widest(&self, number: usize) -> usize {
        let heading = self.columns.get(number).map_or(0, |column| length(column.heading));
        let cells = self.rows.iter().filter_map(|row| match row.get(number) {
            Some(Cell::Text(text)) => Some(length(text)),
            _ => None,
        });
        cells.chain([heading]).max().unwrap_or_default()
    }

    /// A row, with as many lines as its wrapped text needs.
    fn lines(&self, row: &[String], columns: &[(usize, usize)]) -> Vec<String> {
        let Some(((number, width), before)) = columns.split_last() else { return Vec::new() };
        let is_wrapped = self.columns.get(*number).is_some_and(|column| matches!(column.give, Give::Wrap(_)));
        let text = row.get(*number).filter(|text| is_wrapped && length(text) > *width);
        let Some(text) = text else { return vec![self.line(row, columns)] };
        let space = " ".repeat(before.iter().map(|(_, width)| width + GAP).sum());
        let first = format!("{}{}", self.line(row, before), " ".repeat(if before.is_empty() { 0 } else { GAP }));
        let starts = std::iter::once(first).chain(std::iter::repeat(space));
        starts.zip(render::wrap(text, *width)).map(|(start, part)| start + &part).collect()
    }

    fn line(&self, row: &[String], columns: &[(usize, usize)]) -> String {
        let gap = " ".repeat(GAP);
        let cell = |(number, width): &(usize, usize)| {
            let (Some(cell), Some(column)) = (row.get(*number), self.columns.get(*number)) else {
                return String::new();
            };
            let cell = shorten(cell, *width, column.give);
            let space = " ".repeat(width.saturating_sub(length(&cell)));
            if column.is_right { format!("{space}{cell}") } else { format!("{cell}{space}") }
        };
        columns.iter().map(cell).collect::<Vec<_>>().join(&gap)
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn shorten(text: &str, width: usize, give: Give) -> String {
    let length = length(text);
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    match give {
        Give::Start(_) | Give::StartOrDrop(..) => {
            std::iter::once(REST).chain(text.chars().skip(length - kept)).collect()
        }
        _ => text.chars().take(kept).chain([REST]).collect(),
    }
}

/// Local time without what tells nothing; whole where the clock was turned back and shows the same twice.
fn short_time(time: WallTime, with_seconds: bool) -> String {
    let zoned = Timestamp::from(time).to_zoned(TimeZone::system());
    if zoned.time_zone().to_ambiguous_zoned(zoned.datetime()).is_ambiguous() {
        return render::time(time);
    }
    zoned.strftime(if with_seconds { "%Y-%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M" }).to_string()
}

/// How many columns the terminal of standard output has.
pub fn terminal_width() -> usize {
    let width = rustix::termios::tcgetwinsize(std::io::stdout()).map(|size| usize::from(size.ws_col));
    width.ok().filter(|width| *width >= 20).unwrap_or(80)
}

#[cfg(test)]
mod tests {
    use super::{Cell, Give, Table, WallTime};
    use std::time::Duration;

    #[test]
    fn no_row_is_wider_than_the_terminal_and_names_stay_whole() {
        let name = "Documentation";
        let mut table = Table::new()
            .text("ID", Give::Never)
            .text("NAME", Give::End(40))
            .number("SIZE", Give::Drop(1))
            .rare("NOTE", Give::End(40))
            .rare("HOST", Give::Drop(3))
            .rare("TAGS", Give::EndOrDrop(6, 8))
            .rare("PATHS", Give::StartOrDrop(8, 9));
        for note in ["-", "held, 3 unread"] {
            let cells = ["3f9a02c1", name, "1.0 KiB", note, "-", "gold,before-upgrade", "/srv/uploads/Documentation"];
            table.row(cells.map(Cell::from).to_vec());
        }
        for width in 20..140 {
            let shown = table.lay_out(Some(width));
            let is_fitting = shown.lines().all(|line| line.chars().count() <= width);
            assert!(is_fitting && !shown.contains("HOST"), "{width}: {shown}");
            assert!(
                width < 43 || shown.lines().skip(1).all(|line| line.contains("3f9a02c1  Documentation")),
                "{shown}"
            );
            assert!(!shown.contains("PATHS") || shown.contains("held, 3 unread"), "{width}: {shown}");
            assert!(!shown.contains("PATHS") || shown.contains("TAGS"), "{width}: {shown}");
        }
    }

    #[test]
    fn a_reason_goes_on_below_and_none_of_it_is_lost() {
        let why = "newest of the day, newest of the week, held";
        let mut table = Table::new().text("NAME", Give::End(40)).text("WHY", Give::Wrap(12));
        table.row(vec!["uploads".into(), why.into()]);
        let shown = table.lay_out(Some(30));
        assert!(shown.lines().count() > 2 && shown.lines().all(|line| line.chars().count() <= 30), "{shown}");
        let words: Vec<&str> = shown.split_whitespace().skip(3).collect();
        assert_eq!(words.join(" "), why);
        assert_eq!(table.lay_out(None).lines().count(), 2);
    }

    const START: WallTime = WallTime::new(0);
    const MINUTE: WallTime = WallTime::new(60_000_000_000);

    fn table() -> Table {
        let mut table = Table::new()
            .text("ID", Give::Never)
            .text("TIME", Give::Never)
            .number("SIZE", Give::Drop(2))
            .rare("TAGS", Give::End(6))
            .text("PATHS", Give::Start(8));
        let row = |path: &str| -> Vec<Cell> {
            vec!["3f9a02c1".into(), Cell::Time(START), "1.0 KiB".into(), "-".into(), path.into()]
        };
        table.row(row("/srv/a/rather/long/path/uploads"));
        table.row(row("/etc"));
        table
    }

    #[test]
    fn a_terminal_gets_what_fits_and_a_pipe_gets_all() {
        let whole = table().lay_out(None);
        assert!(
            whole.lines().next().is_some_and(|line| line.contains("TAGS")) && whole.contains("rather/long"),
            "{whole}"
        );
        assert!(whole.contains(":00 +") || whole.contains(":00 -"), "{whole}");
        for width in [30, 34, 36, 40, 50, 60, 80, 120] {
            let fits = table().lay_out(Some(width));
            let longest = fits.lines().map(|line| line.chars().count()).max();
            assert!(longest.is_some_and(|longest| longest <= width), "{width}: {fits}");
            assert!(!fits.contains("TAGS"), "{width}: {fits}");
            assert_eq!(fits.contains("uploads"), width >= 36, "{width}: {fits}");
            assert_eq!(fits.contains("1.0 KiB"), width >= 50, "{width}: {fits}");
            assert_eq!(fits.contains('…'), width < 80, "{width}: {fits}");
        }
    }

    #[test]
    fn seconds_are_shown_where_two_of_a_source_share_a_minute() {
        let shown = |times: &[(&str, WallTime)]| {
            table().telling_apart(times.iter().copied()).lay_out(Some(120)).contains(":00:00")
        };
        assert!(!shown(&[("a", START), ("a", MINUTE), ("b", START)]));
        assert!(shown(&[("a", START), ("b", START), ("a", MINUTE - Duration::from_nanos(1))]));
    }
}

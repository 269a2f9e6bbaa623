//! Tables: the one place that lays out columns. On a terminal a table fits its width: times lose what tells nothing,
//! long texts are shortened, and what matters least is left out. Into a pipe or a file it goes whole, so that scripts
//! find every column wherever they run.

use super::render::{self, Cut, shorten};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use vault::time::WallTime;

/// Between two columns.
const GAP: usize = 2;
/// Least that is left of a shortened text on the narrowest terminal.
const LEAST: usize = 4;

/// How a column gives way on a narrow terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Give {
    /// Not at all.
    #[default]
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
        Self::Text(render::safe(&text))
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Text(number.to_string())
    }
}

impl From<WallTime> for Cell {
    fn from(time: WallTime) -> Self {
        Self::Time(time)
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

    /// Where they are cut for that.
    fn cut(self) -> Cut {
        if matches!(self, Self::Start(_) | Self::StartOrDrop(..)) { Cut::Begin } else { Cut::End }
    }

    /// When it is left out, those of a higher number first.
    fn order(self) -> Option<u8> {
        match self {
            Self::Drop(order) | Self::EndOrDrop(_, order) | Self::StartOrDrop(_, order) => Some(order),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
struct Column {
    heading: &'static str,
    give: Give,
    is_right: bool,
    /// On a terminal it is shown only if a cell is not `-` or empty.
    is_rare: bool,
    cells: Vec<Cell>,
}

/// A column as it is shown.
struct Shown<'t> {
    column: &'t Column,
    /// The heading, then the cells.
    texts: Vec<String>,
    /// Of the longest text.
    full: usize,
    width: usize,
}

/// Columns of rows, each with its heading.
#[derive(Debug)]
pub struct Table<'r, R> {
    rows: &'r [R],
    columns: Vec<Column>,
    with_seconds: bool,
}

impl<'r, R> Table<'r, R> {
    /// A table of these rows; what it tells of them is added column by column.
    pub fn of(rows: &'r [R]) -> Self {
        Self { rows, columns: Vec::new(), with_seconds: false }
    }

    /// Adds a column of texts.
    pub fn text<C: Into<Cell>>(self, heading: &'static str, give: Give, cell: impl Fn(&'r R) -> C) -> Self {
        self.add(Column { heading, give, ..Column::default() }, cell)
    }

    /// Adds a column of texts that a terminal shows only where one is not `-` or empty.
    pub fn rare<C: Into<Cell>>(self, heading: &'static str, give: Give, cell: impl Fn(&'r R) -> C) -> Self {
        self.add(Column { heading, give, is_rare: true, ..Column::default() }, cell)
    }

    /// Adds a column of numbers and sizes, which end at one line.
    pub fn number<C: Into<Cell>>(self, heading: &'static str, give: Give, cell: impl Fn(&'r R) -> C) -> Self {
        self.add(Column { heading, give, is_right: true, ..Column::default() }, cell)
    }

    /// Adds a column of numbers that a terminal shows only where one is not `-` or empty.
    pub fn rare_number<C: Into<Cell>>(self, heading: &'static str, give: Give, cell: impl Fn(&'r R) -> C) -> Self {
        self.add(Column { heading, give, is_right: true, is_rare: true, ..Column::default() }, cell)
    }

    /// The same table with a column if `is_wanted`.
    pub fn when(self, is_wanted: bool, add: impl FnOnce(Self) -> Self) -> Self {
        if is_wanted { add(self) } else { self }
    }

    fn add<C: Into<Cell>>(mut self, column: Column, cell: impl Fn(&'r R) -> C) -> Self {
        let cells = self.rows.iter().map(|row| cell(row).into()).collect();
        self.columns.push(Column { cells, ..column });
        self
    }

    /// Shows seconds if two of these points in time lie in one minute of one group, so that the shown one is the meant
    /// one when it is typed again.
    pub fn telling_apart<K: Ord>(mut self, mut times: impl Iterator<Item = (K, WallTime)>) -> Self {
        let mut seen = BTreeSet::new();
        let minute = |time: WallTime| time.nanoseconds().div_euclid(60_000_000_000);
        self.with_seconds = times.any(|(group, time)| !seen.insert((group, minute(time))));
        self
    }

    /// Prints it.
    pub fn print(&self) {
        let out = std::io::stdout();
        let columns = Some(render::columns(&out)).filter(|columns| *columns >= 20).unwrap_or(80);
        let width = out.is_terminal().then_some(columns);
        render::text(&self.lay_out(width));
    }

    /// Its lines, for a terminal of this width or, without one, whole.
    fn lay_out(&self, width: Option<usize>) -> String {
        let mut shown: Vec<Shown<'_>> = self.columns.iter().map(|column| self.show(column, width.is_some())).collect();
        if let Some(width) = width {
            let says = |text: &String| !text.is_empty() && text != "-";
            shown.retain(|one| !one.column.is_rare || one.texts.iter().skip(1).any(says));
            narrow(&mut shown, width);
        }
        let has_headings = self.columns.iter().any(|column| !column.heading.is_empty());
        let rows = if has_headings { 0 } else { 1 }..=self.rows.len();
        let mut out = String::new();
        for line in rows.flat_map(|row| lines(&shown, row)) {
            // what can't be made to fit must not wrap into the next row
            out.push_str(&shorten(line.trim_end(), width.unwrap_or(usize::MAX), Cut::End));
            out.push('\n');
        }
        out
    }

    fn show<'t>(&self, column: &'t Column, is_short: bool) -> Shown<'t> {
        let text = |cell: &Cell| match cell {
            Cell::Text(text) => text.clone(),
            Cell::Time(time) if is_short => short_time(*time, self.with_seconds),
            Cell::Time(time) => render::time(*time),
        };
        let texts: Vec<String> =
            std::iter::once(column.heading.to_owned()).chain(column.cells.iter().map(text)).collect();
        let full = texts.iter().map(|text| length(text)).max().unwrap_or_default();
        Shown { column, texts, full, width: full }
    }
}

impl Shown<'_> {
    /// The text of a row, the headings being row 0.
    fn text(&self, row: usize) -> &str {
        self.texts.get(row).map_or("", String::as_str)
    }
}

/// Makes columns fit.
fn narrow(columns: &mut Vec<Shown<'_>>, width: usize) {
    loop {
        let total: usize = columns.iter().map(|one| one.width + GAP).sum::<usize>().saturating_sub(GAP);
        let over = total.saturating_sub(width);
        if over == 0 {
            return;
        }
        // a little is taken from the longest text of the least important column; else that column goes
        let longest = columns
            .iter_mut()
            .filter_map(|one| one.column.give.least().filter(|least| one.width > *least).map(|least| (one, least)))
            .max_by_key(|(one, _)| (one.column.give.order(), one.width));
        if let Some((one, least)) = longest {
            one.width = one.width.saturating_sub(over.min(8)).max(least);
            continue;
        }
        let orders = columns.iter().enumerate();
        let next = orders.filter_map(|(at, one)| Some((one.column.give.order()?, at)));
        let Some((_, at)) = next.max() else { return squeeze(columns, over) };
        columns.remove(at);
        // what was shortened in vain gets its width back
        columns.iter_mut().for_each(|one| one.width = one.full);
    }
}

/// Takes from shortened texts what is still too much, as long as anything of them is left.
fn squeeze(columns: &mut [Shown<'_>], mut over: usize) {
    for one in columns.iter_mut().rev().filter(|one| one.column.give.least().is_some()) {
        let taken = over.min(one.width.saturating_sub(LEAST));
        one.width -= taken;
        over -= taken;
    }
}

/// A row, with as many lines as its wrapped text needs.
fn lines(columns: &[Shown<'_>], row: usize) -> Vec<String> {
    let Some((last, before)) = columns.split_last() else { return Vec::new() };
    let text = last.text(row);
    if !matches!(last.column.give, Give::Wrap(_)) || length(text) <= last.width {
        return vec![line(columns, row)];
    }
    let indent = before.iter().map(|one| one.width + GAP).sum();
    let starts = std::iter::once(line(before, row)).chain(std::iter::repeat(String::new()));
    starts.zip(render::wrap(text, last.width)).map(|(start, part)| format!("{start:indent$}{part}")).collect()
}

fn line(columns: &[Shown<'_>], row: usize) -> String {
    let cell = |one: &Shown<'_>| {
        let (text, width) = (shorten(one.text(row), one.width, one.column.give.cut()), one.width);
        if one.column.is_right { format!("{text:>width$}") } else { format!("{text:width$}") }
    };
    columns.iter().map(cell).collect::<Vec<_>>().join(&" ".repeat(GAP))
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// Local time without what tells nothing; whole where the clock was turned back and shows the same twice.
fn short_time(time: WallTime, with_seconds: bool) -> String {
    let zoned = Timestamp::from(time).to_zoned(TimeZone::system());
    if zoned.time_zone().to_ambiguous_zoned(zoned.datetime()).is_ambiguous() {
        return render::time(time);
    }
    zoned.strftime(if with_seconds { "%Y-%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M" }).to_string()
}

#[cfg(test)]
mod tests {
    use super::{Give, Table, WallTime};
    use std::time::Duration;

    #[test]
    fn no_row_is_wider_than_the_terminal_and_names_stay_whole() {
        let table = Table::of(&["-", "held, 3 unread"])
            .text("ID", Give::Never, |_| "3f9a02c1")
            .text("NAME", Give::End(40), |_| "Documentation")
            .number("SIZE", Give::Drop(1), |_| "1.0 KiB")
            .rare("NOTE", Give::End(40), |note| *note)
            .rare("HOST", Give::Drop(3), |_| "-")
            .rare("TAGS", Give::EndOrDrop(6, 8), |_| "gold,before-upgrade")
            .rare("PATHS", Give::StartOrDrop(8, 9), |_| "/srv/uploads/Documentation");
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
        let why = ["newest of the day, newest of the week, held"];
        let table = Table::of(&why).text("NAME", Give::End(40), |_| "uploads").text("WHY", Give::Wrap(12), |why| *why);
        let shown = table.lay_out(Some(30));
        assert!(shown.lines().count() > 2 && shown.lines().all(|line| line.chars().count() <= 30), "{shown}");
        let words: Vec<&str> = shown.split_whitespace().skip(3).collect();
        assert_eq!(words.join(" "), why[0]);
        assert_eq!(table.lay_out(None).lines().count(), 2);
    }

    const START: WallTime = WallTime::new(0);
    const MINUTE: WallTime = WallTime::new(60_000_000_000);

    fn table() -> Table<'static, &'static str> {
        Table::of(&["/srv/a/rather/long/path/uploads", "/etc"])
            .text("ID", Give::Never, |_| "3f9a02c1")
            .text("TIME", Give::Never, |_| START)
            .number("SIZE", Give::Drop(2), |_| "1.0 KiB")
            .rare("TAGS", Give::End(6), |_| "-")
            .text("PATHS", Give::Start(8), |path| *path)
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

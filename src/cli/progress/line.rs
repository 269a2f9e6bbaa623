//! One line of progress: what of it fits in so many columns, and how a path is shortened. Figures go before rates, rates
//! before names.

use crate::cli::render::{self, Cut};
use std::time::Duration;

/// A path is shown if there is room for so many columns of it.
const PATH_MIN: usize = 16;

/// How far an operation is.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// What is done, like `reading`.
    pub verb: &'static str,
    /// What is counted: one, and many.
    pub noun: (&'static str, &'static str),
    /// Files done.
    pub files: u64,
    /// Bytes done.
    pub bytes: u64,
    /// Files and bytes in all, once they are known.
    pub total: Option<(u64, u64)>,
    /// Bytes each second, of late.
    pub rate: u64,
    /// Time left, if that can be told.
    pub left: Option<Duration>,
    /// What nothing goes on without, and for how long already.
    pub waiting: Option<(String, Duration)>,
    /// What is being worked on.
    pub path: String,
}

impl State {
    /// The line; without a width all of it.
    pub fn line(&self, columns: usize) -> String {
        let bytes = bytes(self.bytes, self.total.map(|(_, bytes)| bytes));
        let files = match self.total {
            Some((all, _)) if all > 0 => {
                format!("{} of {}", self.files.min(all), render::count(all, self.noun.0, self.noun.1))
            }
            _ => render::if_any(self.files, |files| render::count(files, self.noun.0, self.noun.1)),
        };
        let rate = render::if_any(self.rate, |rate| format!("{}/s", render::size(rate)));
        let left = self.left.map_or_else(String::new, |left| match left.as_secs() {
            0..=4 => "a few seconds left".to_owned(),
            _ => format!("{} left", time(left)),
        });
        let waiting = |(what, since): &(String, Duration)| format!("waiting for {what}, {}", time(*since));
        let waiting = self.waiting.as_ref().map_or_else(String::new, waiting);
        // in the order of the line, each with its rank
        let parts = [(4, files), (0, bytes), (3, rate), (2, left), (1, waiting)];
        let mut shown = String::new();
        for most in (0..=4).rev() {
            let fitting = parts.iter().filter(|(rank, text)| *rank <= most && !text.is_empty());
            let figures: Vec<_> = fitting.map(|(_, text)| text.as_str()).collect();
            shown = format!("{}{}: {}", self.verb, self.percent(), figures.join(", "));
            if shown.chars().count() <= columns {
                break;
            }
        }
        let room = columns.saturating_sub(shown.chars().count() + 2);
        if room >= PATH_MIN && !self.path.is_empty() && self.waiting.is_none() {
            shown.push_str("  ");
            shown.push_str(&render::shorten(&self.path, room, Cut::Middle));
        }
        shown.chars().take(columns).collect()
    }

    /// How much is done, in hundredths; by files where there are no bytes.
    fn percent(&self) -> String {
        let (done, all) = match self.total {
            Some((_, all)) if all > 0 => (self.bytes, all),
            Some((all, _)) if all > 0 => (self.files, all),
            _ => return String::new(),
        };
        format!(" {} %", u128::from(done.min(all)) * 100 / u128::from(all))
    }
}

/// Bytes of bytes, the unit once if it is the same.
fn bytes(done: u64, all: Option<u64>) -> String {
    let Some(all) = all.filter(|all| *all > 0) else { return render::size(done) };
    let (done, all) = (render::size(done.min(all)), render::size(all));
    match (done.split_once(' '), all.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number} of {all}"),
        _ => format!("{done} of {all}"),
    }
}

fn time(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=99 => format!("{seconds} s"),
        seconds @ 100..=5999 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::State;
    use crate::cli::render::{Cut, shorten};
    use std::time::Duration;

    fn state() -> State {
        State {
            verb: "reading",
            noun: ("file", "files"),
            files: 1234,
            bytes: 1_288_490_189,
            total: Some((5000, 3_650_722_202)),
            rate: 125_829_120,
            left: Some(Duration::from_secs(80)),
            waiting: None,
            path: "/srv/uploads/photos/2026/november/cat.jpg".into(),
        }
    }

    #[test]
    fn a_line_fits_whatever_the_width_is() {
        for columns in 0..200 {
            let line = state().line(columns);
            assert!(line.chars().count() <= columns, "{columns}: {line}");
        }
        let wide = "reading 35 %: 1234 of 5000 files, 1.2 of 3.4 GiB, 120.0 MiB/s, 80 s left";
        assert_eq!(state().line(79), wide);
        let soon = State { left: Some(Duration::from_millis(300)), ..state() };
        assert!(soon.line(90).contains(", a few seconds left"), "{}", soon.line(90));
        assert_eq!(state().line(60), "reading 35 %: 1.2 of 3.4 GiB, 120.0 MiB/s, 80 s left");
        assert_eq!(state().line(45), "reading 35 %: 1.2 of 3.4 GiB, 80 s left");
        assert_eq!(state().line(30), "reading 35 %: 1.2 of 3.4 GiB");
        assert_eq!(state().line(200), format!("{wide}  /srv/uploads/photos/2026/november/cat.jpg"));
        assert!(state().line(100).ends_with("…/november/cat.jpg"), "{}", state().line(100));
    }

    #[test]
    fn what_is_waited_for_takes_the_place_of_the_path() {
        let waiting = Some(("the store".to_owned(), Duration::from_secs(12)));
        let state = State { waiting, total: None, rate: 0, left: None, ..state() };
        assert_eq!(state.line(79), "reading: 1234 files, 1.2 GiB, waiting for the store, 12 s");
    }

    #[test]
    fn a_long_path_loses_its_middle() {
        assert_eq!(shorten("/a/b", 10, Cut::Middle), "/a/b");
        assert_eq!(shorten("0123456789", 7, Cut::Middle), "01…6789");
        assert_eq!(shorten("äöüßäöüßäöüß", 4, Cut::Middle), "ä…üß");
        assert_eq!(shorten("abc", 0, Cut::Middle), "…");
    }
}

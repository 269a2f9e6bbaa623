//! The words of a message: a title, the line itself, since when, what to do next. Everything that comes from outside is
//! cleaned here and nowhere else. Invariant: what leaves is one line without control characters, marks that nobody sees,
//! or what of an address may be a secret.

use super::{Alert, Event, moment};

/// Of what one message stands for, what is shown one by one.
const SHOWN_MAX: usize = 10;
/// Longest line of one alert.
const LINE_MAX: usize = 1_000;
/// Longest name in a title.
const NAME_MAX: usize = 80;

/// A message in parts; each is clean.
pub(super) struct Words {
    /// Whom it concerns, and what is the matter.
    pub title: String,
    /// The line, or a line for each of many.
    pub lines: Vec<String>,
    /// The next command.
    pub next: String,
    /// Plan and host.
    pub from: String,
}

impl Words {
    pub fn of(alert: &Alert) -> Self {
        let line = |alert: &Alert| {
            let (message, observed, limit) = (clean(&alert.message), name(&alert.observed), name(&alert.limit));
            let mut line = clip(&message, LINE_MAX, char::len_utf16);
            for (what, value) in [("found", observed), ("wanted", limit)] {
                // most lines say it themselves
                if !value.is_empty() && !message.contains(&value) {
                    line.push_str(&format!(", {what}: {value}"));
                }
            }
            line
        };
        let mut lines = if alert.alerts.is_empty() { vec![line(alert)] } else { Vec::new() };
        for one in alert.alerts.iter().take(SHOWN_MAX) {
            lines.push(format!("{}: {}", title(one), line(one)));
        }
        let left = alert.alerts.len().saturating_sub(SHOWN_MAX);
        if left > 0 {
            lines.push(format!("and {left} more"));
        }
        lines.retain(|line| !line.is_empty());
        let from = format!("vault, plan {} on {}", name(&alert.plan), name(&alert.host));
        Self { title: title(alert), lines, next: clip(&clean(&alert.next), LINE_MAX, char::len_utf16), from }
    }

    /// All of it for whoever shows plain text.
    pub fn plain(&self, alert: &Alert) -> String {
        let mut text = self.lines.join("\n");
        if let Some(since) = alert.since {
            text.push_str(&format!("\nsince: {}", moment::shown(since)));
        }
        if !self.next.is_empty() {
            text.push_str(&format!("\nnext: {}", self.next));
        }
        text.push_str(&format!("\n{}", self.from));
        text
    }
}

fn name(text: &str) -> String {
    clip(&clean(text), NAME_MAX, char::len_utf16)
}

/// Whom it concerns, and what is the matter.
pub(super) fn title(alert: &Alert) -> String {
    let who = match (alert.source.as_str(), alert.alerts.len()) {
        ("", 0) => name(&alert.plan),
        ("", many) => format!("{}, {many} objectives", name(&alert.plan)),
        (source, _) => name(source),
    };
    format!("{who}: {}", matter(alert))
}

/// What is the matter.
pub(super) fn matter(alert: &Alert) -> String {
    let objective = match alert.objective.as_str() {
        "rpo" => "RPO".to_owned(),
        "rto" => "RTO".to_owned(),
        "wal" => "WAL".to_owned(),
        other => name(other),
    };
    match (alert.event, objective.as_str()) {
        (Event::Failed, "" | "runs") => "failed".to_owned(),
        (Event::Failed, objective) => format!("{objective} failed"),
        (Event::Missed, "") => "missed".to_owned(),
        (Event::Missed, objective) => format!("{objective} missed"),
        (Event::Suspect, _) => "suspect".to_owned(),
        (Event::Recovered, "") => "recovered".to_owned(),
        (Event::Recovered, objective) => format!("{objective} recovered"),
        (Event::Drill, _) => "drill passed".to_owned(),
        (Event::Done, _) => "done".to_owned(),
        (Event::Test, _) => "test".to_owned(),
    }
}

/// One line of printable text, with addresses cut to what is no secret.
pub(super) fn clean(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(is_visible).collect();
    spaced.split(' ').filter(|word| !word.is_empty()).map(without_secret).collect::<Vec<_>>().join(" ")
}

/// False for control characters, and for marks of no width, of direction and of language, which hide what is written.
fn is_visible(c: &char) -> bool {
    !c.is_control()
        && !matches!(*c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// An address in a word loses who asks, and what comes behind its path; one of the web all but its host.
fn without_secret(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let (rest, end) = match rest.find(['"', '\'', '`', '<', '>', '(', ')']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    // a password may hold any of these signs, so the last `@` counts
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    // of the web also the path may be all that it takes to send a message
    let ends: &[char] =
        if scheme.ends_with("http") || scheme.ends_with("https") { &['/', '?', '#'] } else { &['?', '#'] };
    let rest = rest.split(ends).next().unwrap_or_default();
    format!("{scheme}://{rest}{end}")
}

/// At most so much, as `measure` counts characters; what is cut ends in `…`.
pub(super) fn clip(text: &str, most: usize, measure: impl Fn(char) -> usize) -> String {
    let length: usize = text.chars().map(&measure).sum();
    if length <= most {
        return text.to_owned();
    }
    let room = most.saturating_sub(measure('…'));
    let mut used = 0usize;
    let fits = |c: &char| {
        used = used.saturating_add(measure(*c));
        used <= room
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::{clean, clip, title};
    use crate::alert::{Alert, Event};

    #[test]
    fn what_comes_from_outside_is_one_line_of_what_is_seen() {
        assert_eq!(clean("  a\r\nb\t\u{1b}[31mc\u{0}  d "), "a b [31mc d");
        assert_eq!(clean("pay\u{200b}\u{202e}load\u{feff}\u{e0041}"), "payload");
        assert_eq!(clean("Größe 漢字 🎉"), "Größe 漢字 🎉");
    }

    #[test]
    fn addresses_lose_what_may_be_secret() {
        for (text, shown) in [
            ("cannot reach postgres://u:hunter2@db/app?password=hunter2", "cannot reach postgres://db/app"),
            ("at https://u:p@ss@hooks.example/x?token=hunter2#hunter2", "at https://hooks.example"),
            ("(https://hooks.slack.com/services/T0/B0/hunter2)", "(https://hooks.slack.com)"),
            ("s3://bucket/prefix?access_key_id=hunter2", "s3://bucket/prefix"),
            ("(see \"redis://:hunter2@cache/0\")", "(see \"redis://cache/0\")"),
            ("plain a@b.example and 1:2 stay", "plain a@b.example and 1:2 stay"),
        ] {
            assert_eq!(clean(text), shown);
        }
    }

    #[test]
    fn a_cut_text_fits_by_its_own_measure() {
        assert_eq!(clip("abcdef", 6, char::len_utf8), "abcdef");
        assert_eq!(clip("abcdefg", 6, char::len_utf8), "abc…");
        assert_eq!(clip("🎉🎉🎉", 5, char::len_utf16), "🎉🎉…");
        assert_eq!(clip("abc", 0, char::len_utf8), "…");
    }

    #[test]
    fn a_title_says_who_and_what() {
        let alert = |event, source: &str, objective: &str| {
            let (source, objective) = (source.to_owned(), objective.to_owned());
            title(&Alert { source, objective, ..Alert::new(event, "shop", "web-1") })
        };
        assert_eq!(alert(Event::Missed, "app-db", "rpo"), "app-db: RPO missed");
        assert_eq!(alert(Event::Failed, "app-db", "runs"), "app-db: failed");
        assert_eq!(alert(Event::Failed, "app-db", "drill"), "app-db: drill failed");
        assert_eq!(alert(Event::Missed, "", "storage"), "shop: storage missed");
        assert_eq!(alert(Event::Test, "", ""), "shop: test");
    }
}

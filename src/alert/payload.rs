//! One alert in the form of each service: pure functions to an address and a JSON body. Each service has limits, beyond
//! which it refuses a message whole, and signs by which a text pings people or turns into a link; both are kept here.
//! Invariant: whatever an alert says, the body is accepted, pings nobody, and shows the text as it is.

use super::text::{Words, clip};
use super::{Alert, Event, moment};
use crate::plan::Format;
use serde_json::{Value, json};
use url::Url;

/// Of Slack: one section.
const SLACK_MAX: usize = 2_900;
/// Of Discord: the text, and the description of an embed, which may have 6,000 in all.
const DISCORD_TEXT_MAX: usize = 1_900;
const DISCORD_EMBED_MAX: usize = 3_500;
/// Of Teams: 28 KB for all of it.
const TEAMS_MAX: usize = 6_000;
/// Of ntfy, in bytes: a longer one becomes an attachment.
const NTFY_MAX: usize = 3_900;
const NTFY_TITLE_MAX: usize = 240;
/// Of Apprise: what the services behind it take differs.
const APPRISE_MAX: usize = 4_000;
/// So many of those that one stands for go along.
const GENERIC_MAX: usize = 100;

/// What is sent where.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    /// Where to: for ntfy the root of the server, whatever topic the address names.
    pub url: Url,
    /// What.
    pub body: Value,
}

impl Payload {
    /// An alert in a form, for an address.
    pub fn new(alert: &Alert, format: Format, url: &Url) -> Self {
        let words = Words::of(alert);
        let body = match format {
            Format::Slack => slack(alert, &words),
            Format::Discord => discord(alert, &words),
            Format::Teams => teams(alert, &words),
            Format::Ntfy => return ntfy(alert, &words, url),
            Format::Apprise => apprise(alert, &words),
            Format::Generic => generic(alert),
        };
        Self { url: url.clone(), body }
    }
}

/// The fields of an alert, cleaned: what programs get.
pub(super) fn generic(alert: &Alert) -> Value {
    let mut cleaned = cleaned(alert);
    cleaned.alerts = alert.alerts.iter().take(GENERIC_MAX).map(self::cleaned).collect();
    serde_json::to_value(cleaned).unwrap_or_default()
}

fn cleaned(alert: &Alert) -> Alert {
    let text = |text: &str| clip(&super::text::clean(text), 2_000, char::len_utf16);
    Alert {
        plan: text(&alert.plan),
        host: text(&alert.host),
        source: text(&alert.source),
        objective: text(&alert.objective),
        observed: text(&alert.observed),
        limit: text(&alert.limit),
        message: text(&alert.message),
        next: text(&alert.next),
        record: text(&alert.record),
        alerts: Vec::new(),
        ..alert.clone()
    }
}

/// How loud a message is.
#[derive(Clone, Copy)]
enum Tone {
    Bad,
    Odd,
    Good,
    Plain,
}

impl Tone {
    fn of(event: Event) -> Self {
        match event {
            Event::Failed | Event::Missed => Self::Bad,
            Event::Suspect => Self::Odd,
            Event::Recovered | Event::Drill | Event::Done => Self::Good,
            Event::Test => Self::Plain,
        }
    }
}

fn slack(alert: &Alert, words: &Words) -> Value {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let length = |c: char| escape(c.encode_utf8(&mut [0; 4])).chars().map(char::len_utf16).sum();
    let text = |text: &str| escape(&clip(text, SLACK_MAX, length));
    // verbatim: nothing in it becomes a link or a name that is pinged
    let section = |text: String| json!({ "type": "mrkdwn", "text": text, "verbatim": true });
    let mut blocks = vec![
        json!({ "type": "section", "text": section(format!("*{}*", text(&words.title))) }),
        json!({ "type": "section", "text": section(text(&words.lines.join("\n"))) }),
    ];
    let mut about = Vec::new();
    if let Some(since) = alert.since {
        // shown in the zone of whoever reads it
        let (seconds, shown) = (moment::seconds(since), moment::shown(since));
        about.push(section(format!("since <!date^{seconds}^{{date_short_pretty}} {{time}}|{shown}>")));
    }
    if !words.next.is_empty() {
        about.push(section(format!("next: {}", text(&words.next))));
    }
    about.push(section(text(&words.from)));
    blocks.push(json!({ "type": "context", "elements": about }));
    // what notifications show, and services that take Slack's form without its blocks
    let plain = format!("{}\n{}", words.title, words.plain(alert));
    json!({ "text": text(&plain), "blocks": blocks })
}

fn discord(alert: &Alert, words: &Words) -> Value {
    let is_sign = |c: char| "\\*_~`|>#[]()-<:@".contains(c);
    let escape = |text: &str| {
        let signs = text.chars().flat_map(|c| is_sign(c).then_some('\\').into_iter().chain([c]));
        signs.collect::<String>()
    };
    let length = |c: char| c.len_utf16() + usize::from(is_sign(c));
    let text = |text: &str, most| escape(&clip(text, most, length));
    let mut described = text(&words.lines.join("\n"), DISCORD_EMBED_MAX);
    if let Some(since) = alert.since {
        described.push_str(&format!("\nsince <t:{}:f>", moment::seconds(since)));
    }
    if !words.next.is_empty() {
        described.push_str(&format!("\nnext: {}", text(&words.next, 500)));
    }
    let color = match Tone::of(alert.event) {
        Tone::Bad => 0xd1_24_2f,
        Tone::Odd => 0xbf_87_00,
        Tone::Good => 0x1a_7f_37,
        Tone::Plain => 0x57_60_6a,
    };
    let footer = clip(&words.from, 500, char::len_utf16);
    json!({
        "content": text(&words.title, DISCORD_TEXT_MAX),
        "embeds": [{ "description": described, "color": color, "footer": { "text": footer } }],
        "allowed_mentions": { "parse": [] },
    })
}

fn teams(alert: &Alert, words: &Words) -> Value {
    let color = match Tone::of(alert.event) {
        Tone::Bad => "attention",
        Tone::Odd => "warning",
        Tone::Good => "good",
        Tone::Plain => "default",
    };
    // runs of text, which know no Markdown
    let block = |text: String, run: Value| {
        let mut run = run;
        run["type"] = "TextRun".into();
        run["text"] = text.into();
        json!({ "type": "RichTextBlock", "inlines": [run] })
    };
    let mut room = TEAMS_MAX;
    let mut body = vec![block(words.title.clone(), json!({ "size": "large", "weight": "bolder", "color": color }))];
    for line in &words.lines {
        let line = clip(line, room.min(2_000), char::len_utf16);
        room = room.saturating_sub(line.chars().count());
        body.push(block(line, json!({})));
    }
    if let Some(since) = alert.since {
        body.push(block(format!("since {}", moment::shown(since)), json!({})));
    }
    if !words.next.is_empty() {
        body.push(block(format!("next: {}", words.next), json!({ "fontType": "monospace" })));
    }
    body.push(block(words.from.clone(), json!({ "isSubtle": true, "size": "small" })));
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": body,
            },
        }],
    })
}

/// The topic is the last part of the address; the body goes to what is before it.
fn ntfy(alert: &Alert, words: &Words, url: &Url) -> Payload {
    let mut root = url.clone();
    let topic = url.path_segments().and_then(|mut parts| parts.rfind(|part| !part.is_empty())).unwrap_or_default();
    if let Ok(mut parts) = root.path_segments_mut() {
        parts.pop_if_empty().pop();
    }
    let (priority, tag) = match Tone::of(alert.event) {
        Tone::Bad => (4, "rotating_light"),
        Tone::Odd => (3, "warning"),
        Tone::Good => (3, "white_check_mark"),
        Tone::Plain => (3, "bell"),
    };
    let body = json!({
        "topic": topic,
        "title": clip(&words.title, NTFY_TITLE_MAX, char::len_utf8),
        "message": clip(&words.plain(alert), NTFY_MAX, char::len_utf8),
        "priority": priority,
        "tags": [tag],
    });
    Payload { url: root, body }
}

fn apprise(alert: &Alert, words: &Words) -> Value {
    let kind = match Tone::of(alert.event) {
        Tone::Bad => "failure",
        Tone::Odd => "warning",
        Tone::Good => "success",
        Tone::Plain => "info",
    };
    let body = clip(&words.plain(alert), APPRISE_MAX, char::len_utf16);
    json!({ "title": clip(&words.title, 250, char::len_utf16), "body": body, "type": kind, "format": "text" })
}

#[cfg(test)]
mod tests {
    use super::Payload;
    use crate::alert::{Alert, Event};
    use crate::plan::Format;
    use crate::time::WallTime;
    use serde_json::Value;
    use url::Url;

    const ALL: [Format; 6] =
        [Format::Slack, Format::Discord, Format::Teams, Format::Ntfy, Format::Apprise, Format::Generic];

    fn payload(alert: &Alert, format: Format) -> Value {
        Payload::new(alert, format, &Url::parse("https://hooks.example/a/topic").unwrap()).body
    }

    fn hostile() -> Alert {
        let bad = "<!channel> @everyone **x** [a](https://b.example) & \u{202e}\u{200b}\r\nDROP \u{7}".repeat(300);
        Alert {
            source: "app-db".into(),
            objective: "rpo".into(),
            message: bad.clone(),
            observed: bad.clone(),
            limit: bad.clone(),
            next: bad.clone(),
            plan: bad.clone(),
            host: bad.clone(),
            since: Some(WallTime::new(1_790_000_000_000_000_000)),
            record: bad,
            ..Alert::new(Event::Missed, "shop", "web-1")
        }
    }

    fn strings(value: &Value) -> Vec<String> {
        match value {
            Value::String(text) => vec![text.clone()],
            Value::Array(values) => values.iter().flat_map(strings).collect(),
            Value::Object(values) => values.values().flat_map(strings).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn whatever_an_alert_says_fits_and_pings_nobody() {
        let many: Vec<Alert> = (0..200).map(|_| hostile()).collect();
        for alert in [hostile(), Alert { alerts: many, ..hostile() }] {
            for format in ALL {
                let body = payload(&alert, format);
                for text in strings(&body) {
                    let is_bad = |c: char| c != '\n' && (c.is_control() || ['\u{202e}', '\u{200b}'].contains(&c));
                    assert!(!text.contains(is_bad), "{format:?}: {text}");
                    assert!(format == Format::Generic || text.encode_utf16().count() <= 5_000, "{format:?}");
                }
                assert!(body.to_string().len() < 2_000_000);
            }
            let slack = payload(&alert, Format::Slack).to_string();
            assert!(!slack.contains("<!channel") && slack.contains("&lt;!channel&gt;"), "{slack}");
            let teams = payload(&alert, Format::Teams).to_string();
            assert!(teams.len() < 28_000, "{}", teams.len());
            let ntfy = payload(&alert, Format::Ntfy);
            assert!(ntfy["message"].as_str().unwrap().len() <= 4_096 && ntfy["title"].as_str().unwrap().len() <= 250);
            let discord = payload(&alert, Format::Discord);
            assert_eq!(discord["allowed_mentions"]["parse"], Value::Array(Vec::new()));
            let description = discord["embeds"][0]["description"].as_str().unwrap();
            assert!(description.encode_utf16().count() <= 4_096 && !description.contains(" **"), "{description}");
        }
    }

    #[test]
    fn each_form_says_whom_what_since_when_and_what_next() {
        let alert = Alert {
            source: "app-db".into(),
            objective: "rpo".into(),
            observed: "3 h 10 min".into(),
            limit: "1 h".into(),
            message: "the newest snapshot is too old".into(),
            next: "vault run app-db".into(),
            since: Some(WallTime::new(1_790_000_000_000_000_000)),
            ..Alert::new(Event::Missed, "shop", "web-1")
        };
        for format in ALL {
            let text = strings(&payload(&alert, format)).join("\n").replace('\\', "");
            let since = match format {
                Format::Discord => "<t:1790000000:f>",
                Format::Generic => "2026-09-21T14:13:20Z",
                _ => "2026-09-21 14:13 UTC",
            };
            for part in ["app-db", "too old", "3 h 10 min", "1 h", "vault run app-db", "shop", "web-1", since] {
                assert!(text.contains(part), "{format:?} lacks {part}: {text}");
            }
        }
        let fields = payload(&alert, Format::Generic);
        let names: Vec<&String> = fields.as_object().unwrap().keys().collect();
        assert_eq!(names.len(), 11, "{names:?}");
        assert_eq!((&fields["observed"], &fields["event"]), (&Value::from("3 h 10 min"), &Value::from("missed")));
    }

    #[test]
    fn ntfy_gets_its_topic_in_the_body() {
        for (address, root) in [
            ("https://ntfy.sh/backups", "https://ntfy.sh/"),
            ("https://:token@ntfy.example/sub/backups/", "https://:token@ntfy.example/sub"),
        ] {
            let alert = Alert::new(Event::Test, "shop", "web-1");
            let payload = Payload::new(&alert, Format::Ntfy, &Url::parse(address).unwrap());
            assert_eq!((payload.url.as_str(), &payload.body["topic"]), (root, &Value::from("backups")));
        }
    }
}

//! Alerts to real servers and programs: each in its form, once, and what happens where nobody answers.

use crate::inbox::{assert_form, python};
use crate::web::{Answer, OK, Web};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vault::alert::{Alert, Channel, Command, Event, Receivers, Round, Told, Webhook, tell, test_message};
use vault::plan::Format;
use vault::runtime::{Clock, Runtime};

/// Stands wherever a secret may stand.
pub const CANARY: &str = "hunter2";

/// A clock that nobody waits for.
pub fn quick() -> Runtime {
    Runtime::seeded(7, Clock::Manual(Arc::default()), 2)
}

pub fn missed(source: &str) -> Alert {
    Alert {
        source: source.into(),
        objective: "rpo".into(),
        observed: "3 h 10 min".into(),
        limit: "1 h".into(),
        message: format!("cannot reach postgres://app:{CANARY}@db.example/app?password={CANARY}\u{202e}\r\n<!channel>"),
        next: format!("vault run {source}"),
        ..Alert::new(Event::Missed, "shop", "web-1")
    }
}

pub fn met(source: &str) -> Alert {
    Alert { event: Event::Recovered, message: "the newest snapshot is 2 min old".into(), ..missed(source) }
}

pub fn receivers(channels: Vec<Channel>) -> Receivers {
    let on = vec![Event::Failed, Event::Missed, Event::Suspect, Event::Recovered];
    Receivers { channels, on, repeat: Duration::from_hours(24), patience: Duration::from_secs(15) }
}

fn webhook(name: &str, url: &str, format: Option<Format>) -> Channel {
    Channel::Webhook(Webhook { name: name.into(), url: url.to_owned().into(), format })
}

fn hook(web: &Web) -> Receivers {
    receivers(vec![webhook("HOOK", &web.url(&format!("/services/{CANARY}?token={CANARY}")), None)])
}

fn failure(round: &Round) -> &str {
    assert_eq!(round.failures.len(), 1, "{:?}", round.failures);
    assert!(!round.failures[0].contains(CANARY) && !round.failures[0].contains('\n'), "{}", round.failures[0]);
    &round.failures[0]
}

#[test]
fn each_service_hears_once_in_its_form_and_once_that_it_is_over() {
    let Some(python) = python("jsonschema") else { return };
    let web = Web::start(&[]);
    let runtime = quick();
    for (name, format, path) in [
        ("slack", Format::Slack, "/slack/x"),
        ("discord", Format::Discord, "/discord/x"),
        ("teams", Format::Teams, "/teams/x"),
        ("ntfy", Format::Ntfy, "/ntfy/backups"),
        ("apprise", Format::Apprise, "/notify/x"),
        ("generic", Format::Generic, "/hook?a=b"),
    ] {
        let to = receivers(vec![webhook("HOOK", &web.url(path), Some(format))]);
        let mut told: Vec<Told> = Vec::new();
        let mut round = |said: &[Alert]| {
            runtime.clock.sleep(Duration::from_mins(5));
            let round = tell(&runtime, said, &told, &to);
            assert!(round.failures.is_empty(), "{:?}", round.failures);
            // as the journal keeps it
            let facts = Told::facts(&round.told);
            let facts = facts.iter().map(|(name, fact)| (name.as_str(), fact.as_str()));
            told.extend(Told::read(runtime.clock.now(), facts));
            web.take()
        };
        let began = round(&[missed("app-db")]);
        assert!(round(&[missed("app-db")]).is_empty());
        let ended = round(&[met("app-db")]);
        assert!(round(&[met("app-db")]).is_empty());
        let path = if format == Format::Ntfy { "/ntfy" } else { path };
        for asked in [&began, &ended] {
            let [asked] = asked.as_slice() else { panic!("{name}: {} messages", asked.len()) };
            assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", path));
            assert!(asked.headers.contains(&"content-type: application/json".to_owned()), "{:?}", asked.headers);
            assert!(!asked.body.contains(CANARY), "{}", asked.body);
            assert!(format != Format::Slack || !asked.body.contains("<!channel"), "{}", asked.body);
            assert_form(&python, name, &asked.body);
        }
        assert!(ended[0].body.replace('\\', "").contains("was: cannot reach"), "{}", ended[0].body);
        let many: Vec<Alert> = (0..300).map(|number| missed(&format!("source-{number}"))).collect();
        let all = round(&many);
        assert_eq!(all.len(), 1, "{name}: an outage of everything is one message");
        assert_form(&python, name, &all[0].body);
        assert_eq!(round(&[test_message("shop", "web-1")]).len(), 1);
    }
}

#[test]
fn a_busy_server_is_asked_again_when_it_says() {
    for busy in [
        "429 Too Many Requests\r\nretry-after: 3\r\n\r\n",
        "429 Too Many Requests\r\n\r\n{\"message\": \"slow down\", \"retry_after\": 3.0}",
        "503 Service Unavailable\r\nretry-after: 3\r\n\r\n",
    ] {
        let (web, runtime) = (Web::start(&[Answer::Says(busy)]), quick());
        let round = tell(&runtime, &[missed("a")], &[], &hook(&web));
        assert!(round.failures.is_empty(), "{:?}", round.failures);
        assert_eq!((web.take().len(), runtime.clock.elapsed().nanoseconds()), (2, 3_000_000_000));
    }
    let (web, runtime) = (Web::start(&[Answer::Says("429 Too Many Requests\r\nretry-after: 60\r\n\r\n")]), quick());
    let round = tell(&runtime, &[missed("a")], &[], &hook(&web));
    assert!(failure(&round).contains("left alone for 60s"), "{:?}", round.failures);
    assert_eq!((web.take().len(), runtime.clock.elapsed().nanoseconds()), (1, 0));
}

#[test]
fn what_did_not_arrive_is_told_with_the_next_run() {
    let broken = Answer::Says("500 Internal Server Error\r\n\r\n");
    let (web, runtime) = (Web::start(&[broken.clone(), broken.clone(), broken]), quick());
    let to = hook(&web);
    let round = tell(&runtime, &[missed("a")], &[], &to);
    let line = format!("cannot send 1 alert to HOOK (127.0.0.1:{}): it answered 500", web.port);
    assert!(failure(&round).starts_with(&line), "{:?}", round.failures);
    assert_eq!((web.take().len(), round.told[0].missed.as_slice()), (3, ["HOOK".to_owned()].as_slice()));
    // the next run judges something else
    let next = tell(&runtime, &[met("b")], &round.told, &to);
    assert_eq!(next.told[0].reached, ["HOOK"]);
    assert_eq!(web.take()[0].json()["source"], "a");
}

#[test]
fn what_a_server_refuses_for_good_is_not_sent_again() {
    for (answer, words) in [
        ("404 Not Found\r\n\r\nno such hook: hunter2", "it answered 404 Not Found"),
        ("301 Moved Permanently\r\nlocation: http://127.0.0.1:1/hunter2\r\n\r\n", "its address has moved"),
    ] {
        let web = Web::start(&[Answer::Says(answer)]);
        let round = tell(&quick(), &[missed("a")], &[], &hook(&web));
        assert!(failure(&round).contains(words), "{:?}", round.failures);
        assert_eq!(web.take().len(), 1);
    }
}

#[test]
fn whoever_does_not_answer_costs_no_more_than_the_patience_and_keeps_nobody_from_hearing() {
    let (silent, web) = (Web::start(&[Answer::Hangs, Answer::Hangs, Answer::Hangs]), Web::start(&[OK]));
    let runtime = Runtime::seeded(7, Clock::System, 4);
    let nobody = testkit::port::free();
    let to = Receivers {
        patience: Duration::from_millis(1_200),
        ..receivers(vec![
            webhook("SILENT", &silent.url("/hunter2"), None),
            webhook("NOBODY", &format!("http://127.0.0.1:{nobody}/hunter2"), None),
            webhook("UNKNOWN", "http://nowhere.invalid/hunter2", None),
            webhook("WRONG", "hooks.example/hunter2", None),
            webhook("HOOK", &web.url("/"), None),
        ])
    };
    let began = Instant::now();
    let round = tell(&runtime, &[missed("a"), missed("b")], &[], &to);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(web.take().len(), 2);
    let lines = round.failures.join("\n");
    assert!(!lines.contains(CANARY), "{lines}");
    for words in
        ["SILENT (127.0.0.1", "no answer within", "NOBODY (127", "refused", "UNKNOWN (nowhere.invalid)", "WRONG: "]
    {
        assert!(lines.contains(words), "{words} in:\n{lines}");
    }
    assert_eq!((round.told.len(), round.told[0].reached.len(), round.told[0].missed.len()), (2, 1, 4));
}

fn program(script: &str) -> Channel {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    let path = std::env::var_os("PATH").unwrap_or_default();
    Channel::Command(Command { argv, environment: vec![("PATH".into(), path)] })
}

#[test]
fn a_program_gets_the_message_and_little_else() {
    let folder = tempfile::tempdir().unwrap();
    let (message, environment) = (folder.path().join("message"), folder.path().join("environment"));
    let script = format!("cat > {}; env > {}; echo {CANARY}", message.display(), environment.display());
    let runtime = Runtime::seeded(7, Clock::System, 0);
    let round = tell(&runtime, &[missed("a")], &[], &receivers(vec![program(&script)]));
    assert!(round.failures.is_empty(), "{:?}", round.failures);
    let message: serde_json::Value = serde_json::from_slice(&std::fs::read(message).unwrap()).unwrap();
    assert_eq!((&message["event"], &message["source"]), (&"missed".into(), &"a".into()));
    let names = std::fs::read_to_string(environment).unwrap();
    let mut names: Vec<&str> = names.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.retain(|name| !["PWD", "_", "SHLVL", "OLDPWD"].contains(name));
    assert_eq!(names, ["PATH"]);
}

#[test]
fn a_program_that_fails_or_hangs_is_ended_and_told_again() {
    let runtime = Runtime::seeded(7, Clock::System, 0);
    let short = |script: &str, patience| Receivers { patience, ..receivers(vec![program(script)]) };
    let round = tell(&runtime, &[missed("a")], &[], &short("echo hunter2 >&2; exit 3", Duration::from_secs(8)));
    assert!(failure(&round).contains("it failed (status 3)"), "{:?}", round.failures);
    let began = Instant::now();
    let round = tell(&runtime, &[missed("a")], &[], &short("sleep 300", Duration::from_secs(6)));
    assert!(failure(&round).contains("ran longer"), "{:?}", round.failures);
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    let many: Vec<Alert> = (0..900).map(|number| missed(&"x".repeat(number))).collect();
    // nobody reads what is more than a pipe takes
    let round = tell(&runtime, &many, &[], &short("true", Duration::from_secs(6)));
    assert!(round.failures.is_empty(), "{:?}", round.failures);
}

//! Pings to a real server: start and end under one id, and a server that is dead.

use crate::alerts::{CANARY, quick};
use crate::web::{Answer, Web};
use std::time::{Duration, Instant};
use vault::alert::{PATIENCE, Ping, Pinger, Signal};
use vault::format::id::RunId;
use vault::runtime::{Clock, Runtime};

fn ping(web: &Web, path: &str) -> Ping {
    Ping { name: "PING_URL".into(), url: web.url(path).into() }
}

#[test]
fn a_server_hears_of_start_and_end_under_one_id() {
    let (web, runtime) = (Web::start(&[]), quick());
    for (end, path) in [(Signal::Success, "/hc/key"), (Signal::Fail, "/hc/key/fail")] {
        let pinger = Pinger::new(&runtime, RunId(runtime.random()), PATIENCE);
        let ping = ping(&web, "/hc/key");
        pinger.ping(&ping, Signal::Start, "").unwrap();
        pinger.ping(&ping, end, &format!("app-db: cannot reach postgres://u:{CANARY}@db/app\nsecond line")).unwrap();
        let asked = web.take();
        let (start, start_id) = asked[0].path.split_once("?rid=").unwrap();
        let (end, end_id) = asked[1].path.split_once("?rid=").unwrap();
        assert_eq!((start, end, start_id, asked.len()), ("/hc/key/start", path, end_id, 2));
        assert!(start_id.len() == 36 && start_id.as_bytes()[14] == b'4', "{start_id}");
        assert_eq!(asked[1].body, "app-db: cannot reach postgres://db/app second line");
        assert!(asked[1].headers.iter().any(|header| header.starts_with("user-agent: vault/")));
    }
}

#[test]
fn a_dead_server_costs_all_pings_of_a_run_no_more_than_the_patience() {
    let web = Web::start(&vec![Answer::Hangs; 20]);
    let runtime = Runtime::seeded(7, Clock::System, 0);
    let pinger = Pinger::new(&runtime, RunId([7; 16]), Duration::from_millis(900));
    let began = Instant::now();
    let ping = ping(&web, &format!("/{CANARY}?key={CANARY}"));
    for signal in [Signal::Start, Signal::Log, Signal::Success, Signal::Fail, Signal::Start, Signal::Fail] {
        let failure = pinger.ping(&ping, signal, "").unwrap_err();
        let line = format!("cannot ping PING_URL (127.0.0.1:{}): ", web.port);
        assert!(failure.starts_with(&line) && !failure.contains(CANARY), "{failure}");
    }
    assert!(began.elapsed() < Duration::from_millis(2_500), "{:?}", began.elapsed());
    // another server still hears
    let other = Web::start(&[]);
    pinger.ping(&Ping { name: "OTHER".into(), url: other.url("/x").into() }, Signal::Success, "").unwrap();
    assert_eq!(other.take().len(), 1);
}

#[test]
fn a_busy_server_is_pinged_again_and_a_wrong_address_is_not() {
    let runtime = quick();
    let pinger = Pinger::new(&runtime, RunId([7; 16]), PATIENCE);
    let busy = Web::start(&[Answer::Says("429 Too Many Requests\r\nretry-after: 2\r\n\r\n")]);
    pinger.ping(&ping(&busy, "/x"), Signal::Success, "").unwrap();
    assert_eq!(busy.take().len(), 2);
    let gone = Web::start(&[Answer::Says("404 Not Found\r\n\r\n")]);
    assert!(pinger.ping(&ping(&gone, "/x"), Signal::Success, "").unwrap_err().contains("404"));
    assert_eq!(gone.take().len(), 1);
    let wrong = Ping { name: "PING_URL".into(), url: format!("hc-ping.com/{CANARY}").into() };
    let failure = pinger.ping(&wrong, Signal::Start, "").unwrap_err();
    assert!(failure.contains("https://") && !failure.contains(CANARY), "{failure}");
}

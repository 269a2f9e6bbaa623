//! Figures as Prometheus takes them: its own program lints them, and tries the rules that come with vault.

use crate::alerts::CANARY;
use crate::inbox::{assert_lint, promtool};
use crate::web::{Answer, Web};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use vault::metrics::{
    ClusterFigures, CopyFigures, DrillFigures, Metrics, ObjectiveFigure, RepositoryFigures, RunCounts, SourceFigures,
    push, write,
};
use vault::time::WallTime;

/// One plan, whose figures differ from run to run.
fn metrics(run: u64) -> Metrics {
    let time =
        |ago: u64| (run > 0).then(|| WallTime::new(1_790_000_000_000_000_000) + Duration::from_secs(run * 3_600 - ago));
    let source = |name: &str, drill: Option<DrillFigures>| SourceFigures {
        source: name.into(),
        domain: "d".into(),
        last_success: time(0),
        last_attempt: time(5),
        bytes: run << 33,
        added_bytes: run * 7,
        stored_bytes: run * 3,
        duration: Duration::from_millis(run * 1_234),
        snapshots: run,
        runs: RunCounts { done: run, failed: run / 3, ..RunCounts::default() },
        rpo: Some(Duration::from_hours(1)),
        rto: drill.map(|_| Duration::from_mins(30)),
        drill,
    };
    let objective = |source: &str, objective: &str| ObjectiveFigure {
        source: source.into(),
        domain: if source.is_empty() { String::new() } else { "d".into() },
        objective: objective.into(),
        is_met: run.is_multiple_of(2),
    };
    Metrics {
        plan: "shop \"one\" \\ two".into(),
        version: "0.1.0".into(),
        is_up: run > 0,
        sources: vec![
            source("app-db", Some(DrillFigures { passed: run, ..DrillFigures::default() })),
            source("uploads", None),
        ],
        objectives: vec![objective("app-db", "rpo"), objective("uploads", "rpo"), objective("", "storage")],
        clusters: vec![ClusterFigures { cluster: "main".into(), last_archived: time(1), gaps: run % 5 }],
        copies: vec![CopyFigures { copy: "second".into(), last_success: time(2) }],
        repository: RepositoryFigures {
            stored_bytes: run * 1_000,
            quota_bytes: Some(1 << 40),
            free_bytes: Some(1 << 39),
            last_check: time(3),
            oldest_verified: time(4),
        },
    }
}

fn series(text: &str) -> BTreeSet<&str> {
    text.lines().map(|line| if line.starts_with('#') { line } else { line.rsplit_once(' ').unwrap().0 }).collect()
}

#[test]
fn promtool_finds_nothing_and_no_series_comes_or_goes() {
    let first = metrics(0).text();
    for run in 1..100 {
        assert_eq!(series(&metrics(run).text()), series(&first), "run {run}");
    }
    let Some(promtool) = promtool() else { return };
    for text in [first, metrics(42).text(), Metrics::default().text()] {
        assert_lint(&promtool, &text);
    }
}

/// Every figure that a rule names is one that is written.
#[test]
fn check_43_the_rules_fire_where_they_should() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = std::fs::read_to_string(root.join("examples/prometheus-rules.yml")).unwrap();
    let text = metrics(1).text();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let exprs = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let named: BTreeSet<&str> =
        exprs.flat_map(|expr| expr.split(|c| !is_part(c))).filter(|word| word.starts_with("vault_")).collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} is not written");
    }
    let Some(promtool) = promtool() else { return };
    let tests = root.join("tests/backends/prometheus-rules.test.yml");
    let tested = Command::new(promtool).args(["test", "rules"]).arg(&tests).output().unwrap();
    assert!(
        tested.status.success(),
        "{}",
        String::from_utf8_lossy(&tested.stderr) + String::from_utf8_lossy(&tested.stdout)
    );
    let tests = std::fs::read_to_string(tests).unwrap();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert_eq!(tests.matches(&format!("alertname: {alert}\n")).count(), 2, "{alert} is not tried both ways");
    }
}

#[test]
fn a_gateway_gets_the_figures_of_this_host() {
    let web = Web::start(&[]);
    push(&metrics(3), &web.url("/prefix/"), "web-1").unwrap();
    let asked = web.take();
    let place = (asked[0].method.as_str(), asked[0].path.as_str());
    assert_eq!(place, ("PUT", "/prefix/metrics/job/vault/instance/web-1/plan/shop%20%22one%22%20%5C%20two"));
    assert_eq!(asked[0].body, metrics(3).text());
    let refusing = Web::start(&[Answer::Says("400 Bad Request\r\n\r\nhunter2")]);
    let address = refusing.url("").replace("http://", &format!("http://user:{CANARY}@"));
    let failure = push(&metrics(3), &address, "web-1").unwrap_err().to_string();
    let expected = format!("cannot push metrics to 127.0.0.1:{}: it answered 400 Bad Request", refusing.port);
    assert_eq!(failure, expected);
    assert!(refusing.take()[0].headers.iter().any(|header| header.starts_with("authorization: basic")));
}

/// Whoever reads while it is written finds a whole file.
#[test]
fn a_reader_never_finds_a_part() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.prom");
    write(&metrics(0), &path).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| (1..200).for_each(|run| write(&metrics(run), &path).unwrap()));
        for _ in 0..500 {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("# HELP vault_build_info") && text.contains("objective=\"storage\""), "{text}");
        }
    });
}

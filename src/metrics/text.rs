//! Figures as Prometheus reads them: families in a fixed order, each with help and type, labels escaped. Times are points
//! in time and no ages: whoever reads subtracts.

use super::{DrillFigures, Metrics, SourceFigures};
use crate::time::WallTime;
use jiff::Timestamp;
use std::fmt::Display;
use std::time::Duration;

pub(super) fn of(metrics: &Metrics) -> String {
    let mut text = Text { out: String::new(), plan: &metrics.plan, name: String::new(), header: None };
    text.family("vault_build_info", "gauge", "Version of vault.");
    text.sample(&[("version", &metrics.version)], 1);
    text.family("vault_up", "gauge", "1 if the repository could be reached and read.");
    text.sample(&[], u8::from(metrics.is_up));
    sources(metrics, &mut text);
    drills(metrics, &mut text);
    repository(metrics, &mut text);
    text.family("vault_objective_met", "gauge", "1 if the objective is met, 0 if it is missed or can't be judged.");
    for one in &metrics.objectives {
        let labels = [("source", &one.source), ("domain", &one.domain), ("objective", &one.objective)];
        text.sample(&labels.map(|(name, value)| (name, value.as_str())), u8::from(one.is_met));
    }
    text.out
}

fn sources(metrics: &Metrics, text: &mut Text<'_>) {
    let mut each = |name: &str, help: &str, figure: &dyn Fn(&SourceFigures) -> Option<f64>| {
        text.family(&format!("vault_source_{name}"), "gauge", help);
        for source in &metrics.sources {
            if let Some(figure) = figure(source) {
                text.sample(&labels(source), figure);
            }
        }
    };
    each("last_success_timestamp_seconds", "When the newest good run began; 0 if none did.", &|source| {
        Some(seconds(source.last_success))
    });
    each("last_attempt_timestamp_seconds", "When the newest run began; 0 if none did.", &|source| {
        Some(seconds(source.last_attempt))
    });
    each("bytes", "Size of the newest snapshot.", &|source| Some(source.bytes as f64));
    each("added_bytes", "What of the newest snapshot was new.", &|source| Some(source.added_bytes as f64));
    each("stored_bytes", "What the newest snapshot took in the store.", &|source| Some(source.stored_bytes as f64));
    each("duration_seconds", "How long the newest run took.", &|source| Some(source.duration.as_secs_f64()));
    each("snapshots", "How many snapshots there are.", &|source| Some(source.snapshots as f64));
    each("rpo_seconds", "How old the newest good run may be.", &|source| source.rpo.map(|rpo| rpo.as_secs_f64()));
    each("rto_seconds", "How long a restore may take.", &|source| source.rto.map(|rto| rto.as_secs_f64()));
    text.family("vault_source_runs_total", "counter", "Runs by their outcome, as far back as the journal goes.");
    for source in &metrics.sources {
        let runs = &source.runs;
        for (outcome, count) in [
            ("done", runs.done),
            ("unchanged", runs.unchanged),
            ("partial", runs.partial),
            ("failed", runs.failed),
            ("busy", runs.busy),
            ("skipped", runs.skipped),
        ] {
            let [source, domain] = labels(source);
            text.sample(&[source, domain, ("outcome", outcome)], count);
        }
    }
}

fn drills(metrics: &Metrics, text: &mut Text<'_>) {
    let drills = || metrics.sources.iter().filter_map(|source| Some((source, source.drill.as_ref()?)));
    let mut each = |name: &str, help: &str, figure: &dyn Fn(&DrillFigures) -> f64| {
        text.family(&format!("vault_drill_{name}"), "gauge", help);
        for (source, drill) in drills() {
            text.sample(&labels(source), figure(drill));
        }
    };
    each("last_success_timestamp_seconds", "When the newest passed drill began; 0 if none did.", &|drill| {
        seconds(drill.last_success)
    });
    each("last_duration_seconds", "How long the newest passed drill took.", &|drill| drill.last_duration.as_secs_f64());
    text.family("vault_drill_runs_total", "counter", "Drills by their verdict, as far back as the journal goes.");
    for (source, drill) in drills() {
        for (verdict, count) in [("passed", drill.passed), ("failed", drill.failed), ("unproven", drill.unproven)] {
            let [source, domain] = labels(source);
            text.sample(&[source, domain, ("verdict", verdict)], count);
        }
    }
}

fn repository(metrics: &Metrics, text: &mut Text<'_>) {
    let figures = &metrics.repository;
    text.family(
        "vault_check_last_success_timestamp_seconds",
        "gauge",
        "When the newest good check began; 0 if none did.",
    );
    text.sample(&[], seconds(figures.last_check));
    let help = "When the data was verified, or stored, whose last time is longest ago; 0 without a check.";
    text.family("vault_check_oldest_verified_timestamp_seconds", "gauge", help);
    text.sample(&[], seconds(figures.oldest_verified));
    let help = "Up to when WAL is archived; 0 if none is.";
    text.family("vault_wal_last_archived_timestamp_seconds", "gauge", help);
    for one in &metrics.clusters {
        text.sample(&[("cluster", &one.cluster)], seconds(one.last_archived));
    }
    text.family("vault_wal_gaps", "gauge", "Holes in the archive of WAL.");
    for one in &metrics.clusters {
        text.sample(&[("cluster", &one.cluster)], one.gaps);
    }
    text.family("vault_repository_stored_bytes", "gauge", "What the repository takes in the store.");
    text.sample(&[], figures.stored_bytes);
    for (name, help, bytes) in [
        ("vault_repository_quota_bytes", "What the repository may take in the store.", figures.quota_bytes),
        ("vault_repository_free_bytes", "What is left for the repository.", figures.free_bytes),
    ] {
        text.family(name, "gauge", help);
        bytes.into_iter().for_each(|bytes| text.sample(&[], bytes));
    }
    let help = "When the newest good copy began; 0 if none did.";
    text.family("vault_copy_last_success_timestamp_seconds", "gauge", help);
    for one in &metrics.copies {
        text.sample(&[("copy", &one.copy)], seconds(one.last_success));
    }
}

fn labels(source: &SourceFigures) -> [(&str, &str); 2] {
    [("source", &source.source), ("domain", &source.domain)]
}

fn seconds(time: Option<WallTime>) -> f64 {
    let stamp = time.map_or(Timestamp::UNIX_EPOCH, Timestamp::from);
    let length = Duration::from_millis(stamp.as_millisecond().try_into().unwrap_or_default());
    length.as_secs_f64()
}

/// Text that grows; each sample belongs to the family before it, and a family without any is left out.
struct Text<'a> {
    out: String,
    plan: &'a str,
    name: String,
    header: Option<String>,
}

impl Text<'_> {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        name.clone_into(&mut self.name);
        self.header = Some(format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.out.extend(self.header.take());
        self.out.push_str(&self.name);
        for (number, (name, value)) in labels.iter().chain(&[("plan", self.plan)]).enumerate() {
            let before = if number == 0 { '{' } else { ',' };
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.out.push(before);
            self.out.push_str(&format!("{name}=\"{value}\""));
        }
        self.out.push_str(&format!("}} {value}\n"));
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::{Metrics, ObjectiveFigure, RunCounts, SourceFigures};
    use crate::time::WallTime;

    #[test]
    fn labels_are_escaped_and_what_never_was_is_zero() {
        let plan = "a\"b\\c\nd".to_owned();
        let last_attempt = Some(WallTime::new(1_790_000_000_500_000_000));
        let runs = RunCounts { failed: 3, ..RunCounts::default() };
        let source =
            SourceFigures { source: "app-db".into(), domain: "d".into(), last_attempt, runs, ..Default::default() };
        let objective = ObjectiveFigure { objective: "storage".into(), ..ObjectiveFigure::default() };
        let metrics = Metrics { plan, sources: vec![source], objectives: vec![objective], ..Metrics::default() };
        let text = metrics.text();
        let plan = r#"plan="a\"b\\c\nd""#;
        for line in [
            format!("vault_source_last_success_timestamp_seconds{{source=\"app-db\",domain=\"d\",{plan}}} 0"),
            format!(
                "vault_source_last_attempt_timestamp_seconds{{source=\"app-db\",domain=\"d\",{plan}}} 1790000000.5"
            ),
            format!("vault_source_runs_total{{source=\"app-db\",domain=\"d\",outcome=\"failed\",{plan}}} 3"),
            format!("vault_objective_met{{source=\"\",domain=\"\",objective=\"storage\",{plan}}} 0"),
            format!("vault_up{{{plan}}} 0"),
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        assert!(!text.contains("rpo_seconds") && !text.contains("vault_drill"), "a family without samples: {text}");
    }
}

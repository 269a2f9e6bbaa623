//! Rules that keep nothing are refused: a tag that nothing bears was mistyped, and that only the newest snapshot of a
//! source would stay is not what anybody means.

use jiff::tz::TimeZone;
use testkit::world::{Hand, init, tick};
use vault::progress::Silent;
use vault::repository::{Repository, View};
use vault::retention::Policy;
use vault::{backup, forget, source};

fn take(repository: &Repository, name: &str, tags: &[&str]) {
    tick(repository);
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let options = backup::Options { name: name.into(), tags, ..backup::Options::default() };
    let source = backup::Source::Stream(&mut name.as_bytes(), b"dump".to_vec());
    backup::backup(repository, source, &options, &Silent).unwrap();
}

#[test]
fn a_history_of_several_folders_or_hosts_is_not_cut_without_a_word() {
    let hand = Hand::new();
    let owner = init(hand.store(), &hand.runtime(1, 0));
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let take = |name: &str, folder: usize, host: &str| {
        tick(&owner);
        let options = backup::Options { name: name.into(), host: host.into(), ..backup::Options::default() };
        let paths = vec![folders[folder].path().to_owned()];
        backup::backup(&owner, backup::Source::Paths(paths, source::Options::default()), &options, &Silent).unwrap();
    };
    for turn in 0..3 {
        take("plain", 0, "a");
        take("paths", turn % 2, "a");
        take("hosts", 0, ["a", "b"][turn % 2]);
        take("moved", turn / 2, ["a", "b", "c"][turn]);
    }
    let mixed = |only: &str, count| {
        let policy = Policy { last: Some(count), ..Policy::default() };
        let options = forget::Options { dry_run: true, ..forget::Options::default() };
        let report = forget::by_policy(&owner, [only], (&policy, &TimeZone::UTC), &options).unwrap();
        report.mixed.into_iter().map(|one| (one.name, one.places, one.hosts)).collect::<Vec<_>>()
    };
    assert_eq!(mixed("paths", 1), [("paths".to_owned(), 2, 0)]);
    assert_eq!(mixed("hosts", 1), [("hosts".to_owned(), 0, 2)]);
    assert_eq!(mixed("moved", 1), [], "what changed for good is one history");
    assert_eq!([mixed("plain", 1), mixed("paths", 3), mixed("hosts", 3)].concat(), [], "nothing is cut");
}

#[test]
fn rules_that_keep_nothing_of_a_source_are_refused() {
    let hand = Hand::new();
    let owner = init(hand.store(), &hand.runtime(1, 0));
    for _ in 0..3 {
        take(&owner, "tagged", &["gold", "daily"]);
        take(&owner, "plain", &[]);
    }
    let tags = |tags: &[&str]| Policy { tags: tags.iter().map(|tag| (*tag).into()).collect(), ..Policy::default() };
    let refused = |only: &[&str], policy: &Policy| {
        for dry_run in [true, false] {
            let options = forget::Options { dry_run, ..forget::Options::default() };
            let result = forget::by_policy(&owner, only.iter().copied(), (policy, &TimeZone::UTC), &options);
            assert_eq!(View::to_read(&owner).unwrap().snapshots.visible().count(), 6);
            if dry_run {
                continue;
            }
            return result.unwrap_err().to_string();
        }
        unreachable!()
    };
    let said = refused(&[], &tags(&["glod"]));
    assert!(said.contains("glod") && said.contains("daily, gold"), "{said}");
    assert!(refused(&["plain"], &tags(&["gold"])).contains("there are no tags"));
    assert!(refused(&["tagged"], &tags(&["gold", "glod"])).contains("glod"), "one of several is mistyped");
    let with_others = Policy { last: Some(1), ..tags(&["glod"]) };
    assert!(refused(&[], &with_others).contains("glod"), "beside other rules, too");
    assert!(refused(&[], &tags(&["gold"])).contains("plain"), "it keeps nothing of the other source");
    let report = forget::by_policy(&owner, ["tagged"], (&tags(&["gold"]), &TimeZone::UTC), &forget::Options::default());
    assert_eq!(report.unwrap().forgotten(), 0);
    let last = Policy { last: Some(1), ..Policy::default() };
    let report = forget::by_policy(&owner, ["plain"], (&last, &TimeZone::UTC), &forget::Options::default());
    assert_eq!(report.unwrap().forgotten(), 2, "one by a rule is what was asked for");
}

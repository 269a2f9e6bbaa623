//! Versions of two streams that one machine or a team of one domain takes, forgets and sweeps in an order that follows
//! from a seed: whatever was not forgotten comes back, to all who may read it, and prune never stops. In a team the same
//! version is a difference in one machine's packs and whole in another's, and either may be somebody's base; and a thief
//! of one more key says that it has all of it.

use crate::claims::claim_all;
use crate::versions::{bytes, dump, take, work, world};
use std::collections::BTreeMap;
use std::time::Duration;
use testkit::simulated::Simulated;
use testkit::world::{Hand, assert_clean, check, member, noise, open, open_as, restore_stream, stored_bytes};
use vault::plan::Delta;
use vault::progress::Silent;
use vault::prune;
use vault::repository::Repository;
use vault::repository::objects::orders;
use vault_format::bundle::{Bundle, Role};
use vault_format::id::ObjectId;
use vault_format::order::Action;

/// Who takes snapshots: the owner alone, or two clients and a writer of one domain.
struct Team {
    hand: Hand,
    store: Simulated,
    owner: Repository,
    members: Vec<Bundle>,
    /// Of the same domain; its key is stolen.
    thief: Bundle,
}

impl Team {
    fn new(roles: &[Role]) -> Self {
        let (hand, store, owner) = world();
        let members = roles.iter().zip(["first", "second", "third"]);
        let members = members.map(|(role, label)| member(&owner, *role, label, Some("team")).1).collect();
        let (_, thief) = member(&owner, Role::Client, "stolen", Some("team"));
        Self { hand, store, owner, members, thief }
    }

    /// A machine as it starts: the owner's where there is no such member.
    fn machine(&self, number: usize, seed: u64) -> Repository {
        let runtime = self.hand.runtime(100 + seed, 0);
        match self.members.get(number) {
            Some(bundle) => open_as(self.store.clone(), &runtime, bundle).unwrap(),
            None => open(self.store.clone(), &runtime).unwrap(),
        }
    }

    fn prune(&self, max_unused: u64) {
        let max_unused = prune::Unused::Bytes(max_unused);
        let options = prune::Options { max_unused, without_snapshots: true, ..prune::Options::default() };
        for _ in 0..2 {
            let report = prune::prune(&self.owner, &options, &Silent).unwrap();
            assert!(report.left_out.is_empty(), "{report:?}");
            self.hand.advance(Duration::from_hours(25));
        }
    }
}

/// One of what is kept: whose it is, and its bytes.
type Kept = BTreeMap<ObjectId, (usize, Vec<u8>)>;

fn assert_kept(team: &Team, kept: &Kept, (lies, context): (u8, &str)) {
    let owner = team.machine(usize::MAX, 90);
    if lies == 0 {
        assert_clean(&owner, true, context);
    }
    let readers: Vec<Repository> = (0..team.members.len()).map(|number| team.machine(number, 91)).collect();
    for (id, (number, stream)) in kept {
        assert!(restore_stream(&owner, *id).unwrap() == *stream, "{context}: {id}");
        let is_shared = readers.get(*number).is_some_and(|author| author.keys().role() == Role::Client);
        for reader in readers.iter().filter(|reader| is_shared && reader.keys().role() == Role::Client) {
            assert!(restore_stream(reader, *id).unwrap() == *stream, "{context}: a member reads {id}");
        }
    }
}

fn history(seed: u64) {
    let context = format!("VAULT_TEST_SEED={seed}");
    let mut choices = noise(seed, 96).into_iter();
    let mut choose = |of: u8| choices.next().map_or(0, |byte| byte % of);
    let roles: &[Role] = if seed.is_multiple_of(2) { &[] } else { &[Role::Client, Role::Client, Role::Writer] };
    let team = Team::new(roles);
    let mut lines = [dump(2_500), dump(1_500)];
    let mut versions = lines.each_ref().map(|lines| vec![bytes(lines)]);
    let (mut alive, mut lies) = (Kept::new(), 0);
    for step in 0..12 {
        match choose(8) {
            0..=3 => {
                let of = usize::from(choose(2));
                let who = usize::from(choose(u8::try_from(roles.len().max(1)).unwrap()));
                // the others have perhaps taken it before
                let back = if roles.is_empty() { 0 } else { usize::from(choose(3)) };
                if back == 0 {
                    work(&mut lines[of], step);
                    versions[of].push(bytes(&lines[of]));
                }
                let stream = versions[of].iter().rev().nth(back).unwrap_or(&versions[of][0]).clone();
                let delta = if choose(6) == 0 { Delta::Never } else { Delta::Always };
                let machine = team.machine(who, step as u64);
                alive.insert(take(&machine, ["db", "web"][of], &stream, delta).0, (who, stream));
            }
            4 | 5 => {
                let nth = usize::from(choose(4)) % alive.len().max(1);
                let Some((id, (who, _))) = alive.iter().nth(nth).map(|(id, kept)| (*id, kept.clone())) else {
                    continue;
                };
                let domain = team.machine(who, 80).keys().domain();
                orders::put(&team.owner, domain, Action::Forget(vec![id])).unwrap();
                alive.remove(&id);
            }
            6 if choose(2) == 0 => drop(check(&team.owner, true)),
            6 if !alive.is_empty() && !roles.is_empty() => {
                lies += 1;
                claim_all(&team.store, &team.owner, &team.thief, (lies, None));
            }
            _ => team.prune(if choose(2) == 0 { 0 } else { 1 << 20 }),
        }
    }
    assert_kept(&team, &alive, (lies, &context));
    team.prune(0);
    assert_kept(&team, &alive, (lies, &context));
    assert!(stored_bytes(&team.store) > 0);
}

/// `VAULT_TEST_SEED` replays one; `VAULT_TEST_HISTORIES` asks for more.
#[test]
fn what_lives_comes_back_whatever_was_forgotten_and_swept() {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    if let Some(seed) = number("VAULT_TEST_SEED") {
        return history(seed);
    }
    (0..number("VAULT_TEST_HISTORIES").unwrap_or(16)).for_each(history);
}

/// Two machines of a team back the same database up in turn: what is whole in the packs of the one, and a base there, is a
/// difference in those of the other, and older.
#[test]
fn what_one_machine_has_as_a_difference_is_another_ones_base() {
    for (is_read, max_unused) in [(false, 1 << 30), (false, 0), (true, 0)] {
        let team = Team::new(&[Role::Client, Role::Client]);
        let (mut lines, mut kept) = (dump(2_500), Kept::new());
        let versions: Vec<Vec<u8>> = (0..3)
            .map(|hour| {
                work(&mut lines, hour);
                bytes(&lines)
            })
            .collect();
        for (who, version) in [(0, 0), (0, 1), (1, 1), (1, 2)] {
            let stream = versions[version].clone();
            let (id, _) = take(&team.machine(who, version as u64), "db", &stream, Delta::Always);
            kept.insert(id, (who, stream));
            team.hand.advance(Duration::from_hours(1));
        }
        if is_read {
            assert_clean(&team.owner, true, "vouching");
        }
        for _ in 0..2 {
            team.prune(max_unused);
            assert_kept(&team, &kept, (0, &format!("read: {is_read}, {max_unused}")));
        }
    }
}

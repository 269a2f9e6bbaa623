//! What a stranger reads of the month: files that the program wrote for him, without the key and without vault. And what
//! the program says of a journal that somebody laid hands on.

use super::script::Dice;
use super::world::World;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use testkit::simulated::Simulated;
use vault::backend::Store;
use vault_format::id::ObjectId;
use vault_format::name::Name;

/// One line of what was done: when, what, of which source, how it ended, who, why.
pub type Deed = (i64, String, String, String, String, String);

/// Kinds of what is compared. Begins do not count, their ends do.
pub const DEEDS: [&str; 5] = ["snapshot", "restore", "check", "forget", "prune"];

/// The program on a copy of the store in a folder.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new(world: &World, store: &Simulated) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in store.objects() {
            let path = folder.path().join("repository").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        fs::write(folder.path().join("owner.key"), world.key_file()).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// `None` where the program is not built.
    fn vault(&self, words: &[&str]) -> Option<Output> {
        let mut command = Command::new(option_env!("CARGO_BIN_EXE_vault")?);
        command
            .args(words)
            .arg("--repository")
            .arg(self.path("repository"))
            .arg("--key-file")
            .arg(self.path("owner.key"));
        command.env("VAULT_CACHE_DIR", self.path("cache")).env_remove("VAULT_PASSWORD").env_remove("VAULT_KEY_FILE");
        Some(command.output().unwrap())
    }
}

/// The export of all holds each deed once, in both files, and nothing else of their kinds.
pub fn read_by_a_stranger(world: &World, deeds: &[Deed], context: &str) {
    let desk = Desk::new(world, &world.store);
    let output = desk.path("audit");
    let Some(said) = desk.vault(&["journal", "export", "--output", output.to_str().unwrap()]) else { return };
    assert!(said.status.success(), "{context}: {}", String::from_utf8_lossy(&said.stderr));
    let journal: Value = serde_json::from_slice(&fs::read(output.join("journal.json")).unwrap()).unwrap();
    let all = journal["records"].as_array().unwrap();
    let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    let deed = |one: &Value| -> Deed {
        let time: jiff::Timestamp = text(one, "time").parse().unwrap();
        let rest = ["operation", "source", "outcome", "actor", "reason"].map(|name| text(one, name));
        let [operation, source, outcome, actor, reason] = rest;
        (time.as_second(), operation, source, outcome, actor, reason)
    };
    let is_deed = |one: &&Value| DEEDS.contains(&one["operation"].as_str().unwrap()) && one["outcome"] != "begun";
    let is_of_plan = |one: &&Value| one["source"] == "vault-plan";
    let mut found: Vec<Deed> = all.iter().filter(is_deed).filter(|one| !is_of_plan(one)).map(deed).collect();
    let mut wanted = deeds.to_vec();
    found.sort();
    wanted.sort();
    if found != wanted {
        let count = |deeds: &[Deed], one: &Deed| deeds.iter().filter(|other| *other == one).count();
        let differs = |one: &&Deed| count(&found, one) != count(&wanted, one);
        let both: BTreeSet<&Deed> = found.iter().chain(&wanted).filter(differs).collect();
        panic!("{context}: told or done, not both: {both:#?}");
    }
    assert!(all.iter().all(|one| !text(one, "actor").is_empty()), "{context}: somebody did each");
    assert_eq!(rows(&output.join("journal.csv")), all.iter().map(|one| text(one, "id")).collect::<Vec<_>>());
    let verified = desk.vault(&["journal", "verify", "--quiet"]).unwrap();
    assert!(verified.status.success(), "{context}: {}", String::from_utf8_lossy(&verified.stderr));
}

/// The column `id` of a file of comma-separated values, as a spreadsheet's reader finds it.
fn rows(file: &Path) -> Vec<String> {
    let script = "import csv,sys\nfor row in csv.DictReader(open(sys.argv[1], newline='')): print(row['id'])";
    let output = Command::new("python3").args(["-c", script]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// What somebody may do to records who can write to the store.
#[derive(Clone, Copy, Debug)]
enum Hand {
    Removes,
    Edits,
    /// As if it had always been so: under the name that the new bytes give.
    EditsAndRenames,
    /// Under another month.
    Moves,
    /// Each under the name of the other.
    Swaps,
}

/// Each is named: by what is missing, or by what is not as it was.
pub fn forged(world: &World, dice: &mut Dice, context: &str) {
    let names = alone(world);
    for hand in [Hand::Removes, Hand::Edits, Hand::EditsAndRenames, Hand::Moves, Hand::Swaps] {
        let store = world.store.snapshot(1);
        // the newest is missed only by who remembers it
        let older = usize::try_from(dice.between(0, i64::try_from(names.len()).unwrap() / 2)).unwrap();
        let sorted = by_age(world, &names);
        let (one, other) = (&sorted[older], &sorted[older + 1]);
        let touched = lay_hands(&store, hand, one, other);
        let desk = Desk::new(world, &store);
        let Some(said) = desk.vault(&["journal", "verify", "--quiet"]) else { return };
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(20), "{context}: {hand:?} {one}: {text}");
        for id in touched {
            assert!(text.contains(&id), "{context}: {hand:?} of {one} is not named: {text}");
        }
    }
}

/// Records that are nowhere else: what a month holds too nobody can take away with the record alone.
fn alone(world: &World) -> Vec<String> {
    let objects = world.store.objects();
    let of_kind = |is_month: bool| {
        let kind = move |name: &str| match Name::parse(name) {
            Some(Name::Month(..)) => is_month,
            Some(Name::Journal(..)) => !is_month,
            _ => false,
        };
        objects.iter().filter(move |(name, _)| kind(name))
    };
    let is_held =
        |bytes: &Vec<u8>| of_kind(true).any(|(_, month)| month.windows(bytes.len()).any(|part| part == bytes));
    of_kind(false).filter(|(_, bytes)| !is_held(bytes)).map(|(name, _)| name.clone()).collect()
}

/// Objects of the journal, oldest first.
fn by_age(world: &World, names: &[String]) -> Vec<String> {
    let arrival = |name: &String| world.store.stat(name).unwrap().modified;
    let mut aged: Vec<_> = names.iter().map(|name| (arrival(name), name)).collect();
    aged.sort();
    aged.into_iter().map(|(_, name)| name.clone()).collect()
}

fn bytes(store: &Simulated, name: &str) -> Vec<u8> {
    store.objects().remove(name).unwrap()
}

/// Gives the ids of the objects that are not what they were.
fn lay_hands(store: &Simulated, hand: Hand, one: &str, other: &str) -> Vec<String> {
    let id = |name: &str| Name::parse(name).unwrap().id().unwrap().to_string();
    let content = bytes(store, one);
    match hand {
        Hand::Removes => assert!(store.remove(one)),
        Hand::Edits => assert!(store.damage(one, |bytes| *bytes.last_mut().unwrap() ^= 1)),
        Hand::EditsAndRenames => {
            let mut new = content.clone();
            let middle = new.len() / 2;
            new[middle] ^= 1;
            let (folder, _) = one.rsplit_once('/').unwrap();
            let name = format!("{folder}/{}", ObjectId::of(&new));
            assert!(store.remove(one));
            store.put(&name, &new).unwrap();
        }
        Hand::Moves => {
            let Name::Journal(domain, year, month, id) = Name::parse(one).unwrap() else { panic!("{one}") };
            let name = Name::Journal(domain, year - 1, month, id).to_string();
            assert!(store.remove(one));
            store.put(&name, &content).unwrap();
        }
        Hand::Swaps => {
            let second = bytes(store, other);
            assert!(store.damage(one, |bytes| *bytes = second) && store.damage(other, |bytes| *bytes = content));
            return vec![id(one), id(other)];
        }
    }
    vec![id(one)]
}

//! Machines that were cloned while they ran, or a state that was resumed twice: they draw the same random bytes, and store
//! different things. Nothing of that may be sealed with one key and nonce.

use std::collections::BTreeMap;
use testkit::simulated::Simulated;
use testkit::world::{Hand, init, member, noise, open, open_as, snapshot_stream};
use vault::progress::Silent;
use vault::tag::{self, Change};
use vault::{backup, keys, list};
use vault_format::bundle::{Bundle, Role};
use vault_format::header::HEADER_BYTES;
use vault_format::name::Name;
use vault_format::pack::PackEnd;
use vault_format::slot::{KDF_FLOOR, NewPassword};

/// All that was stored since, by salt. Marks seal nothing.
fn salts(store: &Simulated, before: &BTreeMap<String, Vec<u8>>) -> BTreeMap<[u8; 32], (String, Vec<u8>)> {
    let new = store.objects().into_iter().filter(|(name, _)| !before.contains_key(name));
    let salted = new.filter(|(name, _)| !name.starts_with("marks/")).map(|(name, bytes)| {
        let salt = match Name::parse(&name) {
            Some(Name::Pack(..)) => PackEnd::parse(&bytes, bytes.len() as u64).unwrap().salt,
            _ => bytes[HEADER_BYTES..HEADER_BYTES + 32].try_into().unwrap(),
        };
        (salt, (name, bytes))
    });
    salted.collect()
}

/// What a clone does from here: two runs of a client, an order of the owner and a new key, all with this in it.
fn go_on(hand: &Hand, store: &Simulated, bundle: &Bundle, seed: u64) {
    let client = open_as(store.clone(), &hand.runtime(7, 0), bundle).unwrap();
    // the first megabyte is the same: packs begin alike
    let stream = [noise(1, 1 << 20), noise(seed, 2 << 20)].concat();
    snapshot_stream(&client, &stream).unwrap();
    snapshot_stream(&client, &noise(seed, 1000)).unwrap();
    let owner = open(store.clone(), &hand.runtime(8, 0)).unwrap();
    let newest = list::snapshots(&owner).unwrap().snapshots.visible().next_back().unwrap().id;
    let change = Change { add: vec![format!("tag-{seed}")], ..Change::default() };
    tag::tag(&owner, &newest.to_string(), &|_| None, &change).unwrap();
    let new = keys::NewKey { role: Role::Client, label: Some(format!("client-{seed}")), domain: None };
    let draft = keys::draft(&owner, &new).unwrap();
    keys::add(&owner, &draft, Some(NewPassword { password: b"the same", kdf: KDF_FLOOR }), &Silent).unwrap();
}

#[test]
fn who_goes_on_twice_from_one_state_seals_nothing_else_under_one_salt() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    let (_, bundle) = member(&owner, Role::Client, "laptop", None);
    let before = store.objects();
    let clones = [store.snapshot(5), store.snapshot(5)];
    for (clone, seed) in clones.iter().zip([2, 3]) {
        go_on(&hand, clone, &bundle, seed);
    }
    let [one, other] = clones.map(|clone| salts(&clone, &before));
    for kind in ["packs/d/", "packs/m/", "index/", "snapshots/", "journal/", "orders/", "keys/"] {
        assert!(one.values().any(|(name, _)| name.starts_with(kind)), "{kind}");
    }
    for (salt, (name, bytes)) in &one {
        let is_same = other.get(salt).is_none_or(|(_, theirs)| theirs == bytes);
        assert!(is_same, "{name} and {} have the same salt", other[salt].0);
    }
}

/// What is not stored as it is has no name but its bytes: another program, or another level, encodes the same in another way.
#[test]
fn what_is_encoded_in_two_ways_has_two_salts() {
    let hand = Hand::new();
    let store = hand.store();
    let owner = init(store.clone(), &hand.runtime(1, 0));
    let (_, bundle) = member(&owner, Role::Client, "laptop", None);
    let before = store.objects();
    let text: String = noise(1, 100_000).iter().map(|byte| format!("{byte} ")).collect();
    let packs = [1, 19].map(|level| {
        let clone = store.snapshot(5);
        let client = open_as(clone.clone(), &hand.runtime(7, 0), &bundle).unwrap();
        let (source, name) = (backup::Source::Stream(&mut text.as_bytes(), b"dump".to_vec()), "stream".to_owned());
        let options = backup::Options { name, level: Some(level), ..backup::Options::default() };
        backup::backup(&client, source, &options, &Silent).unwrap();
        let packs = salts(&clone, &before).into_iter().filter(|(_, (name, _))| name.starts_with("packs/d/"));
        packs.collect::<Vec<_>>()
    });
    let [one, other] = packs;
    assert!(one.len() == 1 && other.len() == 1 && one[0].1 != other[0].1);
    assert_ne!(one[0].0, other[0].0);
}

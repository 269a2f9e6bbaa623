//! What is torn for ever and quarantined by the owner: it stops nobody any more, and nothing else is lost. What is whole
//! can't be quarantined.

use crate::copied::client;
use crate::repaired::{Small, repair_all};
use testkit::world::{assert_clean, assert_restores, snapshot_folder};
use vault::backend::Store;
use vault::{prune, repair};
use vault_format::id::ObjectId;
use vault_format::mark::Mark;
use vault_format::name::Name;
use vault_format::object::Author;

#[test]
fn the_owner_quarantines_what_is_torn() {
    let small = Small::new();
    let owner = small.open(&small.store, 2);
    let member = client(&owner, &small.store, &small.hand);
    let pack = small.packs().into_iter().next().unwrap();
    let Name::Pack(class, id) = pack else { panic!("a pack") };
    let mark = Mark::Condemn { packs: vec![(class, id)], snapshots: Vec::new(), grace: 1 };
    let mark = mark.seal(owner.id(), owner.keys().signer(), &[1; 32]).unwrap();
    let order = vault_format::order::Order {
        number: 3,
        time: 0,
        action: vault_format::order::Action::Forget(vec![ObjectId::default()]),
        after: Vec::new(),
    };
    let domain = owner.keys().domain();
    let (signer, book) = (owner.keys().signer(), &owner.keys().own_book());
    let order = order.seal(&Author { repository: owner.id(), domain, signer, book }, &[1; 32]).unwrap();
    let names = [Name::Mark(ObjectId::of(&mark)), Name::Order(ObjectId::of(&order))];
    let torn = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let mut cases: Vec<(Name, Vec<u8>)> = names.into_iter().zip([torn(&mark), torn(&order)]).collect();
    for name in small.names() {
        let bytes = torn(&small.store.objects()[&name.to_string()]);
        match name {
            Name::Index(..) | Name::Journal(..) => cases.push((name, bytes)),
            Name::Snapshot(_, _, id) if id == small.ids[2] => cases.push((name, bytes)),
            _ => {}
        }
    }
    assert!(cases.len() >= 6, "{cases:?}");
    for (name, bytes) in cases {
        let store = small.store.snapshot(1);
        store.remove(&name.to_string());
        store.put(&name.to_string(), &bytes).unwrap();
        let repository = small.open(&store, 3);
        let marked = prune::mark(&repository, &prune::Options::default());
        let is_stopped = marked.map_or(true, |report| !report.left_out.is_empty());
        assert!(is_stopped || matches!(name, Name::Journal(..)), "{name} stops nobody");
        let dry = repair::quarantine(&repository, &name.to_string(), true).unwrap();
        assert!(dry.orders.is_empty());
        let id = name.id().unwrap().to_string();
        let done = repair::quarantine(&repository, &id[..12], false).unwrap();
        assert_eq!(done.name, name.to_string());
        let context = format!("{name} is quarantined");
        if let Name::Index(..) = name {
            assert!(repair_all(&repository, None).indexed_packs > 0, "{context}");
        }
        assert_clean(&repository, true, &context);
        prune::mark(&repository, &prune::Options::default()).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_restores(&repository, small.ids[0], small.folders[0].path(), &context);
        // whoever has no key of the owner is not stopped either
        let member = client(&small.open(&store, 4), &store, &small.hand);
        snapshot_folder(&member, small.folders[0].path()).unwrap_or_else(|error| panic!("{context}: {error}"));
    }
    for name in small.names().iter().filter(|name| !matches!(name, Name::Config | Name::ConfigCopy)) {
        let refused = repair::quarantine(&owner, &name.to_string(), false);
        assert!(refused.is_err(), "{name} is healthy");
    }
    assert!(repair::quarantine(&member, "abcd", false).unwrap_err().to_string().contains("owner"));
}

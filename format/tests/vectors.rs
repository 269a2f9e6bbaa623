//! Every file under `vectors/` is decoded and must end as it says; each is also generated, so none is there unread.
//! `VAULT_WRITE_VECTORS=1 cargo test -p vault-format vectors` writes them anew.

#[path = "vectors_support/make.rs"]
mod make;
#[path = "vectors_support/objects.rs"]
mod objects;
#[path = "vectors_support/pages.rs"]
mod pages;
#[path = "vectors_support/run.rs"]
mod run;
use run::Vector;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn generated() -> BTreeMap<String, String> {
    let mut maker = make::Maker::default();
    objects::all(&mut maker);
    pages::all(&mut maker);
    maker.vectors.iter().map(|vector| (vector.path.clone(), vector.text())).collect()
}

fn stored(folder: &Path) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for area in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        for file in fs::read_dir(area.path()).unwrap().map(Result::unwrap) {
            let name = format!("{}/{}", area.file_name().to_str().unwrap(), file.file_name().to_str().unwrap());
            let path = name.strip_suffix(".txt").unwrap_or_else(|| panic!("{name} is no vector"));
            out.insert(path.to_owned(), fs::read_to_string(file.path()).unwrap());
        }
    }
    out
}

#[test]
fn vectors_end_as_they_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let made = generated();
    if std::env::var_os("VAULT_WRITE_VECTORS").is_some() {
        let _ = fs::remove_dir_all(&folder);
        for (path, text) in &made {
            let path = folder.join(format!("{path}.txt"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }
    let found = stored(&folder);
    let mut wrong = Vec::new();
    let mut counts: BTreeMap<(String, bool), usize> = BTreeMap::new();
    for (path, text) in &found {
        let vector = Vector::parse(path, text);
        let expect = vector.fields["expect"].clone();
        let outcome = vector.outcome();
        if outcome != expect {
            wrong.push(format!("{path}: expected {expect}, got {outcome}"));
        }
        *counts.entry((vector.fields["decoder"].clone(), expect == "ok")).or_default() += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (decoder, _) in counts.keys() {
        let count = |ok: bool| counts.get(&(decoder.clone(), ok)).copied().unwrap_or_default();
        assert!(count(true) > 0 && count(false) >= 3, "{decoder}: {} accepts, {} rejects", count(true), count(false));
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), made.keys().collect::<Vec<_>>());
    for (path, text) in &made {
        assert!(found[path] == *text, "{path} is generated otherwise: did the format change?");
    }
    let total = |ok: bool| counts.iter().filter(|((_, is), _)| *is == ok).map(|(_, count)| count).sum::<usize>();
    println!("{} accepts, {} rejects", total(true), total(false));
}

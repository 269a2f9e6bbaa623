//! scratch
use std::path::PathBuf;
use vault::backend::{Backend, BackendOptions, location::Location};
use vault::repository::{Access, NewRepository, Options, Repository};
use vault::runtime::Runtime;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let rt = Runtime::system(a[4].parse().unwrap()).unwrap();
    let t = std::time::Instant::now();
    let mk = |create| {
        Backend::open(&Location::parse(&a[2]).unwrap(), &BackendOptions { create, ..Default::default() }, &rt).unwrap()
    };
    let open = || {
        Repository::open(mk(false), rt.clone(), Options::default(), Access::Password(b"x"))
            .unwrap_or_else(|e| panic!("{e}"))
    };
    match a[1].as_str() {
        "init" => {
            Repository::init(mk(true), rt.clone(), Options::default(), NewRepository::new(b"x"))
                .unwrap_or_else(|e| panic!("{e}"));
        }
        "snap" => {
            let r = open();
            eprintln!("open {:?}", t.elapsed());
            let o = vault::backup::Options { name: "src".into(), ..Default::default() };
            let rep = vault::backup::backup(
                &r,
                vault::backup::Source::Paths(vec![PathBuf::from(&a[3])], Default::default()),
                &o,
                &vault::progress::Silent,
            )
            .unwrap_or_else(|e| panic!("{e}"));
            println!("{:?} {:?} failed {}", rep.snapshot, rep.head.statistics, rep.failed.len());
            for f in rep.failed.iter().take(5) {
                println!("{f}");
            }
        }
        "restore" => {
            let r = open();
            let c = vault::list::snapshots(&r).unwrap();
            let (s, p) = vault::list::find(&c, "latest", &|_| None).unwrap_or_else(|e| panic!("{e}"));
            let rep = vault::restore::restore(
                &r,
                (&c, s),
                &p,
                &PathBuf::from(&a[3]),
                &Default::default(),
                &vault::progress::Silent,
            )
            .unwrap_or_else(|e| panic!("{e}"));
            println!("{rep:?}");
        }
        "check" => {
            let r = open();
            println!(
                "{:?}",
                vault::check::check(&r, &vault::check::Options { read_data: true }, &vault::progress::Silent)
                    .unwrap_or_else(|e| panic!("{e}"))
            );
        }
        "prune" => {
            let r = open();
            let o = vault::prune::Options { grace: Some(std::time::Duration::ZERO), dry_run: false };
            println!("{:?}", vault::prune::mark(&r, &o).unwrap_or_else(|e| panic!("{e}")));
            println!("{:?}", vault::prune::sweep(&r).unwrap_or_else(|e| panic!("{e}")));
        }
        _ => {}
    }
    eprintln!("total {:?}", t.elapsed());
}

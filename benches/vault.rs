//! What the stages of a snapshot cost, each alone, and all of them end to end: figures to compare before and after a
//! change on the same machine. The data is made from a seed and looks like a plain database dump.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use testkit::simulated::Simulated;
use vault::backend::{Backend, BackendOptions, Location};
use vault::chunk::{Chunker, Gear};
use vault::progress::Silent;
use vault::repository::lookup::BlobLookup;
use vault::repository::objects::index_objects::IndexObjects;
use vault::repository::objects::marks::Marks;
use vault::repository::objects::trust::Trust;
use vault::repository::{NewRepository, Options, Repository};
use vault::runtime::{Clock, Runtime};
use vault::{backup, source};
use vault_format::compress::{LEVEL_DEFAULT, compress};
use vault_format::frame::{FrameCodec, FrameSeal};
use vault_format::id::{BlobId, BlobKind, Class, RepositoryId};
use vault_format::key::Key;
use vault_format::slot::KDF_FLOOR;

const MIB: usize = 1 << 20;

/// Lines as of a table in a dump.
fn dump(bytes: usize) -> Vec<u8> {
    let mut random = ChaCha20Rng::seed_from_u64(7);
    let mut out = Vec::with_capacity(bytes + 100);
    while out.len() < bytes {
        let (id, price, word) = (out.len(), random.next_u32() % 100_000, random.next_u64());
        out.extend_from_slice(format!("{id}\torder\t{price}\t{word:016x}\t2026-01-01 00:00:00\n").as_bytes());
    }
    out.truncate(bytes);
    out
}

fn stages(criterion: &mut Criterion) {
    let (data, key) = (dump(64 * MIB), Key::new([7; 32]));
    let mut group = criterion.benchmark_group("stages");
    group.sample_size(10).throughput(Throughput::Bytes(data.len() as u64));
    let gear = Gear::new(&key);
    group.bench_function("chunk", |bencher| {
        bencher.iter(|| {
            let (mut chunker, mut input, mut chunks) = (Chunker::new(), data.as_slice(), 0);
            while chunker.next(&gear, &mut input).unwrap().is_some() {
                chunks += 1;
            }
            chunks
        });
    });
    group.bench_function("identify", |bencher| {
        bencher.iter(|| {
            data.chunks(MIB / 8).for_each(|chunk| {
                black_box(key.blob_id(BlobKind::Chunk, chunk));
            })
        });
    });
    group.bench_function("compress", |bencher| {
        bencher.iter(|| {
            let frames = data.chunks(MIB / 2);
            frames.map(|bytes| compress(bytes, LEVEL_DEFAULT).unwrap().map_or(0, |out| out.len())).sum::<usize>()
        });
    });
    let seal = FrameSeal {
        repository: RepositoryId([1; 16]),
        class: Class::Data,
        ordinal: 0,
        codec: FrameCodec::Raw,
        plain: u32::try_from(MIB / 2).unwrap(),
    };
    group.bench_function("seal", |bencher| {
        bencher.iter(|| data.chunks(MIB / 2).map(|bytes| seal.seal(&key, bytes).unwrap().len()).sum::<usize>());
    });
    group.finish();
}

fn init(backend: Backend, runtime: &Runtime) -> Repository {
    let new = NewRepository { kdf: KDF_FLOOR, ..NewRepository::new(b"password") };
    Repository::init(backend, runtime.clone(), Options::default(), new).unwrap()
}

fn options() -> backup::Options {
    backup::Options { name: "bench".into(), ..backup::Options::default() }
}

fn lookup(criterion: &mut Criterion) {
    let runtime = Runtime::seeded(1, Clock::System, 2);
    let store = Simulated::new(Clock::System, Duration::ZERO, 1);
    let repository = init(Backend::from_store(Arc::new(store), &BackendOptions::default(), &runtime), &runtime);
    let data = dump(64 * MIB);
    backup::backup(&repository, backup::Source::Stream(&mut data.as_slice(), b"dump".to_vec()), &options(), &Silent)
        .unwrap();
    let trust = Trust::load(&repository).unwrap();
    let mut group = criterion.benchmark_group("index");
    let load = || {
        let objects = IndexObjects::load(&repository, &trust, None).unwrap();
        BlobLookup::new(&repository, objects, None, &Marks::default()).unwrap()
    };
    let index = load();
    let known: Vec<BlobId> = index.blobs().collect();
    group.throughput(Throughput::Elements(known.len() as u64));
    group.bench_function("load", |bencher| bencher.iter(load));
    let present = |index: &BlobLookup| known.iter().filter(|id| index.is_there(id)).count();
    group.bench_function("find", |bencher| bencher.iter(|| present(black_box(&index))));
    group.finish();
}

fn files(root: &Path) {
    let data = dump(32 * MIB);
    for (number, part) in data.chunks(16 << 10).enumerate() {
        let folder = root.join(format!("{:02}", number % 32));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{number}")), part).unwrap();
    }
}

fn snapshot(criterion: &mut Criterion) {
    let place = tempfile::tempdir().unwrap();
    let tree = place.path().join("tree");
    files(&tree);
    let runtime = Runtime::system(std::thread::available_parallelism().map_or(1, usize::from)).unwrap();
    let create = BackendOptions { create: true, ..BackendOptions::default() };
    let mut number = 0;
    let mut fresh = || {
        number += 1;
        let location = Location::Local(place.path().join(format!("repository-{number}")));
        init(Backend::open(&location, &create, &runtime).unwrap(), &runtime)
    };
    let take = |repository: &Repository| {
        let source = backup::Source::Paths(vec![tree.clone()], source::Options::default());
        backup::backup(repository, source, &options(), &Silent).unwrap()
    };
    let mut group = criterion.benchmark_group("snapshot");
    group.sample_size(10).throughput(Throughput::Bytes(32 * MIB as u64));
    group.bench_function("first", |bencher| {
        bencher.iter_batched(&mut fresh, |repository| drop(take(&repository)), BatchSize::PerIteration);
    });
    let repository = fresh();
    take(&repository);
    group.bench_function("unchanged", |bencher| bencher.iter(|| take(&repository)));
    group.finish();
}

criterion_group!(all, stages, lookup, snapshot);
criterion_main!(all);

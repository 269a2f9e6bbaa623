//! The seekable reader of stored files: any range of it is that range of the whole file, and costs no more than the
//! pages and chunks in it.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::io::{Read, Seek, SeekFrom};
use testkit::world::{Hand, init, noise};
use vault::repository::lookup::BlobLookup;
use vault::repository::objects::index_objects::{self, IndexObjects};
use vault::repository::objects::marks::Marks;
use vault::repository::objects::trust::Trust;
use vault::repository::tree::chunks::Pages;
use vault::repository::write::writer::Writer;
use vault::repository::{Error, FileReader, Reader, Repository};
use vault_format::id::{BlobId, BlobKind};
use vault_format::list::{ChunkRef, Content, ListPage, ListRoot};
use vault_format::tree::{Extent, Metadata, Node, NodeKind};

fn lookup(repository: &Repository) -> BlobLookup {
    let trust = Trust::load(repository).unwrap();
    let (packs, _) = index_objects::list_packs(repository).unwrap();
    let objects = IndexObjects::load(repository, &trust, None).unwrap();
    BlobLookup::new(repository, objects, Some(&packs), &Marks::default()).unwrap()
}

fn below(random: &mut ChaCha20Rng, bound: usize) -> usize {
    random.next_u32() as usize % bound
}

/// Makes contents of every shape, and remembers their bytes.
struct Maker {
    random: ChaCha20Rng,
    writer: Writer,
    bytes: Vec<u8>,
}

impl Maker {
    fn chunk(&mut self) -> ChunkRef {
        let length = 1 + below(&mut self.random, 40);
        let chunk = noise(self.random.next_u64(), length);
        self.bytes.extend_from_slice(&chunk);
        let id = self.writer.put(BlobKind::Chunk, &chunk).unwrap();
        ChunkRef { id, length: u32::try_from(length).unwrap() }
    }

    fn page(&mut self, page: &ListPage) -> ListRoot {
        let id = self.writer.put(BlobKind::List, &page.encode().unwrap()).unwrap();
        ListRoot { id, bytes: page.bytes().unwrap(), count: 1 }
    }

    fn list(&mut self, height: u8) -> ListRoot {
        let page = match height {
            0 => ListPage::Leaf((0..=below(&mut self.random, 5)).map(|_| self.chunk()).collect()),
            _ => {
                let children = (0..2 + below(&mut self.random, 2)).map(|_| self.list(height - 1)).collect();
                ListPage::Branch { height, children }
            }
        };
        self.page(&page)
    }

    /// Some holes in the bytes made last; gives the node and the whole file.
    fn node(&mut self, content: Content, holes: usize) -> (Node, Vec<u8>) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut places: Vec<usize> = (0..holes).map(|_| below(&mut self.random, bytes.len() + 1)).collect();
        places.sort_unstable();
        let (mut whole, mut extents, mut used) = (Vec::new(), Vec::new(), 0);
        for place in places {
            whole.extend_from_slice(&bytes[used..place]);
            used = place;
            let length = 1 + below(&mut self.random, 60);
            extents.push(Extent { offset: whole.len() as u64, length: length as u64 });
            whole.resize(whole.len() + length, 0);
        }
        whole.extend_from_slice(&bytes[used..]);
        (node(whole.len() as u64, content, extents), whole)
    }
}

fn node(size: u64, content: Content, holes: Vec<Extent>) -> Node {
    Node { name: b"file".into(), kind: NodeKind::File { size, content, holes }, metadata: Metadata::default() }
}

/// Stores what `make` makes in a new repository, and gives a reader of it.
fn stored<T>(make: impl FnOnce(&mut Maker) -> T) -> (Reader, T) {
    let hand = Hand::new();
    let repository = init(hand.store(), &hand.runtime(1, 0));
    let writer = Writer::new(&repository, &lookup(&repository), repository.keys().domain(), "files").unwrap();
    let mut maker = Maker { random: ChaCha20Rng::seed_from_u64(7), writer, bytes: Vec::new() };
    let made = make(&mut maker);
    maker.writer.flush().unwrap().uncommitted();
    (Reader::new(&repository, &lookup(&repository)), made)
}

#[test]
fn any_range_is_that_range_of_the_whole_file() {
    let (reader, files) = stored(|maker| {
        let mut files = Vec::new();
        for holes in [0, 1, 9] {
            for chunks in [0, 1, 32] {
                let content = Content::Inline((0..chunks).map(|_| maker.chunk()).collect());
                files.push(maker.node(content, holes));
            }
            for height in [0, 1, 2, 3] {
                let content = Content::List(maker.list(height));
                files.push(maker.node(content, holes));
            }
        }
        files
    });
    let mut random = ChaCha20Rng::seed_from_u64(8);
    for (number, (node, whole)) in files.iter().enumerate() {
        let mut file = FileReader::new(&reader, node).unwrap();
        file.require_all().unwrap();
        assert_eq!((file.len(), file.is_empty()), (whole.len() as u64, whole.is_empty()));
        for _ in 0..300 {
            let offset = below(&mut random, whole.len() + 10);
            let length = below(&mut random, whole.len().min(200) + 10);
            let expected = whole.get(offset..).unwrap_or_default();
            let expected = &expected[..length.min(expected.len())];
            let mut buffer = vec![1; length];
            let count = file.read_at(offset as u64, &mut buffer).unwrap();
            assert!(&buffer[..count] == expected, "file {number}, {length} bytes at {offset}");
            // a clone, and a position of its own
            let mut other = file.clone();
            other.seek(SeekFrom::Start(offset as u64)).unwrap();
            assert!(other.read(&mut buffer).unwrap() > 0 || expected.is_empty(), "file {number}");
            other.seek(SeekFrom::End(-(expected.len() as i64))).unwrap();
            let mut end = Vec::new();
            other.read_to_end(&mut end).unwrap();
            assert!(end == whole[whole.len() - expected.len()..], "file {number}, the last {}", expected.len());
        }
        let mut all = Vec::new();
        file.read_to_end(&mut all).unwrap();
        assert!(all == *whole, "file {number} from its start: reading elsewhere moved no position");
        assert_eq!(file.read_at(u64::MAX, &mut [0; 9]).unwrap(), 0);
        assert!(file.seek(SeekFrom::Current(i64::MIN)).is_err());
    }
}

#[test]
fn what_a_range_does_not_touch_may_be_lost() {
    let (reader, (node, whole, at)) = stored(|maker| {
        let (first, last) = (maker.list(1), maker.list(1));
        let at = usize::try_from(first.bytes).unwrap();
        let lost = ListRoot { id: BlobId([9; 32]), bytes: 1000, count: 1 };
        maker.bytes.splice(at..at, [0; 1000]);
        let root = maker.page(&ListPage::Branch { height: 2, children: vec![first, lost, last] });
        let (node, whole) = maker.node(Content::List(root), 0);
        (node, whole, at)
    });
    let mut file = FileReader::new(&reader, &node).unwrap();
    let mut read = |range: std::ops::Range<usize>| {
        let mut buffer = vec![0; range.len()];
        file.read_at(range.start as u64, &mut buffer).map(|_| buffer)
    };
    for range in [0..at, at + 1000..whole.len()] {
        assert!(read(range.clone()).unwrap() == whole[range]);
    }
    for range in [0..at + 1, at + 500..at + 501, at + 999..whole.len()] {
        assert!(matches!(read(range), Err(Error::MissingBlob(id)) if id == BlobId([9; 32])));
    }
    // and what failed does not stand in the way of what follows
    assert!(read(0..at).unwrap() == whole[..at]);
    assert!(matches!(file.require_all(), Err(Error::MissingBlob(_))));
    let error = file.read_to_end(&mut Vec::new()).unwrap_err().downcast::<Error>();
    assert!(matches!(error, Ok(Error::MissingBlob(_))), "{error:?}");
}

#[test]
fn a_list_that_lies_gives_no_byte_at_a_wrong_place() {
    let (reader, [longer, heavier, higher]) = stored(|maker| {
        let chunk = maker.chunk();
        let longer = Content::Inline(vec![ChunkRef { length: chunk.length + 1, ..chunk }]);
        let list = maker.list(0);
        let heavier = Content::List(ListRoot { bytes: list.bytes + 1, ..list });
        // its children would be of height 1
        let higher = Content::List(maker.page(&ListPage::Branch { height: 2, children: vec![list; 2] }));
        [longer, heavier, higher].map(|content| node(content.bytes().unwrap(), content, Vec::new()))
    });
    let other = "other bytes than its parent";
    for (node, what) in [(longer, "another length than its list"), (heavier, other), (higher, other)] {
        let error = FileReader::new(&reader, &node).unwrap().read_at(0, &mut [0]).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    let beyond = node(3, Content::Inline(Vec::new()), vec![Extent { offset: 2, length: 2 }]);
    assert!(FileReader::new(&reader, &beyond).is_err());
}

/// Six pages that name one another four thousand times each would keep whoever looks at all of it busy for ever.
#[test]
fn a_page_of_a_list_is_looked_at_once_however_often_it_is_named() {
    let (reader, root) = stored(|maker| {
        let leaf = maker.list(0);
        (1..=4).fold(leaf, |below, height| maker.page(&ListPage::Branch { height, children: vec![below; 5] }))
    });
    let content = Content::List(root);
    let pages: Vec<BlobId> =
        Pages::new(&reader, &content).filter_map(|(page, chunks)| page.filter(|_| chunks.is_ok())).collect();
    assert_eq!((pages.len(), pages[0]), (5, root.id));
}

//! The recovery sheet is read back as it was printed, and as people write it down.

use vault_format::id::RepositoryId;
use vault_format::key::Key;
use vault_format::recovery::{self, Sheet};

#[test]
fn a_sheet_is_read_back_in_any_shape() {
    for seed in 0..64u8 {
        let bytes: [u8; 32] = std::array::from_fn(|at| seed.wrapping_mul(37).wrapping_add(at as u8));
        let (root, id) = (Key::new(bytes), RepositoryId([seed; 16]));
        // a location with numbers in it must not be taken for words
        let sheet = recovery::sheet(&root, id, "/srv/1 2 3/backup 1").unwrap();
        assert_eq!(recovery::read(&sheet).unwrap(), Sheet { repository: Some(id), root: root.clone() }, "{}", *sheet);
        let words = recovery::words(&root).unwrap();
        assert!(words.split(' ').all(recovery::is_word));
        let numbered = |mark: &str| -> String {
            words
                .split(' ')
                .enumerate()
                .map(|(at, word)| format!("{}{mark} {}\n", at + 1, word.to_uppercase()))
                .collect()
        };
        for shape in [words.to_string(), words.to_uppercase(), words.replace(' ', "\n\n"), numbered("."), numbered(")")]
        {
            assert_eq!(recovery::read(&shape).unwrap(), Sheet { repository: None, root: root.clone() }, "{shape}");
        }
        assert!(recovery::read(&sheet.replacen(" 7 ", " 8 ", 1)).is_err(), "a word is missing");
    }
    assert!(!recovery::is_word("abandn"));
    assert!(recovery::read("").is_err());
}

#[test]
fn a_misread_word_is_named_and_a_missing_one_counted() {
    let root = Key::new([9; 32]);
    let words = recovery::words(&root).unwrap();
    let mut wrong: Vec<&str> = words.split(' ').collect();
    wrong[6] = "abandn";
    assert_eq!(recovery::doubt(&wrong.join(" ")).unwrap(), "word 7, \"abandn\", is not on the list of words");
    assert!(recovery::doubt(&wrong[..23].join("\n")).unwrap().contains("23 words"));
    assert!(!recovery::doubt("hunter2").unwrap().contains("hunter2"));
    assert_eq!(recovery::doubt(&words), None);
    let id = RepositoryId([9; 16]);
    let sheet = recovery::sheet(&root, id, "/srv/backup").unwrap();
    assert!(sheet.lines().all(|line| line.chars().count() <= 78), "{}", *sheet);
}

//! The recovery sheet: the root as 24 words (BIP 39, English list, 8 bits of checksum), with the location and the id of
//! the repository. From the sheet and the packs and snapshots alone everything can be restored.

use crate::error::{Error, Result};
use crate::id::RepositoryId;
use crate::key::Key;
use bip39::{Language, Mnemonic};
use zeroize::Zeroizing;

/// The root as 24 words.
pub fn words(root: &Key) -> Result<Zeroizing<String>> {
    let mnemonic = Mnemonic::from_entropy_in(Language::English, root.expose())
        .map_err(|_| Error::Invalid("a root has 32 bytes"))?;
    Ok(Zeroizing::new(mnemonic.to_string()))
}

/// The root of 24 words; case and white space do not matter.
pub fn root(words: &str) -> Result<Key> {
    let normal = Zeroizing::new(words.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase());
    let mnemonic = Mnemonic::parse_in_normalized(Language::English, &normal)
        .map_err(|_| Error::Invalid("the words do not belong together: check their spelling and order"))?;
    let entropy = Zeroizing::new(mnemonic.to_entropy());
    let bytes: [u8; 32] = entropy.as_slice().try_into().map_err(|_| Error::Invalid("a recovery sheet has 24 words"))?;
    Ok(Key::new(bytes))
}

/// True for a word that a sheet can have.
pub fn is_word(word: &str) -> bool {
    Language::English.find_word(word).is_some()
}

/// What is wrong with the words of a sheet that can't be read: one that no sheet has, or how many there are.
pub fn doubt(sheet: &str) -> Option<String> {
    let words = numbered(sheet).unwrap_or_else(|| Zeroizing::new(sheet.to_lowercase()));
    let count = words.split_whitespace().count();
    if count != 24 {
        // it may be another secret, which nobody should see
        return Some(format!("there are {count} words, and a sheet has 24"));
    }
    let mut numbers = words.split_whitespace().zip(1usize..);
    let (word, number) = numbers.find(|(word, _)| !is_word(&word.to_lowercase()))?;
    Some(format!("word {number}, {word:?}, is not on the list of words"))
}

/// What a sheet tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sheet {
    /// The repository; `None` for words alone.
    pub repository: Option<RepositoryId>,
    /// The root of the words.
    pub root: Key,
}

/// Reads a sheet, whose words are numbered, or words alone.
pub fn read(sheet: &str) -> Result<Sheet> {
    let tokens = || sheet.split_whitespace();
    let id = tokens().zip(tokens().skip(1)).find(|(name, _)| *name == "repository").map(|(_, id)| id);
    let repository = id.and_then(|id| RepositoryId::parse(id).ok());
    let numbered = numbered(sheet);
    let words = numbered.as_ref().map_or(sheet, |words| words.as_str());
    Ok(Sheet { repository, root: root(words)? })
}

/// The words of a sheet that numbers them.
fn numbered(sheet: &str) -> Option<Zeroizing<String>> {
    let tokens = || sheet.split_whitespace();
    let mut numbered = Zeroizing::new(String::with_capacity(sheet.len()));
    let mut number = 1usize;
    for (before, word) in tokens().zip(tokens().skip(1)).filter(|(_, word)| word.parse::<usize>().is_err()) {
        let found = before.trim_end_matches(['.', ')', ':']).parse();
        // a location may end in a number too: the words begin at the last 1
        if found == Ok(1) {
            numbered.clear();
            number = 1;
        }
        if found == Ok(number) {
            numbered.push_str(word);
            numbered.push(' ');
            number = number.saturating_add(1);
        }
    }
    (number > 1).then_some(numbered)
}

/// The sheet to print and lock away.
pub fn sheet(root: &Key, repository: RepositoryId, location: &str) -> Result<Zeroizing<String>> {
    let words = words(root)?;
    let mut text = Zeroizing::new(format!(
        "vault recovery sheet\n\nrepository  {repository}\nlocation    {location}\n\nWhoever has these words can read and delete \
         everything in the repository. Keep\nthem on paper, away from the machines that are backed up.\n\n"
    ));
    for (number, word) in words.split(' ').enumerate() {
        let number = number.saturating_add(1);
        let end = if number % 4 == 0 { "\n" } else { "" };
        text.push_str(&format!("{number:>4} {word:<10}{end}"));
    }
    text.push_str("\nTo recover: vault init --recover --repository LOCATION, which asks for\nthe words\n");
    Ok(text)
}

//! The recovery sheet: the root as 24 words (BIP 39, English list, 8 bits of checksum), with the location and the id of
//! the repository. From the sheet and the packs and snapshots alone everything can be restored.

use crate::error::{Error, Result};
use crate::id::RepositoryId;
use crate::secret::Key;
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

/// The sheet to print and lock away.
pub fn sheet(root: &Key, repository: RepositoryId, location: &str) -> Result<Zeroizing<String>> {
    let words = words(root)?;
    let mut text = Zeroizing::new(format!(
        "vault recovery sheet\n\nrepository  {repository}\nlocation    {location}\n\nWhoever has these words can read and delete \
         everything in the repository. Keep them on paper,\naway from the machines that are backed up.\n\n"
    ));
    for (number, word) in words.split(' ').enumerate() {
        let number = number.saturating_add(1);
        let end = if number % 4 == 0 { "\n" } else { "" };
        text.push_str(&format!("{number:>4} {word:<10}{end}"));
    }
    text.push_str("\nTo recover: vault init --recover --repository LOCATION\n");
    Ok(text)
}

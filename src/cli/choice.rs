//! An argument that takes one of a few words: each word with its help, and what it stands for in the library.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// Takes the first of each three, has the second in the help, and means the third.
pub fn one_of<T, const N: usize>(words: [(&'static str, &'static str, T); N]) -> impl TypedValueParser<Value = T>
where
    T: Clone + Send + Sync + 'static,
{
    let shown = words.each_ref().map(|(word, help, _)| PossibleValue::new(*word).help(*help));
    PossibleValuesParser::new(shown).try_map(move |said| {
        let meant = words.iter().find(|(word, ..)| *word == said);
        meant.map(|(.., means)| means.clone()).ok_or("it is none of these words")
    })
}

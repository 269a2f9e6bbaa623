//! Characters that a reader does not see, or that move what he sees: controls, marks that turn the direction of text,
//! joiners, fillers. A name that holds one looks like another name, so it is never printed as it is; JSON has an escape
//! of its own for it, which loses nothing.

/// Ranges of characters without a look of their own, ascending. Blanks are not among them.
const RANGES: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{13430}', '\u{13440}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// True if the character must be escaped.
pub fn is(character: char) -> bool {
    if character < '\u{80}' {
        return character.is_ascii_control();
    }
    character.is_control() || RANGES.iter().any(|(first, last)| (*first..=*last).contains(&character))
}

/// The same JSON, with the escapes of JSON for such characters, which it only has inside of its texts.
pub fn in_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if is(character) {
            let mut units = [0u16; 2];
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{in_json, is};

    #[test]
    fn what_has_no_look_is_escaped_and_what_has_one_is_not() {
        let unseen = "\u{0}\n\t\u{1b}\u{7f}\u{9b}\u{ad}\u{200b}\u{200d}\u{200e}\u{2028}\u{202e}\u{2060}\u{2066}\u{feff}\u{fe0f}\u{e0041}\u{3164}";
        unseen.chars().for_each(|character| assert!(is(character), "{character:?}"));
        "aZ ~\u{a0}äß漢字שלום🦀é".chars().for_each(|character| assert!(!is(character), "{character:?}"));
    }

    #[test]
    fn json_says_the_same_with_escapes() {
        let text = "a\u{200b}b\u{e0041}\u{7f}\u{9b}\u{202e}ü";
        let json = serde_json::to_string(&text).expect("JSON");
        let escaped = in_json(&json);
        assert!(!escaped.chars().any(is), "{escaped}");
        assert_eq!(serde_json::from_str::<String>(&escaped).expect("JSON"), text);
    }
}

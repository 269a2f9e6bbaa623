//! Words that are nearly right: how many slips of the finger lie between two, and which of those that exist was meant.
//! More than two slips make another word, and a wrong guess is worse than none.

/// More make another word.
const MOST: usize = 2;

/// The one of `known` that a mistyped word means, if one is near enough.
pub fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // of a short word little is left to tell it by
    let most = MOST.min(word.chars().count() / 3);
    let slips = known.map(|known| (mistakes(word, known), known));
    slips.filter(|(slips, _)| *slips <= most).min_by_key(|(slips, _)| *slips).map(|(_, known)| known)
}

/// Letters left out, added, exchanged or swapped with the next one; upper and lower case are one.
pub fn mistakes(one: &str, other: &str) -> usize {
    let letters = |text: &str| text.to_lowercase().chars().collect::<Vec<char>>();
    let (one, other) = (letters(one), letters(other));
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for (at, letter) in one.iter().enumerate() {
        let mut row = vec![at + 1];
        for (column, second) in other.iter().enumerate() {
            let cell = |back: usize, column: usize| rows.get((at + 1).wrapping_sub(back))?.get(column).copied();
            let is_swapped =
                at > 0 && column > 0 && one.get(at - 1) == Some(second) && other.get(column - 1) == Some(letter);
            let costs = [
                cell(1, column + 1).map(|cost| cost + 1),
                row.last().map(|cost| cost + 1),
                cell(1, column).map(|cost| cost + usize::from(letter != second)),
                if is_swapped { cell(2, column - 1).map(|cost| cost + 1) } else { None },
            ];
            row.push(costs.into_iter().flatten().min().unwrap_or_default());
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{mistakes, nearest};

    #[test]
    fn slips_are_counted() {
        let table = [
            ("", "", 0),
            ("", "abc", 3),
            ("Documentation", "documentation", 0),
            ("exlude", "exclude", 1),
            ("dayly", "daily", 1),
            ("purne", "prune", 1),
            ("regoin", "region", 1),
            ("rename", "prune", 4),
        ];
        for (one, other, slips) in table {
            assert_eq!((mistakes(one, other), mistakes(other, one)), (slips, slips), "{one} {other}");
        }
    }

    #[test]
    fn the_nearest_is_proposed_and_nothing_that_is_far() {
        let known = || ["Documentation", "app-db", "db"].into_iter();
        assert_eq!(nearest("documentation", known()), Some("Documentation"));
        assert_eq!(nearest("app-bd", known()), Some("app-db"));
        assert_eq!(nearest("web", known()), None);
        assert_eq!(nearest("dx", known()), None);
    }
}

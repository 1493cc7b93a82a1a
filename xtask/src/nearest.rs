//! The known word that somebody probably meant.
//!
//! Owns the edit distance. Never guesses when nothing is near. Called by `main` and by tidy's `commands`.

/// The nearest of `words`, if it is near enough to be what was meant.
pub(crate) fn nearest<'a>(typed: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = typed.chars().count().div_ceil(3).max(1);
    words
        .map(|word| (distance(typed, word), word))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, word)| word)
}

/// How many letters have to be added, dropped or changed (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_a_finger_is_understood() {
        let words = ["test", "tidy", "compat"];
        assert_eq!(nearest("compta", words.into_iter()), Some("compat"));
        assert_eq!(nearest("tset", words.into_iter()), Some("test"));
    }

    #[test]
    fn what_is_like_nothing_is_not_guessed() {
        assert_eq!(nearest("publish", ["test", "tidy"].into_iter()), None);
    }

    #[test]
    fn distance_counts_letters() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}

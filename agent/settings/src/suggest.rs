//! "Did you mean": the nearest of the known names.

/// The known name that is nearest to `wrong`, when it is near enough to be meant.
pub(crate) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = wrong.to_lowercase().replace('_', "-");
    known
        .into_iter()
        .map(|name| (distance(&plain, name), name))
        .filter(|(far, name)| {
            let part = plain.len() > 2 && name.split('-').any(|word| word == plain);
            *far <= limit(name) || part
        })
        .min()
        .map(|(_, name)| name)
}

/// How many slips are still a slip of the pen in a name of this length.
pub(crate) fn limit(name: &str) -> usize {
    match name.chars().count() {
        0..=2 => 0,
        3..=4 => 1,
        5..=9 => 2,
        _ => 3,
    }
}

/// Whether one word is at most so many slips away from the other.
pub(crate) fn within(from: &str, to: &str, most: usize) -> bool {
    from.chars().count().abs_diff(to.chars().count()) <= most && distance(from, to) <= most
}

/// How many letters have to be put in, left out, changed, or swapped with their
/// neighbour to turn one word into the other.
pub(crate) fn distance(from: &str, to: &str) -> usize {
    // Far longer words are far apart: no need to measure what a person pasted.
    const LONGEST: usize = 64;
    let from: Vec<char> = from.chars().take(LONGEST + 1).collect();
    let to: Vec<char> = to.chars().take(LONGEST + 1).collect();
    if from.len() > LONGEST || to.len() > LONGEST {
        return if from == to { 0 } else { usize::MAX };
    }
    let mut older: Vec<usize> = Vec::new();
    let mut old: Vec<usize> = (0..=to.len()).collect();
    for (row, letter) in from.iter().enumerate() {
        let mut new = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let at = |line: &[usize], place: usize| line.get(place).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&old, column + 1) + 1)
                .min(at(&new, column) + 1)
                .min(at(&old, column) + usize::from(letter != other));
            let swapped =
                row > 0 && column > 0 && from.get(row - 1) == Some(other) && to.get(column - 1) == Some(letter);
            if swapped {
                best = best.min(at(&older, column - 1) + 1);
            }
            new.push(best);
        }
        older = std::mem::replace(&mut old, new);
    }
    old.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distances() {
        for (from, to, far) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "abc", 3),
            ("mount", "mount", 0),
            ("muont", "mount", 1),
            ("mout", "mount", 1),
            ("volumes", "volume", 1),
            ("kitten", "sitting", 3),
            ("ähm", "öhm", 1),
        ] {
            assert_eq!(distance(from, to), far, "{from} {to}");
        }
    }

    #[test]
    fn nearness() {
        let known = ["name", "device", "serial", "mount", "external-address"];
        for (wrong, meant) in [
            ("muont", Some("mount")),
            ("Device", Some("device")),
            ("nmae", Some("name")),
            ("external_address", Some("external-address")),
            ("filesystem", None),
            ("x", None),
            ("external", Some("external-address")),
        ] {
            assert_eq!(nearest(wrong, known), meant, "{wrong}");
        }
        assert_eq!(nearest(&"x".repeat(10_000), known), None);
    }
}

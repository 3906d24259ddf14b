//! An answer that is not too long to be read: users name the directories, and a control character takes six bytes.

use bowline_ports::{Part, Survey};
use std::path::Path;

/// Bytes of an answer. Whoever reads it takes twice as many.
pub(super) const MOST: usize = 2 << 20;
/// Letters of a path in a sentence: one that is scanned can be longer than any that the kernel takes.
const PATH: usize = 300;

/// Parts are left out, and counted, until all of it is no longer than that: of whichever directory has most to tell, so that nobody
/// who makes long names in one makes another's be left out.
pub(super) fn fit(survey: &mut Survey, most: usize) {
    let mut over = length(survey).saturating_sub(most);
    if over == 0 {
        return;
    }
    let of = |parts: &[Part]| parts.iter().map(length).sum();
    let mut lengths: Vec<usize> = survey.directories.iter().map(|one| of(&one.parts)).collect();
    while over > 0 {
        let longest = survey.directories.iter_mut().zip(&mut lengths).max_by_key(|(_, length)| **length);
        let Some((directory, told)) = longest else { return };
        // The last one: whatever it is in comes before it.
        let Some(part) = directory.parts.pop() else { return };
        directory.left_out += 1;
        let length = length(&part);
        *told = told.saturating_sub(length);
        over = over.saturating_sub(length);
    }
}

/// As it is written down.
fn length<T: serde::Serialize>(one: &T) -> usize {
    serde_json::to_vec(one).map_or(0, |text| text.len())
}

/// A path of any length, for people: its end, where it is too long.
pub(super) fn short(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.char_indices().nth_back(PATH) {
        Some((from, letter)) => format!("…{}", &text[from + letter.len_utf8()..]),
        None => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_ports::{DirectorySize, Measured};

    #[test]
    fn names_of_one_directory_leave_no_other_one_out() {
        let part = |path: String| Part { path: path.into(), depth: 1, size: DirectorySize::default() };
        let of = |path: &str, parts: Vec<Part>| Measured { path: path.into(), parts, ..Measured::default() };
        let long = (0..500).map(|one| part(format!("/a/{one}/{}", "\u{1}".repeat(700)))).collect();
        let short = (0..500).map(|one| part(format!("/b/{one}"))).collect();
        let mut survey = Survey { directories: vec![of("/a", long), of("/b", short)], ..Survey::default() };
        let whole = length(&survey);
        fit(&mut survey, whole);
        assert_eq!(survey.directories[0].left_out, 0);
        fit(&mut survey, 1 << 20);
        let [a, b] = &survey.directories[..] else { panic!("{survey:#?}") };
        assert!(whole > MOST && length(&survey) <= 1 << 20, "{whole}");
        assert_eq!((a.parts.len() as u64 + a.left_out, b.parts.len(), b.left_out), (500, 500, 0));
        assert!(a.parts.len() > 150 && a.parts[0].path.starts_with("/a/0/"), "{}", a.parts.len());
        fit(&mut survey, 1);
        assert!(survey.directories.iter().all(|one| one.parts.is_empty() && one.left_out == 500));
    }

    #[test]
    fn a_path_of_any_length_has_a_short_text() {
        assert_eq!(short(Path::new("/a/é")), "/a/é");
        let (long, shorter) = (format!("/{}", "é/".repeat(5000)), "é/".repeat(PATH / 2));
        assert_eq!(short(Path::new(&long)), format!("…{shorter}"));
    }
}

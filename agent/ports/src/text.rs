//! Sizes, lengths of time and what others wrote, in the one way in which Bowline says them.

/// A number of bytes in powers of 1024, as settings are written: `512 B`, `20 GiB`, and `19.5 GiB` or `20.0 GiB` where it is not
/// a whole number of the unit.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut value, mut size, mut unit) = (number as f64, 1, 0);
    // From here on one decimal would say 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        (value, size, unit) = (value / 1024.0, size << 10, unit + 1);
    }
    if number.is_multiple_of(size) {
        return format!("{} {}", number / size, UNITS[unit]);
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A length of time in seconds: `12 s`, `3 min`, `2 h 5 min`, `3 d 4 h`, `140 d`. What lies before zero (a clock that was set) counts
/// as zero.
pub fn span(seconds: i64) -> String {
    two_units(seconds, [" s", " min", " h", " d"], " ")
}

/// The same for a narrow column, as kubectl says it: `12s`, `3m`, `2h5m`, `3d4h`, `140d`.
pub fn age(seconds: i64) -> String {
    two_units(seconds, ["s", "m", "h", "d"], "")
}

/// A length of time that is not known to the minute, in the largest unit of which there are two at least: `43 min`, `8 h`, `2 d`.
pub fn about(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    let units = [(86_400.0, "d"), (3600.0, "h"), (60.0, "min")];
    let (length, unit) = units.into_iter().find(|(length, _)| seconds >= 2.0 * length).unwrap_or((1.0, "s"));
    format!("{:.0} {unit}", (seconds / length).floor())
}

/// A path or a name that others chose, as a shell takes it: what people are to paste does what it says.
pub fn shell(word: impl AsRef<std::ffi::OsStr>) -> String {
    let word = word.as_ref().to_string_lossy();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_/.:@%+=,-".contains(&byte);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word.into_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn two_units(seconds: i64, [second, minute, hour, day]: [&str; 4], gap: &str) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |big: i64, unit: &str, small: i64, smaller: &str| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{gap}{small}{smaller}"),
    };
    match seconds {
        0..60 => format!("{seconds}{second}"),
        60..3600 => format!("{minutes}{minute}"),
        3600..86_400 => two(hours, hour, minutes % 60, minute),
        _ if days < 100 => two(days, day, hours % 24, hour),
        _ => format!("{days}{day}"),
    }
}

/// The text without what commands a terminal or turns the direction of writing: others name processes, files and units. Line ends
/// stay.
pub fn clean(text: &str) -> String {
    let allowed = |letter: char| match letter {
        '\n' => '\n',
        '\t' => ' ',
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '?',
        letter if letter.is_control() => '?',
        letter => letter,
    };
    text.chars().map(allowed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_shell() {
        for (word, quoted) in [
            ("/mnt/data-1_a.b:c@d%e+f=g,h", "/mnt/data-1_a.b:c@d%e+f=g,h"),
            ("/media/u/My Disk", "'/media/u/My Disk'"),
            ("x;reboot", "'x;reboot'"),
            ("mnt-a\\x2db.mount", "'mnt-a\\x2db.mount'"),
            ("it's", "'it'\\''s'"),
            ("", "''"),
        ] {
            assert_eq!(shell(word), quoted);
        }
    }

    #[test]
    fn sizes() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (12_000_000, "11.4 MiB"),
            (100 << 20, "100 MiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            ((1023 << 20) + (900 << 10), "1023.9 MiB"),
            (20 << 30, "20 GiB"),
            ((20 << 30) - 1, "20.0 GiB"),
            (1536 << 30, "1.5 TiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn lengths_of_time() {
        for (seconds, text, short) in [
            (-5, "0 s", "0s"),
            (59, "59 s", "59s"),
            (60, "1 min", "1m"),
            (239, "3 min", "3m"),
            (3600, "1 h", "1h"),
            (7500, "2 h 5 min", "2h5m"),
            (86_399, "23 h 59 min", "23h59m"),
            (86_400, "1 d", "1d"),
            (273_600, "3 d 4 h", "3d4h"),
            (8_643_600, "100 d", "100d"),
        ] {
            assert_eq!((span(seconds), age(seconds)), (text.into(), short.into()));
        }
        for (seconds, text) in [
            (-1.0, "0 s"),
            (119.9, "119 s"),
            (150.0, "2 min"),
            (7000.0, "116 min"),
            (7300.0, "2 h"),
            (200_000.0, "2 d"),
        ] {
            assert_eq!(about(seconds), text);
        }
    }

    #[test]
    fn what_others_wrote_commands_nothing() {
        assert_eq!(clean("a\tb\nc\u{1b}[31m\u{202e}d\u{200b}e\u{85}größe"), "a b\nc?[31m?d?e?größe");
    }
}

//! The file: what was written is read, and what is torn or rotten costs little.

use super::*;
use proptest::prelude::*;

const START: i64 = 1_760_000_000;

fn sample(minute: i64) -> Sample {
    Sample {
        at: START + minute * 60,
        boot: 7,
        uptime: 1000 + minute as u64 * 60,
        bytes: 5_000_000_000 + minute as u64 * 1_000_000,
        inodes: 90_000 + minute as u64,
    }
}

fn apply(file: &mut [u8], patches: &[Patch]) {
    for patch in patches {
        let at = patch.offset as usize;
        file[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
}

/// A file with some filesystems, sampled for so many minutes.
fn filled(keys: &[&str], minutes: i64) -> (Vec<u8>, Store) {
    let (mut file, mut store) = (fresh(), Store::default());
    for minute in 0..minutes {
        for key in keys {
            apply(&mut file, &store.add(key, sample(minute)));
        }
    }
    (file, store)
}

fn read(file: &[u8]) -> (Store, Damage) {
    Store::read(file).unwrap()
}

fn samples(store: &Store, key: &str) -> Vec<(usize, u64, Sample)> {
    let Some(history) = store.history(key) else { return vec![] };
    let level = |(index, level): (usize, &std::collections::VecDeque<crate::history::Kept>)| {
        level.iter().map(|kept| (index, kept.number, kept.sample)).collect::<Vec<_>>()
    };
    history.levels.iter().enumerate().flat_map(level).collect()
}

#[test]
fn it_has_its_length_and_nothing_is_in_it() {
    assert_eq!((fresh().len(), LENGTH), (LENGTH, 2_625_536));
    let (store, damage) = read(&fresh());
    assert_eq!((store.keys().count(), damage), (0, Damage::default()));
}

/// The file was read late: what was sampled meanwhile comes after what is in it, as if it had been added piece by piece.
#[test]
fn what_was_sampled_meanwhile_follows() {
    let keys = ["uuid:a", "uuid:b"];
    let (all, _) = filled(&keys, 450);
    let (mut file, mut store) = filled(&keys, 300);
    let mut meanwhile = Store::default();
    for minute in 300..450 {
        meanwhile.add("uuid:b", sample(minute));
        meanwhile.add("uuid:a", sample(minute));
    }
    let patches = store.follow(&meanwhile);
    apply(&mut file, &patches);
    let (read, damage) = read(&file);
    assert_eq!((damage, patches.is_empty()), (Damage::default(), false));
    for key in keys {
        assert_eq!(samples(&read, key), samples(&store, key));
        let (wanted, _) = super::Store::read(&all).unwrap();
        let bytes = |store: &Store| store.history(key).unwrap().bytes();
        assert_eq!(bytes(&read).first(), bytes(&wanted).first());
        assert_eq!(bytes(&read)[bytes(&read).len() - 120..], bytes(&wanted)[bytes(&wanted).len() - 120..]);
    }
}

#[test]
fn all_that_is_remembered_fits_into_a_fresh_file() {
    let (file, store) = filled(&["uuid:a", "uuid:b"], 300);
    let mut anew = fresh();
    apply(&mut anew, &store.patches());
    assert!(anew == file, "byte for byte what piece by piece became of it");
}

#[test]
fn what_was_written_is_read() {
    let (file, store) = filled(&["uuid:a", "uuid:b"], 3000);
    let (again, damage) = read(&file);
    assert_eq!(damage, Damage::default());
    assert_eq!(again.keys().collect::<Vec<_>>(), ["uuid:a", "uuid:b"]);
    for key in ["uuid:a", "uuid:b"] {
        assert_eq!(again.history(key), store.history(key));
    }
    assert_eq!(samples(&again, "uuid:a").len(), 120 + 150 + 51);
}

/// A remount changes nothing, a filesystem made anew begins anew.
#[test]
fn a_filesystem_is_known_by_its_key() {
    let (mut file, mut store) = filled(&["uuid:a"], 10);
    apply(&mut file, &store.add("uuid:a", sample(600)));
    apply(&mut file, &store.add("uuid:new", sample(601)));
    let (again, _) = read(&file);
    assert_eq!(again.history("uuid:a").unwrap().bytes().len(), 11);
    assert_eq!(again.history("uuid:new").unwrap().bytes().len(), 1);
}

/// Those that are mounted keep their histories, and the file is not written again and again.
#[test]
fn of_a_hundred_filesystems_sixty_four_are_remembered() {
    let keys: Vec<_> = (0..100).map(|n| format!("uuid:{n}")).collect();
    let (mut file, mut store) = (fresh(), Store::default());
    for minute in 0..30 {
        let patches: Vec<_> = keys.iter().flat_map(|key| store.add(key, sample(minute))).collect();
        if minute > 0 {
            let bytes: usize = patches.iter().map(|patch| patch.bytes.len()).sum();
            assert!(bytes <= MOST * 3 * 64, "minute {minute}: {bytes} bytes");
        }
        apply(&mut file, &patches);
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(
            samples(&store, key).iter().filter(|(level, ..)| *level == 0).count(),
            if number < 64 { 30 } else { 0 }
        );
    }
    assert_eq!(read(&file).0.keys().count(), MOST);
    // One of them is not mounted any more: another takes its place.
    for minute in 30..45 {
        for key in &keys[1..] {
            store.add(key, sample(minute));
        }
    }
    assert!(
        store.history(&keys[0]).is_none() && store.history(&keys[64]).is_some() && store.history(&keys[65]).is_none()
    );
}

/// A daemon that was stopped for longer than it takes to count as gone finds them all again, in whatever order.
#[test]
fn after_a_pause_no_filesystem_takes_the_place_of_one_that_is_there() {
    let keys: Vec<_> = (0..80).map(|n| format!("uuid:{n}")).collect();
    let look = |store: &mut Store, minute| store.add_all(keys.iter().rev().map(|key| (key.as_str(), sample(minute))));
    let before = || filled(&keys[..MOST].iter().rev().map(String::as_str).collect::<Vec<_>>(), 10).1;
    let (mut looked, mut followed, mut meanwhile) = (before(), before(), Store::default());
    for minute in 60..65 {
        look(&mut looked, minute);
        look(&mut meanwhile, minute);
    }
    followed.follow(&meanwhile);
    for (number, key) in keys.iter().enumerate() {
        let of = |store: &Store| store.history(key).map(|history| history.bytes().len());
        assert_eq!(of(&looked), if number < MOST { Some(15) } else { None }, "{key}");
        // What had no room meanwhile has nothing to follow, and gives way.
        let had_none = number < keys.len() - MOST;
        let wanted = if had_none { None } else { Some(if number < MOST { 15 } else { 5 }) };
        assert_eq!(of(&followed), wanted, "{key} that followed");
    }
}

#[test]
fn the_sixty_fifth_filesystem_takes_the_place_of_the_oldest() {
    let keys: Vec<String> = (0..65).map(|n| format!("8:{n} /mnt/{n}")).collect();
    let (mut file, mut store) = (fresh(), Store::default());
    for (minute, key) in keys.iter().enumerate() {
        apply(&mut file, &store.add(key, sample(minute as i64)));
        apply(&mut file, &store.add(key, sample(minute as i64 + 1)));
    }
    let (again, damage) = read(&file);
    assert_eq!((again.keys().count(), damage), (64, Damage::default()));
    assert!(
        again.history(&keys[0]).is_none() && again.history(&keys[64]).is_some() && again.history(&keys[1]).is_some()
    );
}

#[test]
fn long_keys_are_told_apart() {
    let long = |end: &str| format!("8:1 /{}{end}", "ä".repeat(300));
    let (file, _) = filled(&[&long("a"), &long("b")], 3);
    let (again, _) = read(&file);
    assert_eq!(again.keys().count(), 2);
    assert!(again.history(&long("a")).is_some() && again.history(&long("c")).is_none());
    assert!(again.keys().all(|key| key.len() <= 208));
}

/// A clock that is set changes the heads, not the slots, and the whole history is where it belongs afterwards.
#[test]
fn a_clock_that_is_set_is_read_back() {
    for by in [-31_536_000, 31_536_000, 7200] {
        let (mut file, mut store) = filled(&["uuid:a"], 500);
        for minute in 500..510 {
            let late = sample(minute);
            let patches = store.add("uuid:a", Sample { at: late.at + by, ..late });
            assert!(patches.iter().map(|patch| patch.bytes.len()).sum::<usize>() <= 3 * 64 + 2 * 320);
            apply(&mut file, &patches);
        }
        let (again, damage) = read(&file);
        assert_eq!((again.history("uuid:a"), damage), (store.history("uuid:a"), Damage::default()), "{by}");
    }
}

/// A machine that is paused each night. When its power is cut while all is written anew, that is done four moves later.
#[test]
fn a_clock_that_is_set_all_the_time_forgets_nothing() {
    for cut in [usize::MAX, 0, 2, 40] {
        let (mut file, mut store) = filled(&["uuid:a"], 60);
        for minute in 60..90 {
            let late = sample(minute);
            let patches = store.add("uuid:a", Sample { at: late.at + (minute - 59) * 3600, ..late });
            // The first time that all is written anew.
            let is_cut = minute == 63 && cut < patches.len();
            apply(&mut file, &patches[..if is_cut { cut } else { patches.len() }]);
            if is_cut {
                store = read(&file).0;
            }
        }
        let (again, damage) = read(&file);
        assert_eq!((again.history("uuid:a"), damage), (store.history("uuid:a"), Damage::default()), "{cut}");
        let points = again.history("uuid:a").unwrap().bytes();
        assert!(points.len() >= 89, "{cut}: {}", points.len());
        assert!(points.windows(2).filter(|pair| pair[1].at - pair[0].at == 60.0).count() >= points.len() - 4);
    }
}

#[test]
fn what_is_no_file_of_samples_is_told() {
    assert_eq!(Store::read(b"").unwrap_err(), Unreadable::Length(0));
    assert_eq!(Store::read(&vec![0; LENGTH]).unwrap_err(), Unreadable::Head);
    let mut later = fresh();
    for at in HEADS {
        let mut head = bytes::Writer::default();
        head.raw(MAGIC).u32(2);
        let head = head.sealed(0);
        later[at..at + head.len()].copy_from_slice(&head);
    }
    let error = Store::read(&later).unwrap_err();
    assert_eq!(error.to_string(), "it is of version 2 of the format, and this program's is 1");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// One byte anywhere: at most one sample is lost, none is invented, and it is counted.
    #[test]
    fn a_rotten_byte_costs_at_most_one_sample(place in 0usize..LENGTH, inside in any::<bool>(), flip in 1u8..=255) {
        let (mut file, store) = filled(&["uuid:a", "uuid:b"], 1500);
        // Half of them where something is.
        let place = if inside { BEGIN + place % (2 * REGION) } else { place };
        file[place] ^= flip;
        let (again, damage) = read(&file);
        let mut lost = 0;
        for key in ["uuid:a", "uuid:b"] {
            let (before, after) = (samples(&store, key), samples(&again, key));
            prop_assert!(after.iter().all(|sample| before.contains(sample)));
            lost += before.len() - after.len();
        }
        prop_assert!(lost <= 1 && lost <= damage.slots && damage.slots <= 1 && damage.regions <= 1);
    }

    /// A power cut in the middle of a write: only what was being written is missing.
    #[test]
    fn a_torn_write_costs_at_most_the_last_sample(minutes in 1i64..400, part in 0.0f64..1.0, set in any::<bool>()) {
        let (mut file, mut store) = filled(&["uuid:a", "uuid:b"], minutes);
        let before = samples(&store, "uuid:a");
        let other = samples(&store, "uuid:b");
        let next = sample(minutes);
        let at = next.at + if set { 86_400 } else { 0 };
        let patches = store.add("uuid:a", Sample { at, ..next });
        let mut left = (patches.iter().map(|patch| patch.bytes.len()).sum::<usize>() as f64 * part) as usize;
        for patch in &patches {
            let length = patch.bytes.len().min(left);
            apply(&mut file, &[Patch { offset: patch.offset, bytes: patch.bytes[..length].to_vec() }]);
            left -= length;
        }
        let (again, damage) = read(&file);
        prop_assert!(damage.slots <= 1 && damage.regions == 0);
        prop_assert_eq!(samples(&again, "uuid:b"), other);
        let after = samples(&again, "uuid:a");
        // In each level the new one took at most the place of the oldest; times may have moved with the clock, all alike.
        let missing = before.iter().filter(|(l, n, s)| !after.iter().any(|(m, o, t)| (l, n, s.bytes) == (m, o, t.bytes)));
        prop_assert!(missing.count() <= 3);
        let moved: Vec<i64> = after.iter().filter_map(|(l, n, s)| {
            before.iter().find(|(m, o, _)| (l, n) == (m, o)).map(|(.., t)| s.at - t.at)
        }).collect();
        prop_assert!(moved.windows(2).all(|pair| pair[0] == pair[1]));
    }

    /// Whatever is in it, it is read or refused.
    #[test]
    fn rubbish_breaks_nothing(seed in any::<u64>(), spread in 1usize..5000) {
        let (mut file, _) = filled(&["uuid:a"], 100);
        let mut state = seed | 1;
        for at in (0..LENGTH).step_by(spread) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            file[at] = (state >> 56) as u8;
        }
        if let Ok((mut store, _)) = Store::read(&file) {
            store.add("uuid:a", sample(200));
            store.history("uuid:a").unwrap().bytes();
        }
    }
}

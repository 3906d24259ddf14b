//! Laying one file over another.
//!
//! Tables merge, `[[volume]]` and `[[enroll.allow]]` merge by name and `[[directory]]` by path, everything else is
//! replaced by the later file, and remembers what it replaced. In `[cluster.config]` a key `x+`
//! adds to `x`, as K3s itself does with its own files. It does not matter which
//! two neighbours are laid over each other first.

use crate::tree::{Item, Kind, Table};

/// Which rule holds in a table.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    Root,
    Cluster,
    Options,
    Enroll,
    Plain,
}

/// Lays `later` over `earlier`.
pub(crate) fn merge(earlier: Table, later: Table) -> Table {
    tables(earlier, later, Rule::Root)
}

/// What one file says by itself: as if it were laid over nothing.
pub(crate) fn alone(file: Table) -> Table {
    merge(Table::new(), file)
}

fn tables(mut base: Table, later: Table, rule: Rule) -> Table {
    for (key, item) in later {
        if rule == Rule::Options {
            option(&mut base, key, item);
            continue;
        }
        let inner = match (rule, key.as_str()) {
            (Rule::Root, "cluster") => Rule::Cluster,
            (Rule::Root, "enroll") => Rule::Enroll,
            (Rule::Cluster, "config") => Rule::Options,
            _ => Rule::Plain,
        };
        let merged = match base.remove(&key) {
            Some(old) if let Some(name) = named(rule, &key) => by_name(name, old, item),
            Some(old) => over(old, item, inner),
            None => fresh(item, inner),
        };
        base.insert(key, merged);
    }
    base
}

/// The key by which the tables of a list are laid over each other; `None` for other lists.
fn named(rule: Rule, key: &str) -> Option<&'static str> {
    match (rule, key) {
        (Rule::Root, "volume") | (Rule::Enroll, "allow") => Some("name"),
        (Rule::Root, "directory") => Some("path"),
        _ => None,
    }
}

/// An item that nothing was there before.
fn fresh(mut item: Item, rule: Rule) -> Item {
    if let Kind::Table(table) = item.kind {
        item.kind = Kind::Table(tables(Table::new(), table, rule));
    }
    item
}

/// One value over another. A table is never lost to something else: that is a
/// wrong type, which is reported for the file that has it.
fn over(mut old: Item, mut new: Item, rule: Rule) -> Item {
    match (old.kind, new.kind) {
        (Kind::Table(base), Kind::Table(later)) => {
            new.kind = Kind::Table(tables(base, later, rule));
            // A table begins where it was first opened.
            new.key = old.key;
            new.at = old.at;
            new
        }
        (Kind::Table(base), _) => {
            old.kind = Kind::Table(base);
            old
        }
        (_, Kind::Table(later)) => {
            new.kind = Kind::Table(later);
            fresh(new, rule)
        }
        (_, kind) => {
            new.kind = kind;
            let mut replaced = old.replaced;
            replaced.extend(old.joined);
            replaced.push(old.key);
            replaced.append(&mut new.replaced);
            new.replaced = replaced;
            new
        }
    }
}

fn name<'a>(item: &'a Item, key: &str) -> Option<&'a str> {
    item.table()?.get(key)?.text()
}

fn by_name(key: &str, mut old: Item, mut new: Item) -> Item {
    let (base, later) = match (old.kind, new.kind) {
        (Kind::List(base), Kind::List(later)) => (base, later),
        (Kind::List(base), _) => {
            old.kind = Kind::List(base);
            return old;
        }
        (_, kind) => {
            new.kind = kind;
            return new;
        }
    };
    let mut items = base;
    for mut item in later {
        let place = name(&item, key).and_then(|wanted| items.iter().position(|other| name(other, key) == Some(wanted)));
        match place {
            Some(place) => {
                // The name is where the volume or rule is first mentioned.
                if let Kind::Table(table) = &mut item.kind {
                    table.remove(key);
                }
                let base = items.remove(place);
                items.insert(place, over(base, item, Rule::Plain));
            }
            None => items.push(item),
        }
    }
    old.kind = Kind::List(items);
    old
}

/// One option of K3s. `x` forgets what was there, `x+` adds to it.
fn option(base: &mut Table, key: String, item: Item) {
    if let Some(plain) = key.strip_suffix('+') {
        let target = if base.contains_key(plain) { plain.to_owned() } else { key };
        let item = match base.remove(&target) {
            Some(old) => join(old, item),
            None => item,
        };
        base.insert(target, item);
        return;
    }
    let mut item = item;
    for gone in [key.clone(), format!("{key}+")] {
        if let Some(old) = base.remove(&gone) {
            item = over(old, item, Rule::Plain);
        }
    }
    base.insert(key, item);
}

fn join(old: Item, mut new: Item) -> Item {
    let mut items = parts(old.kind, old.key, old.at);
    items.append(&mut parts(new.kind, new.key, new.at));
    let mut joined = old.joined;
    joined.push(old.key);
    joined.append(&mut new.joined);
    let mut replaced = old.replaced;
    replaced.append(&mut new.replaced);
    Item { kind: Kind::List(items), key: new.key, at: new.at, replaced, joined }
}

fn parts(kind: Kind, key: crate::source::Spot, at: crate::source::Spot) -> Vec<Item> {
    match kind {
        Kind::List(items) => items,
        kind => vec![Item { kind, key, at, replaced: Vec::new(), joined: Vec::new() }],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Table, alone, merge};
    use crate::tree::parse;

    /// One file: any of these lines, each at most once, in tables of their own.
    fn document() -> impl Strategy<Value = String> {
        let options =
            ["disable = [\"a\"]", "\"disable+\" = [\"b\"]", "debug = true", "\"tls-san+\" = \"x\"", "tls-san = \"y\""];
        let volume = ["serial = \"1\"", "mount = \"/a\"", "gate = false", "options = [\"x\"]"];
        let names = ["one", "two", "three"];
        (
            prop::sample::subsequence(options.to_vec(), 0..=options.len()),
            prop::sample::subsequence(names.to_vec(), 0..=names.len()).prop_shuffle(),
            prop::sample::subsequence(volume.to_vec(), 0..=volume.len()),
            prop::sample::select(vec![
                "",
                "log = 3\n",
                "log = { level = \"info\" }\n",
                "log = [1]\n",
                "volume.x = 1\n",
            ]),
        )
            .prop_map(|(options, names, volume, head)| {
                let mut text = format!("{head}[cluster.config]\n{}\n", options.join("\n"));
                for name in &names {
                    text.push_str(&format!("[[enroll.allow]]\nname = \"{name}\"\n{}\n", volume.join("\n")));
                }
                if !head.starts_with("volume") {
                    for name in names {
                        text.push_str(&format!("[[volume]]\nname = \"{name}\"\n{}\n", volume.join("\n")));
                    }
                }
                text
            })
    }

    fn tree(file: usize, text: &str) -> Table {
        let (table, errors) = parse(file, text);
        assert!(errors.is_empty(), "{errors:?}");
        alone(table)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn neighbours_in_any_order(one in document(), two in document(), three in document()) {
            let (one, two, three) = (tree(0, &one), tree(1, &two), tree(2, &three));
            let left = merge(merge(one.clone(), two.clone()), three.clone());
            let right = merge(one.clone(), merge(two, three));
            prop_assert!(left == right);
            prop_assert!(merge(Table::new(), one.clone()) == one);
            prop_assert!(merge(one.clone(), Table::new()) == one);
        }
    }
}

//! What each figure may be at most, as BENCHMARKS.md has it.

/// What a figure may be at most.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Goals {
    pub(crate) ours: Option<f64>,
    /// `ours` by the peer's.
    pub(crate) ratio: Option<f64>,
    /// Whether nothing may fail while it is measured.
    pub(crate) none_failed: bool,
}

impl Goals {
    const fn and(self, other: Self) -> Self {
        Self { ratio: other.ratio, none_failed: other.none_failed, ..self }
    }
}

const fn most(ours: f64) -> Goals {
    Goals { ours: Some(ours), ratio: None, none_failed: false }
}

const fn of_peer(ratio: f64) -> Goals {
    Goals { ours: None, ratio: Some(ratio), none_failed: false }
}

const NONE_FAILED: Goals = Goals { ours: None, ratio: None, none_failed: true };

pub(crate) const GOALS: [(&str, Goals); 30] = [
    ("install_to_ready_overhead", most(0.5)),
    ("settled_look_cpu", most(50.0)),
    ("settled_look_writes", most(0.0)),
    ("idle_rss", most(12.0).and(of_peer(0.45))),
    ("package_size", most(4.0)),
    ("five_machines_ready", most(60.0)),
    ("recreated_agent_overhead", most(20.0)),
    ("agent_join_overhead", most(1.0)),
    ("settled_api_writes", most(0.0)),
    ("settled_api_reads", most(1.0)),
    ("settled_cpu_day", most(5000.0)),
    ("settled_writes_hour", most(0.0)),
    ("enroll_500_one_issuer", most(10.0).and(NONE_FAILED)),
    ("enroll_500_issuer_rss", most(40.0)),
    ("enroll_50_one_issuer", NONE_FAILED),
    ("enroll_500_three_issuers", NONE_FAILED),
    ("blank_to_mounted", of_peer(1.2)),
    ("adopt_to_mounted", most(0.3)),
    ("proof_1tib_sparse", most(1.0)),
    ("volumes_64", of_peer(3.0)),
    ("settled_look_64_volumes_cpu", most(30.0)),
    ("scrape_cpu_100_mounts", of_peer(0.35)),
    ("scrape_p99_100_mounts", of_peer(0.5)),
    ("rss_growth_20000_scrapes", most(0.5)),
    ("scan_500k_warm_1t", of_peer(1.0)),
    ("scan_500k_warm_2t", of_peer(0.6)),
    ("scan_500k_warm_2t_vs_diskus", of_peer(0.75)),
    ("scan_500k_cold_2t", of_peer(0.75)),
    ("scan_5m_rss", most(12.0)),
    // What fails is a kind on which it is not smaller than the peer's.
    ("forecast_error", Goals { ratio: Some(1.0), ..NONE_FAILED }),
];

/// Those of a figure.
pub(crate) fn of(name: &str) -> Goals {
    GOALS.iter().find(|(of, _)| *of == name).map(|(_, goals)| *goals).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The goals in a cell such as `12 MB and 0.45 of the peer`.
    fn read(cell: &str) -> Goals {
        let mut goals = Goals::default();
        for part in cell.split(" and ").flat_map(|part| part.split(", ")) {
            let number = part.split(' ').next().and_then(|word| word.parse().ok());
            match number {
                Some(_) if part.ends_with(" of the peer") => goals.ratio = number,
                Some(_) => goals.ours = number,
                None if part.starts_with("none failed") => goals.none_failed = true,
                None => panic!("no goal: {part}"),
            }
        }
        goals
    }

    /// Nobody looks for a figure that the document does not tell of, nor the other way round; and it has the same goals.
    #[test]
    fn every_figure_is_documented_with_its_goal() {
        let text = include_str!("../../../../BENCHMARKS.md");
        let first_table = text.lines().skip_while(|line| !line.starts_with("| figure | goal |")).skip(2);
        let mut documented = BTreeMap::new();
        for row in first_table.take_while(|line| line.starts_with('|')) {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            for name in cells[1].split(", ") {
                documented.insert(name.trim_matches('`'), read(cells[2]));
            }
        }
        assert_eq!(documented, GOALS.into_iter().collect());
        assert_eq!(crate::names(), GOALS.map(|(name, _)| name), "each is measured, and once");
    }
}

//! The contract of the two hosts (`agent/host/tests/contract`) where nothing of it is left out: systemd is PID 1, with its
//! journal and the bus, and long work runs in units of its own, by the program of the package.

use anyhow::{Context, Result, ensure};
use bowline_booted::looks::node_of;
use bowline_booted::{ADDRESS, deb};
use bowline_testbed::{Cast, case_of, host_contract, say};
use std::time::Duration;

/// What the cases need at once; each gets a disk as blank as it came.
const DISKS: [&str; 10] = ["400M", "400M", "400M", "700M", "700M", "700M", "64M", "64M", "8M", "20G"];
/// One after the other, some with waits, on a busy machine.
const ALL: Duration = Duration::from_secs(150);

#[test]
fn the_real_host_holds_all_of_its_contract() -> Result<()> {
    let contract = host_contract()?;
    case_of(Cast::PLAIN, "contract", |bed| {
        let disks = DISKS.iter().enumerate().map(|(number, size)| bed.disk(&format!("6900{number}"), size));
        let disks = disks.collect::<Result<Vec<_>>>()?;
        let machine = bed.machine("n1").address(ADDRESS).show(contract.path(), "/opt/contract");
        let machine = disks.iter().fold(machine, |machine, disk| machine.disk(disk)).start()?;
        // The daemon has nothing to do here.
        machine.ok("systemctl mask bowline.service")?;
        machine.install(&deb()?)?;
        let nodes = disks.iter().map(|disk| node_of(&machine, disk)).collect::<Result<Vec<_>>>()?;
        let listed = machine.ok("/opt/contract --list real::")?;
        let cases = listed.lines().filter(|line| line.ends_with(": test")).count();
        // Units have one name, whichever case they are of.
        let said = machine.run_with(
            &format!(
                "TMPDIR=/var/tmp BOWLINE_CONTRACT_PROGRAM=/usr/bin/bowline BOWLINE_CONTRACT_DISKS='{}' \
                 /opt/contract real:: --test-threads=1",
                nodes.join(" ")
            ),
            b"",
            ALL,
        )?;
        ensure!(said.success(), "{said}");
        let sum = said.stderr.lines().find(|line| line.starts_with("contract: ")).context(said.to_string())?;
        // A host that is a container itself may have no such capability to give: then no ext4 grows in its machines.
        let resource = machine.ok("setpriv --dump | grep -q 'bounding set:.*sys_resource' && echo yes || echo no")?;
        let part = if resource.trim() == "yes" { "" } else { ", 1 only in part for want of CAP_SYS_RESOURCE" };
        ensure!(sum == format!("contract: {cases} cases of the real host{part}"), "{sum}");
        ensure!(cases >= 40, "{listed}");
        say(sum);
        Ok(())
    })
}

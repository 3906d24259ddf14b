//! Changing the real machine.

use super::blocking::DURABLE;
use super::{RealHost, door, files, units};
use bowline_ports::{
    Answered, Ask, Change, FetchOrder, FormatOrder, Fut, GrowOrder, Objects, Progress, Proofs, ReclaimOrder,
    TaintChange, TendOrder, Write,
};
use std::collections::BTreeMap;
use std::path::Path;

impl Change for RealHost {
    fn random<'a>(&'a self, into: &'a mut [u8]) -> Fut<'a, ()> {
        Box::pin(async move { super::fill_random(into) })
    }

    fn write<'a>(&'a self, path: &'a Path, content: &'a [u8], mode: u32) -> Fut<'a, ()> {
        let content = content.to_vec();
        Box::pin(self.silent.in_turn(DURABLE, "writing", path, move |path| files::write(path, &content, mode)))
    }

    fn remove<'a>(&'a self, path: &'a Path) -> Fut<'a, ()> {
        Box::pin(self.silent.in_turn(DURABLE, "removing", path, files::remove))
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path, mode: u32) -> Fut<'a, ()> {
        Box::pin(async move {
            let (doing, from) = (format!("renaming {} to", from.display()), from.to_path_buf());
            self.silent.in_turn(DURABLE, &doing, to, move |to| files::rename(&from, to, mode)).await
        })
    }

    fn link<'a>(&'a self, target: &'a Path, path: &'a Path) -> Fut<'a, ()> {
        let target = target.to_path_buf();
        Box::pin(self.silent.in_turn(DURABLE, "linking", path, move |path| files::link(&target, path)))
    }

    fn reload_units(&self) -> Fut<'_, ()> {
        Box::pin(units::reload(&self.bus))
    }

    fn write_unit<'a>(&'a self, unit: &'a str, path: &'a Path, text: &'a str) -> Fut<'a, ()> {
        Box::pin(async move {
            // Asked before it is written: whoever looks at the unit from then on has the new text.
            let known = units::has_read(&self.bus, unit).await?;
            self.write(path, text.as_bytes(), 0o644).await?;
            if known { self.reload_units().await } else { Ok(()) }
        })
    }

    fn start<'a>(&'a self, unit: &'a str) -> Fut<'a, ()> {
        Box::pin(units::start(&self.bus, unit))
    }

    fn start_no_block<'a>(&'a self, unit: &'a str) -> Fut<'a, ()> {
        Box::pin(units::start_no_block(&self.bus, unit))
    }

    fn restart<'a>(&'a self, unit: &'a str) -> Fut<'a, ()> {
        Box::pin(units::restart(&self.bus, unit))
    }

    fn restart_no_block<'a>(&'a self, unit: &'a str) -> Fut<'a, ()> {
        Box::pin(units::restart_no_block(&self.bus, unit))
    }

    fn stop_no_block<'a>(&'a self, unit: &'a str) -> Fut<'a, ()> {
        Box::pin(units::stop_no_block(&self.bus, unit))
    }

    fn enable<'a>(&'a self, unit: &'a str) -> Fut<'a, ()> {
        Box::pin(units::enable(&self.bus, unit))
    }

    fn format<'a>(&'a self, order: &'a FormatOrder, progress: &'a Progress) -> Fut<'a, ()> {
        Box::pin(self.jobs.run(&self.bus, order, progress))
    }

    fn grow<'a>(&'a self, order: &'a GrowOrder, progress: &'a Progress) -> Fut<'a, ()> {
        Box::pin(self.jobs.run(&self.bus, order, progress))
    }

    fn tend<'a>(&'a self, order: &'a TendOrder, progress: &'a Progress) -> Fut<'a, ()> {
        Box::pin(self.jobs.run(&self.bus, order, progress))
    }

    fn fetch<'a>(&'a self, order: &'a FetchOrder, progress: &'a Progress) -> Fut<'a, ()> {
        Box::pin(self.jobs.run(&self.bus, order, progress))
    }

    fn reclaim<'a>(&'a self, order: &'a ReclaimOrder, progress: &'a Progress) -> Fut<'a, ()> {
        Box::pin(self.jobs.run(&self.bus, order, progress))
    }

    fn reserve<'a>(&'a self, path: &'a Path, bytes: u64) -> Fut<'a, ()> {
        Box::pin(self.silent.in_turn(DURABLE, "making", path, move |path| files::reserve(path, bytes)))
    }

    fn apply_labels<'a>(
        &'a self,
        kubeconfig: &'a Path,
        node: &'a str,
        labels: &'a BTreeMap<String, String>,
    ) -> Fut<'a, ()> {
        Box::pin(self.clusters.apply_labels(kubeconfig, node, labels))
    }

    fn set_taints<'a>(&'a self, kubeconfig: &'a Path, node: &'a str, change: &'a TaintChange) -> Fut<'a, ()> {
        Box::pin(self.clusters.set_taints(kubeconfig, node, change))
    }

    fn write_object<'a>(&'a self, kubeconfig: &'a Path, path: &'a str, write: Write<'a>) -> Fut<'a, ()> {
        Box::pin(async move { self.objects(kubeconfig.to_path_buf()).write(path, write).await })
    }

    fn ask<'a>(&'a self, ask: &'a Ask, proofs: &'a dyn Proofs) -> Fut<'a, Answered> {
        Box::pin(door::client::ask(ask, proofs, door::client::Deadlines::default()))
    }
}

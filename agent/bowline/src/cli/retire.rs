//! `bowline internal retire`: what the package's removal runs. Takes away what Bowline has put into the cluster for as long
//! as it looks after it: the policy of `only-claimed`. Without a Bowline nobody would lose the startup taint any more.

use super::{load, output};
use bowline_host::real::RealHost;
use bowline_issuer::policy::{NAME, withdraw};
use bowline_ports::{Inspect, PortError, k3s_admin_kubeconfig};
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(folder: &Path) -> ExitCode {
    let settings = match load::folder(folder) {
        Ok(loaded) => loaded.settings,
        Err(trouble) => return stays(&format!("the settings do not say whose it is:\n{trouble}")),
    };
    if !settings.enroll.is_some_and(|enroll| enroll.only_claimed) {
        return ExitCode::SUCCESS;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return stays(&error.to_string()),
    };
    match runtime.block_on(withdraw_policy()) {
        Ok(true) => {
            output::print(&format!("{NAME} is removed from the cluster: any name may register as a Node."));
            ExitCode::SUCCESS
        }
        Ok(false) => ExitCode::SUCCESS,
        Err(error) => stays(&error.message),
    }
}

async fn withdraw_policy() -> Result<bool, PortError> {
    let (host, kubeconfig) = (RealHost::new()?, k3s_admin_kubeconfig());
    // No K3s, no policy.
    if host.meta(&kubeconfig).await?.is_none() {
        return Ok(false);
    }
    withdraw(&host.objects(kubeconfig)).await
}

fn stays(why: &str) -> ExitCode {
    output::complain(&format!(
        "If the cluster has the policy {NAME}, it stays, and refuses kubelets under new names: {why}\nTo remove it:\n  \
         `k3s kubectl delete validatingadmissionpolicybinding,validatingadmissionpolicy {NAME}`"
    ));
    ExitCode::FAILURE
}

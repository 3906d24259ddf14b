//! The host name, by the kernel's own file of it, whose pollers it wakes at every change.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::time::Duration;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Notify;

const FILE: &str = "/proc/sys/kernel/hostname";
/// How often it is looked at where the kernel does not tell.
const AGAIN: Duration = Duration::from_secs(60);

pub(super) fn now() -> Option<OsString> {
    nix::unistd::gethostname().ok()
}

/// Notifies of every change from the name on that is `known`; never ends.
pub(super) async fn watch(mut known: Option<OsString>, signal: &Notify) {
    // Waited for like a pipe, which needs no unsafe code; it is never read.
    let file = File::open(FILE).and_then(Receiver::from_file_unchecked);
    if let Err(error) = &file {
        tracing::warn!("watching {FILE}: {error}; looking every {} s", AGAIN.as_secs());
    }
    loop {
        // In a container the names of others are told of as well.
        let name = now();
        if name != known {
            signal.notify_one();
            known = name;
        }
        let told = match &file {
            Ok(file) => changes(file).await.is_ok(),
            Err(_) => false,
        };
        if !told {
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Waits until the kernel wakes who waits for the file, which can always be read: only what comes after this wakes the next.
async fn changes(file: &Receiver) -> io::Result<()> {
    file.readable().await?;
    let _ = file.try_io(|| Err::<(), _>(io::ErrorKind::WouldBlock.into()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::alone;
    use super::*;
    use nix::sched::CloneFlags;

    #[test]
    fn the_kernel_tells_of_another_name() {
        alone(CloneFlags::CLONE_NEWUTS, async || {
            let signal = Notify::new();
            let told = async {
                for name in ["web-3", "web-4"] {
                    nix::unistd::sethostname(name).unwrap();
                    let heard = tokio::time::timeout(Duration::from_secs(10), signal.notified()).await;
                    assert!(heard.is_ok(), "nobody told of {name}");
                }
                nix::unistd::sethostname("web-4").unwrap();
                let heard = tokio::time::timeout(Duration::from_millis(300), signal.notified()).await;
                assert!(heard.is_err(), "the same name is no change");
            };
            tokio::select! {
                biased;
                () = watch(now(), &signal) => {}
                () = told => {}
            }
        });
    }
}

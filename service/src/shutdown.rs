//! One value that everything waits on to end.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tells all holders of its clones to end. It stays triggered.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// One that only [`trigger`](Self::trigger) triggers.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that SIGINT and SIGTERM trigger, for the program's `main`. A second signal ends the
    /// process at once, whatever it is waiting for.
    pub fn on_signals() -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let shutdown = Self::new();
        let triggered = shutdown.clone();
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! {
                    _ = interrupt.recv() => libc::SIGINT,
                    _ = terminate.recv() => libc::SIGTERM,
                }
            };
            let first = next().await;
            tracing::info!(signal = first, "shutting down; a second signal leaves at once");
            triggered.trigger();
            leave_at_once(128 + next().await)
        });
        Ok(shutdown)
    }

    /// Tells everybody to end.
    pub fn trigger(&self) {
        self.0.cancel();
    }

    /// True once it was triggered, for threads that cannot wait.
    pub fn is_triggered(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until it is triggered.
    pub fn triggered(&self) -> impl Future<Output = ()> + Send + use<> {
        self.0.clone().cancelled_owned()
    }
}

#[expect(unsafe_code, reason = "exit() would run destructors that may be what hangs")]
pub(crate) fn leave_at_once(code: i32) -> ! {
    // SAFETY: _exit takes any number and does not return.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_hears_it_and_it_stays_triggered() {
        let shutdown = Shutdown::new();
        let clone = shutdown.clone();
        assert!(!clone.is_triggered());
        let waiting = tokio::spawn(clone.triggered());
        shutdown.trigger();
        waiting.await.unwrap();
        clone.triggered().await;
        assert!(clone.is_triggered());
    }
}

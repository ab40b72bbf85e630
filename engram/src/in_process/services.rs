//! Service threads and the sockets between them.

use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use engram_inference_server::{BatchLimits, InferenceConfig, WeightsSource};
use engram_service::net::{Address, Exposure, Listener};
use engram_service::threads::spawn_named;
use engram_service::{RunConfig, Shutdown};
use tempfile::TempDir;

use crate::compute::Compute;

/// A service's thread.
pub(crate) type Thread<T> = JoinHandle<Result<T>>;

/// Sockets in a folder that goes away with them.
pub(super) struct Sockets {
    pub(super) learner: Address,
    pub(super) inference: Address,
    _folder: TempDir,
}

impl Sockets {
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("engram-")
            .tempdir()
            .context("cannot make a temporary folder for sockets")?;
        let socket = |name: &str| Address::Unix(folder.path().join(name));
        let (learner, inference) = (socket("learner"), socket("inference"));
        Ok(Sockets { learner, inference, _folder: folder })
    }
}

/// Starts an inference server that takes its weights from `weights`, with a watch on its model
/// thread. It listens when this returns.
pub(crate) fn start_inference(
    run: &RunConfig,
    run_id: &str,
    weights: WeightsSource,
    compute: Compute,
    address: &Address,
    watchdog: Duration,
    ending: &Shutdown,
) -> Result<(Thread<()>, Address)> {
    let config = InferenceConfig {
        run_id: matches!(weights, WeightsSource::Learner(_)).then(|| run_id.to_string()),
        weights,
        device: compute.device,
        threads: compute.inference_threads,
        instance: 0,
        batch: BatchLimits { max_batch_size: run.max_batch_size, max_wait: run.max_wait() }.into(),
        lease: Duration::from_secs(60),
        weights_wait: Duration::from_secs(60),
        max_slots: 1 << 20,
        watchdog,
    };
    let ending = ending.clone();
    start("inference-io", address, async move |listener| {
        Ok(engram_inference_server::run(config, listener, ending).await?)
    })
}

/// Runs a service on a thread with a runtime of its own. It listens when this returns, at the
/// address that is returned.
pub(crate) fn start<T, F>(
    name: &str,
    address: &Address,
    serve: impl FnOnce(Listener) -> F + Send + 'static,
) -> Result<(Thread<T>, Address)>
where
    T: Send + 'static,
    F: Future<Output = Result<T>>,
{
    let (bound, is_bound) = std::sync::mpsc::sync_channel(1);
    let address = address.clone();
    let thread = spawn_named(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = Listener::bind(&address, Exposure::Local).await?;
            let _ = bound.send(listener.address().clone());
            serve(listener).await
        })
    });
    match is_bound.recv() {
        Ok(address) => Ok((thread, address)),
        Err(_) => join(name, thread).and_then(|_| bail!("{name} ended before it listened")),
    }
}

/// Waits for a thread; an error or a panic names `who` it was.
pub(crate) fn join<T, E>(who: &str, thread: JoinHandle<Result<T, E>>) -> Result<T>
where
    anyhow::Error: From<E>,
{
    match thread.join() {
        Ok(result) => result.map_err(anyhow::Error::from).with_context(|| who.to_string()),
        Err(_) => Err(anyhow!("{who} panicked; the log says where")),
    }
}

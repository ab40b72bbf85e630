//! The inference server as a program. Addresses and devices are flags and environment variables,
//! never part of an experiment.

#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use engram_inference_server::{BatchOverrides, InferenceConfig, WeightsSource, run};
use engram_policy::Device;
use engram_service::args::{LogArgs, MetricsArgs, SecurityArgs, WatchdogArgs};
use engram_service::{Address, Listener, Shutdown, allocator, failure, health, logs, process};

/// Answers the actors of a run with actions, batching all of them through one policy
#[derive(Debug, Parser)]
#[command(name = "engram-inference-server", version)]
struct InferenceServerCli {
    /// Address to listen at: host:port or unix:/path
    #[arg(long, value_name = "ADDR", env = "ENGRAM_LISTEN", default_value = "127.0.0.1:7002")]
    listen: Address,
    /// The learner to take weights from, and every newer version
    #[arg(
        long, value_name = "ADDR", env = "ENGRAM_LEARNER",
        required_unless_present_any = ["weights", "healthcheck"]
    )]
    learner: Option<Address>,
    /// Serve the weights in this file instead
    #[arg(long, value_name = "FILE", conflicts_with = "learner")]
    weights: Option<PathBuf>,
    /// Device of the policy: cpu, cuda or cuda:n
    #[arg(long, env = "ENGRAM_DEVICE", default_value = "cpu")]
    device: Device,
    /// Threads that one operation of the policy may use on the processor
    #[arg(long, value_name = "N", env = "ENGRAM_THREADS", default_value_t = 1)]
    threads: usize,
    /// Rows that fill a batch; by default the learner's run.max_batch_size (256 with --weights)
    #[arg(long, value_name = "N", env = "ENGRAM_MAX_BATCH_SIZE")]
    max_batch_size: Option<usize>,
    /// Milliseconds that a request waits for others, 0 for none; by default the learner's
    /// run.max_wait_ms (0 with --weights)
    #[arg(long, value_name = "MS", env = "ENGRAM_MAX_WAIT_MS")]
    max_wait_ms: Option<f64>,
    /// The run to serve; otherwise the learner's, whichever it is
    #[arg(long, value_name = "ID", env = "ENGRAM_RUN")]
    run: Option<String>,
    /// Seconds that a stream may be silent before its slots are taken back
    #[arg(long, value_name = "S", env = "ENGRAM_LEASE", default_value_t = 60.0)]
    lease: f64,
    /// Seconds that a registration waits for the first weights
    #[arg(long, value_name = "S", env = "ENGRAM_WEIGHTS_WAIT", default_value_t = 10.0)]
    weights_wait: f64,
    /// Environments that may be served at once
    #[arg(long, value_name = "N", env = "ENGRAM_MAX_SLOTS", default_value_t = 16_384)]
    max_slots: usize,
    /// Ask the server at --listen whether it serves, and exit with 0 if so
    #[arg(long)]
    healthcheck: bool,
    #[command(flatten)]
    watchdog: WatchdogArgs,
    #[command(flatten)]
    security: SecurityArgs,
    #[command(flatten)]
    metrics: MetricsArgs,
    #[command(flatten)]
    logs: LogArgs,
}

fn main() -> ExitCode {
    allocator::keep_big_blocks();
    process::open_as_many_files_as_allowed();
    let args = InferenceServerCli::parse();
    args.logs.init(logs::USUAL);
    let runtime = tokio::runtime::Runtime::new().expect("the system has room for threads");
    match runtime.block_on(serve(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", failure::sentence(&error));
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: InferenceServerCli) -> anyhow::Result<()> {
    if args.healthcheck {
        return Ok(health::check(&args.security.client()?.at(&args.listen.from_here())?).await?);
    }
    let config = args.config()?;
    config.validate()?;
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let security = args.security.server()?;
    let listener = Listener::secured(&security, &args.listen).await?;
    let metrics = args.metrics.serve(&security, &shutdown).await?;
    let ended = run(config, listener, shutdown.clone()).await;
    shutdown.trigger();
    if let Some(metrics) = metrics {
        metrics.await.context("serving metrics")?;
    }
    Ok(ended?)
}

impl InferenceServerCli {
    fn config(&self) -> anyhow::Result<InferenceConfig> {
        let seconds = |flag, number| {
            Duration::try_from_secs_f64(number).with_context(|| format!("{flag} is {number}"))
        };
        Ok(InferenceConfig {
            run_id: self.run.clone(),
            weights: match (&self.learner, &self.weights) {
                (_, Some(path)) => WeightsSource::File(path.clone()),
                (Some(address), None) => {
                    WeightsSource::Learner(self.security.client()?.at(address)?)
                }
                (None, None) => bail!("a server needs --learner or --weights"),
            },
            device: self.device,
            threads: self.threads,
            instance: process::any_number(),
            batch: BatchOverrides {
                max_batch_size: self.max_batch_size,
                max_wait: self
                    .max_wait_ms
                    .map(|ms| seconds("--max-wait-ms", ms / 1e3))
                    .transpose()?,
            },
            lease: seconds("--lease", self.lease)?,
            weights_wait: seconds("--weights-wait", self.weights_wait)?,
            max_slots: self.max_slots,
            watchdog: self.watchdog.limit(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> String {
        let line = std::iter::once("engram-inference-server").chain(line.split_ascii_whitespace());
        match InferenceServerCli::try_parse_from(line) {
            Err(error) => error.to_string(),
            Ok(args) => match args.config() {
                Err(error) => format!("{error:#}"),
                Ok(config) => config.validate().unwrap_err().to_string(),
            },
        }
    }

    #[test]
    fn flags_become_a_configuration() {
        let line = "engram-inference-server --learner learner:7001 --max-wait-ms 1.5 --run r";
        let args = InferenceServerCli::try_parse_from(line.split_ascii_whitespace()).unwrap();
        let config = args.config().unwrap();
        config.validate().unwrap();
        assert_eq!(config.batch.max_wait, Some(Duration::from_micros(1500)));
        assert_eq!(config.batch.max_batch_size, None, "the learner's");
        assert_eq!(config.run_id.as_deref(), Some("r"));
        let WeightsSource::Learner(learner) = config.weights else { panic!("a learner") };
        assert_eq!(learner.to_string(), "learner:7001");
    }

    #[test]
    fn wrong_flags_are_refused_with_what_would_be_right() {
        for (line, message) in [
            ("", "--learner <ADDR>"),
            ("--learner l:1 --weights w", "cannot be used with"),
            ("--learner l:1 --device tpu", "write cpu, cuda or cuda:0"),
            ("--learner l:1 --threads 0", "`threads` is 0; it must be at least 1"),
            ("--learner l:1 --max-wait-ms=-1", "--max-wait-ms is -"),
            (
                "--learner l:1 --max-wait-ms 1e8",
                "`max_wait` is 100000s; it must be at most an hour",
            ),
            ("--learner l:1 --lease 0", "`lease` is 0"),
        ] {
            let refusal = refusal(line);
            assert!(refusal.contains(message), "{line}: {refusal}");
        }
    }
}

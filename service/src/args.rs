//! The flags that all programs share.

use clap::Args;
use tokio::task::JoinHandle;
use tracing::level_filters::LevelFilter;

use crate::logs::{self, LogFormat};
use crate::metrics;
use crate::net::{Address, Exposure, Listener, NetError};
use crate::shutdown::Shutdown;

/// How the process logs.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// How log lines look
    #[arg(long, global = true, value_enum, env = "ENGRAM_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// The least level that is logged: error, warn, info, debug, trace; RUST_LOG wins over it
    #[arg(long, global = true, value_name = "LEVEL", env = "ENGRAM_LOG_LEVEL")]
    pub log_level: Option<LevelFilter>,
}

impl LogArgs {
    /// Starts logging, from the level `usual` up where no other was asked for.
    pub fn init(&self, usual: LevelFilter) {
        logs::init(self.log_format, self.log_level.unwrap_or(usual));
    }
}

/// Where the process shows its metrics.
#[derive(Args, Clone, Debug)]
pub struct MetricsArgs {
    /// Serve Prometheus metrics at http://ADDR/metrics; port 0 takes a free one
    #[arg(long = "metrics", value_name = "ADDR", env = "ENGRAM_METRICS")]
    pub metrics: Option<Address>,
}

impl MetricsArgs {
    /// Serves the metrics, where asked to, until shutdown. Returns the task to join.
    pub async fn serve(
        &self,
        exposure: Exposure,
        shutdown: &Shutdown,
    ) -> Result<Option<JoinHandle<()>>, NetError> {
        metrics::install();
        let Some(address) = &self.metrics else {
            return Ok(None);
        };
        let listener = Listener::bind(address, exposure).await?;
        tracing::info!("metrics at http://{}/metrics", listener.address());
        Ok(Some(tokio::spawn(metrics::serve(listener, shutdown.clone()))))
    }
}

/// Who may reach the process.
#[derive(Args, Clone, Copy, Debug)]
pub struct ExposureArgs {
    /// Listen on addresses that other machines can reach, without encryption or passwords
    #[arg(long, env = "ENGRAM_INSECURE")]
    pub insecure: bool,
}

impl ExposureArgs {
    /// The flag as a type.
    pub fn exposure(&self) -> Exposure {
        if self.insecure { Exposure::Insecure } else { Exposure::Local }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::ConfigArgs;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        logs: LogArgs,
        #[command(flatten)]
        metrics: MetricsArgs,
        #[command(flatten)]
        exposure: ExposureArgs,
    }

    #[test]
    fn all_groups_fit_into_one_program() {
        let line = "engram recall --seq elstm --set rl.learning_rate=3e-4 --set run.seed=2 \
                    --metrics 127.0.0.1:0 --log-format json --log-level debug --insecure";
        let program = Program::try_parse_from(line.split_ascii_whitespace()).unwrap();
        let selection = program.config.selection();
        assert_eq!(selection.experiment, "recall");
        assert_eq!(selection.seq.as_deref(), Some("elstm"));
        assert_eq!(selection.set, ["rl.learning_rate=3e-4", "run.seed=2"]);
        assert_eq!(program.metrics.metrics, Some(Address::loopback(0)));
        assert_eq!(program.logs.log_format, LogFormat::Json);
        assert_eq!(program.logs.log_level, Some(LevelFilter::DEBUG));
        assert_eq!(program.exposure.exposure(), Exposure::Insecure);
    }

    #[test]
    fn a_bad_address_is_refused_with_the_reason() {
        let error = Program::try_parse_from(["engram", "recall", "--metrics", "9100"]).unwrap_err();
        assert!(error.to_string().contains("the port is missing"), "{error}");
    }
}

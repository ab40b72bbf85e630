//! The flags that all programs share.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::task::JoinHandle;
use tracing::level_filters::LevelFilter;

use crate::logs::{self, LogFormat};
use crate::net::{
    Address, ClientCredentials, ClientTls, ConnectionLimits, Exposure, Identity, Listener,
    NetError, SecurityError, ServerSecurity, ServerTls, Token,
};
use crate::shutdown::Shutdown;
use crate::{heartbeat, metrics, metrics_page};

/// Flags of logging.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// Form of log lines
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

/// Flag of the page of metrics.
#[derive(Args, Clone, Debug)]
pub struct MetricsArgs {
    /// Serve Prometheus metrics at http://ADDR/metrics; port 0 takes a free one
    #[arg(long = "metrics", value_name = "ADDR", env = "ENGRAM_METRICS")]
    pub metrics: Option<Address>,
}

impl MetricsArgs {
    /// Serves the metrics, where asked to, until shutdown. Returns the task to join. On loopback
    /// and Unix sockets they are there for everybody; elsewhere the process' own security holds.
    pub async fn serve(
        &self,
        security: &ServerSecurity,
        shutdown: &Shutdown,
    ) -> Result<Option<JoinHandle<()>>, NetError> {
        metrics::install();
        let Some(address) = &self.metrics else {
            return Ok(None);
        };
        let security = match address.is_local() {
            true => {
                ServerSecurity { limits: security.limits, ..ServerSecurity::none(Exposure::Local) }
            }
            false => security.for_http1(),
        };
        let listener = Listener::secured(&security, address).await?;
        let scheme = if security.tls.is_some() { "https" } else { "http" };
        tracing::info!("metrics at {scheme}://{}/metrics", listener.address());
        Ok(Some(tokio::spawn(metrics_page::serve(listener, shutdown.clone()))))
    }
}

/// Checks a run's name, which is also its folder's: for `value_parser`.
pub fn run_name(name: &str) -> Result<String, String> {
    let good = |c: char| c.is_alphanumeric() || "-_.+=".contains(c);
    if !name.starts_with(['.', '-']) && name.chars().all(good) && (1..=255).contains(&name.len()) {
        return Ok(name.into());
    }
    Err("a run's name is its folder's: letters, digits, and any of - _ . + = behind the first of \
         them; --runs names another place"
        .into())
}

/// Flag of the watch on threads.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchdogArgs {
    /// Seconds without a sign of life after which a thread counts as hung: the process then says
    /// NOT_SERVING, and ends with code 70; 0 watches nobody
    #[arg(
        long = "watchdog", value_name = "SECONDS", env = "ENGRAM_WATCHDOG",
        default_value_t = heartbeat::LIMIT.as_secs()
    )]
    pub watchdog: u64,
}

impl WatchdogArgs {
    /// The limit; zero watches nobody.
    pub fn limit(&self) -> Duration {
        Duration::from_secs(self.watchdog)
    }
}

impl Default for WatchdogArgs {
    fn default() -> Self {
        WatchdogArgs { watchdog: heartbeat::LIMIT.as_secs() }
    }
}

/// Flags of security, as a server and as a client.
#[derive(Args, Clone, Debug)]
pub struct SecurityArgs {
    /// As a server: its certificate, in PEM; with --tls-key, all its TCP ports speak TLS
    #[arg(long, value_name = "FILE", env = "ENGRAM_TLS_CERT", help_heading = HEADING)]
    pub tls_cert: Option<PathBuf>,
    /// As a server: the certificate's private key
    #[arg(long, value_name = "FILE", env = "ENGRAM_TLS_KEY", help_heading = HEADING)]
    pub tls_key: Option<PathBuf>,
    /// As a server: let in only clients with a certificate from this CA (mutual TLS)
    #[arg(long, value_name = "FILE", env = "ENGRAM_TLS_CLIENT_CA", help_heading = HEADING)]
    pub tls_client_ca: Option<PathBuf>,
    /// As a client: speak TLS, with servers whose certificate comes from this CA
    #[arg(long, value_name = "FILE", env = "ENGRAM_TLS_CA", help_heading = HEADING)]
    pub tls_ca: Option<PathBuf>,
    /// As a client: the certificate that a server with --tls-client-ca wants to see
    #[arg(long, value_name = "FILE", env = "ENGRAM_TLS_CLIENT_CERT", help_heading = HEADING)]
    pub tls_client_cert: Option<PathBuf>,
    /// As a client: that certificate's private key
    #[arg(long, value_name = "FILE", env = "ENGRAM_TLS_CLIENT_KEY", help_heading = HEADING)]
    pub tls_client_key: Option<PathBuf>,
    /// As a client: the name in the servers' certificates, where it is not their address
    #[arg(long, value_name = "NAME", env = "ENGRAM_TLS_SERVER_NAME", help_heading = HEADING)]
    pub tls_server_name: Option<String>,
    /// The token that clients show and servers ask for; without a file, that in ENGRAM_TOKEN
    #[arg(long, value_name = "FILE", env = "ENGRAM_TOKEN_FILE", help_heading = HEADING)]
    pub token_file: Option<PathBuf>,
    /// Do without TLS or a token where other machines are concerned
    #[arg(long, env = "ENGRAM_INSECURE", help_heading = HEADING)]
    pub insecure: bool,
    /// As a server: connections that may be unauthenticated at once, each for 5 s; further ones
    /// take the places of silent ones, or wait
    #[arg(
        long, value_name = "N", env = "ENGRAM_MAX_UNAUTHENTICATED", help_heading = HEADING,
        default_value_t = ConnectionLimits::STANDARD.unauthenticated,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub max_unauthenticated: u32,
}

/// Heading of these flags in `--help`.
const HEADING: &str = "Security";

impl SecurityArgs {
    /// Security of this process' own ports.
    pub fn server(&self) -> Result<ServerSecurity, SecurityError> {
        let identity = pair(("--tls-cert", &self.tls_cert), ("--tls-key", &self.tls_key))?;
        let client_ca = self.tls_client_ca.as_deref();
        let tls = match identity {
            Some(identity) => Some(ServerTls::load(&identity, client_ca)?),
            None if client_ca.is_some() => {
                return Err(SecurityError::MissingFlag {
                    given: "--tls-client-ca",
                    missing: "--tls-cert",
                });
            }
            None => None,
        };
        let exposure = if self.insecure { Exposure::Insecure } else { Exposure::Local };
        let unauthenticated = self.max_unauthenticated;
        let limits = ConnectionLimits { unauthenticated, ..ConnectionLimits::STANDARD };
        Ok(ServerSecurity { exposure, tls, token: self.token()?, limits })
    }

    /// Credentials that this process shows to others.
    pub fn client(&self) -> Result<ClientCredentials, SecurityError> {
        let cert = ("--tls-client-cert", &self.tls_client_cert);
        let identity = pair(cert, ("--tls-client-key", &self.tls_client_key))?;
        let name = self.tls_server_name.as_deref();
        let alone = |given| Err(SecurityError::MissingFlag { given, missing: "--tls-ca" });
        let tls = match &self.tls_ca {
            Some(ca) => Some(ClientTls::load(ca, identity.as_ref(), name)?),
            None if identity.is_some() => return alone("--tls-client-cert"),
            None if name.is_some() => return alone("--tls-server-name"),
            None => None,
        };
        Ok(ClientCredentials { tls, token: self.token()?, insecure: self.insecure })
    }

    fn token(&self) -> Result<Option<Token>, SecurityError> {
        Token::find(self.token_file.as_deref())
    }
}

/// Two flags that go together.
fn pair(
    (cert_flag, cert): (&'static str, &Option<PathBuf>),
    (key_flag, key): (&'static str, &Option<PathBuf>),
) -> Result<Option<Identity>, SecurityError> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(Identity { cert: cert.clone(), key: key.clone() })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(SecurityError::MissingFlag { given: cert_flag, missing: key_flag }),
        (None, Some(_)) => Err(SecurityError::MissingFlag { given: key_flag, missing: cert_flag }),
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
        watchdog: WatchdogArgs,
        #[command(flatten)]
        security: SecurityArgs,
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
        assert_eq!(program.watchdog, WatchdogArgs::default());
        let security = program.security.server().unwrap();
        assert_eq!(security.exposure, Exposure::Insecure);
        assert_eq!(security.limits, ConnectionLimits::STANDARD, "the flag's default");
        assert!(security.tls.is_none() && security.token.is_none());
    }

    #[test]
    fn several_keys_may_be_set_at_once_and_nothing_too() {
        let set = |text| {
            let program = Program::try_parse_from(["engram", "recall", "--set", text]).unwrap();
            program.config.selection().set
        };
        assert_eq!(set("run.seed=2;env.delay=3"), ["run.seed=2", "env.delay=3"]);
        assert_eq!(set("run.seed=2;"), ["run.seed=2"]);
        assert_eq!(set("rl.freeze=[\"torso\", \"core\"]"), ["rl.freeze=[\"torso\", \"core\"]"]);
        assert!(set("").is_empty());
    }

    #[test]
    fn half_a_lock_names_the_other_half() {
        let at =
            |line: &str| Program::try_parse_from(line.split_ascii_whitespace()).unwrap().security;
        for (line, message) in [
            ("--tls-cert c", "--tls-cert needs --tls-key"),
            ("--tls-key k", "--tls-key needs --tls-cert"),
            ("--tls-client-ca a", "--tls-client-ca needs --tls-cert"),
            ("--tls-cert /no/c --tls-key k", "cannot read the certificate in /no/c"),
            ("--token-file /no/t", "cannot read the token in /no/t"),
        ] {
            let error = at(&format!("engram x {line}")).server().unwrap_err().to_string();
            assert!(error.starts_with(message), "{line}: {error}");
        }
        for (line, message) in [
            ("--tls-client-cert c", "--tls-client-cert needs --tls-client-key"),
            ("--tls-client-key k", "--tls-client-key needs --tls-client-cert"),
            ("--tls-client-cert c --tls-client-key k", "--tls-client-cert needs --tls-ca"),
            ("--tls-server-name n", "--tls-server-name needs --tls-ca"),
            ("--tls-ca /no/a", "cannot read the certificate in /no/a"),
        ] {
            let error = at(&format!("engram x {line}")).client().unwrap_err().to_string();
            assert!(error.starts_with(message), "{line}: {error}");
        }
    }

    #[test]
    fn a_run_stays_in_the_folder_of_runs() {
        for good in ["recall", "recall-30-seed1", "2026.11.30_a+b=c", "läufe"] {
            assert_eq!(run_name(good).as_deref(), Ok(good));
        }
        let long = "x".repeat(256);
        for bad in
            ["", ".", "..", "../other", "a/b", "/etc", "a\\b", ".hidden", "-x", "a b", "a\0", &long]
        {
            let error = run_name(bad).unwrap_err();
            assert!(error.starts_with("a run's name is its folder's"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_bad_address_is_refused_with_the_reason() {
        let error = Program::try_parse_from(["engram", "recall", "--metrics", "9100"]).unwrap_err();
        assert!(error.to_string().contains("the port is missing"), "{error}");
    }
}

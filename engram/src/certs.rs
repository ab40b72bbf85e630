//! `engram certs`: a CA of one's own, and what it signs, for machines that speak TLS with one
//! another.
//!
//! The CA's key is not kept: nobody who reads the folder can make a certificate
//! that the others trust. Another name means a new set.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::Args;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Flags of `engram certs`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CertsArgs {
    /// Folder for the files; those that exist are never overwritten
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Names and IP addresses by which clients reach the servers, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true)]
    names: Vec<String>,
    /// Names and IP addresses of programs that serve nothing but their metrics, as actors: they get a
    /// certificate of their own, metrics.pem, with which nobody can pass for a learner
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    metrics_names: Vec<String>,
    /// Days that the certificates are good for
    #[arg(long, value_name = "N", default_value_t = 90,
          value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

/// A file's name and text.
type File = (&'static str, String);

/// A clock may be behind by so much.
const CLOCK_ERROR: Duration = Duration::from_secs(3600);

const DAY: Duration = Duration::from_secs(86_400);

/// Makes the certificates, and prints where they are.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(crate) fn run(args: &CertsArgs) -> Result<()> {
    for path in create(&args.out, &args.names, &args.metrics_names, args.days)? {
        println!("{}", path.display());
    }
    Ok(())
}

/// Makes the certificates in the folder `out`, and returns their files.
pub(crate) fn create(
    out: &Path,
    names: &[String],
    metrics_names: &[String],
    days: u32,
) -> Result<Vec<PathBuf>> {
    for name in names.iter().chain(metrics_names) {
        check_name(name)?;
    }
    let files = make(names, metrics_names, days, SystemTime::now())?;
    let standing = |name: &&File| out.join(name.0).symlink_metadata().is_ok();
    if let Some((name, _)) = files.iter().find(standing) {
        let path = out.join(name);
        bail!("{} exists, and is not overwritten: choose another --out", path.display());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(out);
    made.with_context(|| format!("cannot make the folder {}", out.display()))?;
    let write_one = |(name, text): &File| {
        let path = out.join(name);
        write(&path, text).map(|()| path)
    };
    files.iter().map(write_one).collect()
}

/// The files: a CA, a server's certificate for all names, a client's, and one for pages of metrics
/// where any are named.
fn make(
    names: &[String],
    metrics_names: &[String],
    days: u32,
    now: SystemTime,
) -> Result<Vec<File>> {
    let params = |names: &[String], title: &str| -> Result<CertificateParams> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, title);
        params.not_before = (now - CLOCK_ERROR).into();
        params.not_after = (now + days * DAY).into();
        Ok(params)
    };
    let mut ca = params(&[], "Engram CA")?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate()?;
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let ca = Issuer::new(ca, ca_key);

    let issue = |names: &[String], title: &str, purpose| -> Result<(String, String)> {
        let (mut params, key) = (params(names, title)?, KeyPair::generate()?);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        Ok((params.signed_by(&key, &ca)?.pem(), key.serialize_pem()))
    };
    let server = issue(names, "Engram server", ExtendedKeyUsagePurpose::ServerAuth)?;
    let client = issue(&[], "Engram client", ExtendedKeyUsagePurpose::ClientAuth)?;
    let mut files = vec![
        ("ca.pem", ca_pem),
        ("server.pem", server.0),
        ("server.key", server.1),
        ("client.pem", client.0),
        ("client.key", client.1),
    ];
    if !metrics_names.is_empty() {
        let metrics = issue(metrics_names, "Engram metrics", ExtendedKeyUsagePurpose::ServerAuth)?;
        files.extend([("metrics.pem", metrics.0), ("metrics.key", metrics.1)]);
    }
    Ok(files)
}

/// A name that a client could dial.
fn check_name(name: &str) -> Result<()> {
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    let good = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    if !is_address && !name.split('.').all(good) {
        bail!("`{name}` is neither a host's name nor an IP address: as in learner,10.0.0.5");
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = made.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            anyhow::anyhow!("{} exists, and is not overwritten", path.display())
        }
        _ => anyhow::Error::from(error).context(format!("cannot write {}", path.display())),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use engram_service::net::{ClientTls, Identity, ServerTls};

    use super::*;

    fn args(out: &Path, names: &[&str]) -> CertsArgs {
        let names = names.iter().map(|&name| name.into()).collect();
        CertsArgs { out: out.into(), names, metrics_names: Vec::new(), days: 1 }
    }

    #[test]
    fn what_is_made_can_be_loaded_and_read_by_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("certs");
        run(&args(&out, &["learner", "localhost", "10.0.0.5", "::1"])).unwrap();
        let identity = |name: &str| Identity {
            cert: out.join(format!("{name}.pem")),
            key: out.join(format!("{name}.key")),
        };
        let ca = out.join("ca.pem");
        ServerTls::load(&identity("server"), Some(&ca)).unwrap();
        ClientTls::load(&ca, Some(&identity("client")), None).unwrap();
        for file in std::fs::read_dir(&out).unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 5, "no key of the CA");
    }

    #[test]
    fn whoever_serves_metrics_alone_gets_a_certificate_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let metrics_names = vec!["actor".into(), "evaluator".into()];
        run(&CertsArgs { metrics_names, ..args(folder.path(), &["learner"]) }).unwrap();
        let at = |name: &str| folder.path().join(name);
        let identity = Identity { cert: at("metrics.pem"), key: at("metrics.key") };
        ServerTls::load(&identity, Some(&at("ca.pem"))).unwrap();
        let bad = CertsArgs { metrics_names: vec!["a b".into()], ..args(&at("x"), &["learner"]) };
        assert!(run(&bad).unwrap_err().to_string().starts_with("`a b` is neither"));
    }

    #[test]
    fn what_exists_stays() {
        let folder = tempfile::tempdir().unwrap();
        let precious = folder.path().join("client.key");
        std::fs::write(&precious, "precious").unwrap();
        let error = run(&args(folder.path(), &["learner"])).unwrap_err().to_string();
        assert!(error.contains("client.key exists, and is not overwritten"), "{error}");
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "and nothing is added");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["", "a b", "https://learner", "learner:7001", "-a", "a..b"] {
            let error = run(&args(folder.path(), &["learner", name])).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{name}` is neither")), "{error}");
        }
    }
}

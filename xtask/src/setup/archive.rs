//! The official archive of libtorch: the way of last resort.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::host::{Host, last_lines};

const FETCH: &str = include_str!("fetch.py");

/// The archive, in `to`. A download that was cut off goes on where it stopped.
pub(crate) fn fetch(host: &Host, url: &str, to: &Path) -> Result<PathBuf> {
    let name = url.rsplit('/').next().unwrap_or("libtorch.zip").replace("%2B", "+");
    let file = to.join(name);
    let output = host.python().args(["-c", FETCH, url]).arg(&file).output()?;
    if !output.status.success() {
        bail!("{url}: {}", last_lines(&String::from_utf8_lossy(&output.stderr), 1));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::setup::fixture;

    #[test]
    fn an_archive_is_fetched_and_one_that_is_there_is_kept() {
        let (folder, host) = fixture::host();
        fixture::write(folder.path(), "source/libtorch.zip", "all of it");
        let url = format!("file://{}/source/libtorch.zip", folder.path().display());
        let file = fetch(&host, &url, folder.path()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "all of it");
        fs::remove_dir_all(folder.path().join("source")).unwrap();
        assert_eq!(fetch(&host, &url, folder.path()).unwrap(), file);
    }

    #[test]
    fn a_download_that_was_cut_off_goes_on_where_it_stopped() {
        let (folder, host) = fixture::host();
        fixture::write(folder.path(), "libtorch.zip.part", "all ");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/libtorch.zip", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let asked: Vec<String> = BufReader::new(&stream)
                .lines()
                .map(Result::unwrap)
                .take_while(|line| !line.is_empty())
                .collect();
            let answer = "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\nof it";
            stream.write_all(answer.as_bytes()).unwrap();
            asked
        });
        let file = fetch(&host, &url, folder.path()).unwrap();
        assert!(server.join().unwrap().contains(&"Range: bytes=4-".to_string()));
        assert_eq!(fs::read_to_string(file).unwrap(), "all of it");
    }

    #[test]
    fn a_failed_download_names_its_address() {
        let (folder, host) = fixture::host();
        let message = fetch(&host, "file:///nowhere/x.zip", folder.path()).unwrap_err().to_string();
        assert!(message.starts_with("file:///nowhere/x.zip: "), "{message}");
        assert!(!folder.path().join("x.zip").exists());
    }
}

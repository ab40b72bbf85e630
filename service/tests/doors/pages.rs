//! Pages of metrics behind locks, and those who read them.

use engram_service::args::MetricsArgs;
use engram_service::net::{Door, fetch};
use engram_service::{Address, Exposure, Keys, Listener, NetError, Shutdown, metrics};
use tracing::Level;

use crate::support::{Lab, Log};

#[tokio::test]
async fn an_open_page_is_read_over_tcp_and_a_unix_socket() {
    let lab = Lab::new();
    for address in [Address::loopback(0), lab.unix()] {
        let door = Door::open(Exposure::Local);
        let listener = Listener::behind(&door, &address).await.unwrap();
        let address = listener.address().clone();
        tokio::spawn(metrics::serve(listener, Shutdown::new()));
        let read = async |path| fetch(&address, "page", path).await;
        let body = String::from_utf8(read("/metrics").await.unwrap()).unwrap();
        assert!(body.contains("engram_build_info{"), "{body}");
        let error = read("/gone").await.unwrap_err();
        assert!(matches!(error, NetError::Page { status: 404, .. }), "{error}");
        assert!(error.to_string().contains("only GET /metrics"), "{error}");
    }
}

#[tokio::test]
async fn a_locked_page_is_read_with_the_right_keys_and_only_with_them() {
    let lab = Lab::new();
    let door = Door { tls: Some(lab.mutual_tls()), ..lab.door() };
    let (log, _guard) = Log::keep(Level::INFO);
    // On all addresses: on loopback alone it would be open.
    let metrics = MetricsArgs { metrics: Some("0.0.0.0:0".parse().unwrap()) };
    let _task = metrics.serve(&door, &Shutdown::new()).await.unwrap().unwrap();
    let text = log.text();
    let port = text.rsplit(':').next().unwrap().split('/').next().unwrap();
    let address: Address = format!("127.0.0.1:{port}").parse().unwrap();
    let keys = Keys { tls: Some(lab.client_tls(Some("client"))), ..lab.keys() };
    let with = async |keys: &Keys| fetch(&keys.at(&address).unwrap(), "page", "/metrics").await;
    let body = with(&keys).await.unwrap();
    assert!(String::from_utf8(body).unwrap().contains("engram_build_info{"));
    let error = with(&Keys { token: None, ..keys.clone() }).await.unwrap_err();
    assert!(matches!(error, NetError::Page { status: 401, .. }), "{error}");
    let error = with(&Keys { tls: None, ..keys }).await.unwrap_err();
    assert!(matches!(error, NetError::Unreachable { .. }), "{error}");
}

//! Secrets that nobody may read.

use engram_service::net;
use tracing::Level;

use crate::support::{Lab, Log, Server, TOKEN, ask, token};

#[tokio::test]
async fn no_log_and_no_debug_output_shows_a_token() {
    let guess = "guess-9876543210-fedcba";
    let lab = Lab::new();
    let (log, _guard) = Log::keep(Level::TRACE);
    for tls in [true, false] {
        let mut security = lab.security();
        let (mut right, mut wrong) = (lab.credentials(), lab.credentials());
        wrong.token = Some(token(guess));
        if !tls {
            (security.tls, right.tls, wrong.tls) = (None, None, None);
        }
        let server = Server::start(&security).await;
        ask(&mut server.client(&right)).await.unwrap();
        ask(&mut server.client(&wrong)).await.unwrap_err();
        let address = right.at(&server.address).unwrap();
        let channel = net::connect(&address, "server");
        for shown in
            [format!("{security:?}"), format!("{right:?}"), format!("{address:?} {channel:?}")]
        {
            assert!(!shown.contains(TOKEN), "{shown}");
        }
        server.stop().await;
    }
    let text = log.text();
    assert!(text.contains("h2::") && text.contains("rustls::"), "libraries' traces were kept");
    assert!(!text.contains(TOKEN) && !text.contains(guess), "{text}");
    let bytes = |token: &str| format!("{:?}", token.as_bytes());
    assert!(!text.contains(bytes(TOKEN).trim_matches(['[', ']'])), "{text}");
}

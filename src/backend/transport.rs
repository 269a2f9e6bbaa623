//! What speaks HTTP and TLS with stores. Invariant: a certificate that is not believed is refused at once; OpenDAL alone
//! takes it for a network that fails, and tries on until the budget is used up.

use super::wording::words;
use crate::certificate;
use opendal::{Buffer, HttpBody, HttpTransport, HttpTransporter};
use opendal_http_transport_reqwest::ReqwestTransport;
use std::sync::Mutex;

struct Transport(ReqwestTransport);

impl HttpTransport for Transport {
    async fn fetch(&self, request: http::Request<Buffer>) -> opendal::Result<http::Response<HttpBody>> {
        self.0.fetch(request).await.map_err(|error| match certificate::trouble(&words(&error)) {
            Some(_) => error.set_permanent(),
            None => error,
        })
    }
}

/// Chooses it, once. The client of its own that OpenDAL would make ends the program where there are no authorities.
pub(super) fn install() -> Result<(), String> {
    static IS_INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut is_installed = IS_INSTALLED.lock().map_err(|e| e.to_string())?;
    if !*is_installed {
        // for whatever in there makes connections of its own, unless the program that this runs in has chosen before
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls = certificate::believing().map_err(|e| e.to_string())?;
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).build().map_err(|e| e.to_string())?;
        HttpTransporter::install_default(Transport(ReqwestTransport::new(client)));
        *is_installed = true;
    }
    Ok(())
}

//! TLS around a connection: the server's certificate is always checked, against the system's authorities or a file.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// What bytes go over, encrypted or not.
pub trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// How long the other side may take for each step until both know their keys.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Encrypts what goes over a connection to this host.
#[cfg(feature = "cloud")]
pub fn wrap(mut stream: TcpStream, host: &str, authorities: Option<&Path>) -> io::Result<Box<dyn Wire>> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
    use std::sync::Arc;

    let config = match authorities {
        None => crate::certificate::believing().map_err(io::Error::other)?,
        Some(path) => {
            let named = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| named(&error))? {
                roots.add(certificate.map_err(|error| named(&error))?).map_err(|error| named(&error))?;
            }
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider);
            let config = config.with_safe_default_protocol_versions().map_err(io::Error::other)?;
            config.with_root_certificates(roots).with_no_client_auth()
        }
    };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    // whoever is far away takes longer than a tick for this
    stream.set_read_timeout(Some(HANDSHAKE))?;
    while session.is_handshaking() {
        let trouble = |error: io::Error| match crate::certificate::trouble(&error.to_string()) {
            Some(words) => io::Error::other(words),
            None => error,
        };
        session.complete_io(&mut stream).map_err(trouble)?;
    }
    Ok(Box::new(StreamOwned::new(session, stream)))
}

/// A build without the cloud's backends has no TLS.
#[cfg(not(feature = "cloud"))]
pub fn wrap(_: TcpStream, _: &str, _: Option<&Path>) -> io::Result<Box<dyn Wire>> {
    Err(io::Error::other("this vault was built without TLS: build it with the feature cloud"))
}

//! Certificates of servers, for whatever speaks TLS: whom this machine believes, and what is the matter with one that it
//! does not. Believed are the authorities of the machine, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`. Invariant: a
//! machine without any, like an empty container, believes nobody, and still reaches what needs no certificate.

#[cfg(any(feature = "cloud", feature = "http"))]
use rustls::ClientConfig;
#[cfg(any(feature = "cloud", feature = "http"))]
use std::sync::Arc;

/// How connections are secured where no authorities are named.
#[cfg(any(feature = "cloud", feature = "http"))]
pub(crate) fn believing() -> Result<ClientConfig, rustls::Error> {
    use rustls_platform_verifier::BuilderVerifierExt;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = || ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let verified = match builder()?.with_platform_verifier() {
        Ok(verified) => verified,
        // there are no authorities: only now, at the first certificate, that matters
        Err(_) => builder()?.with_root_certificates(rustls::RootCertStore::empty()),
    };
    Ok(verified.with_no_client_auth())
}

/// What is the matter with a server's certificate, from the words of whoever looked at it; `None` if that is not it.
pub(crate) fn trouble(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    let what = text.split_once("invalid peer certificate").map(|(_, what)| what);
    // all that some say where there are no authorities
    let what = what.or_else(|| text.contains("no ca certificates were loaded").then_some("unknownissuer"))?;
    let says = |words: &[&str]| words.iter().any(|word| what.contains(word));
    Some(if says(&["unknownissuer"]) {
        "nobody known here has signed the server's certificate: let SSL_CERT_FILE name a file with the signer's"
    } else if says(&["not valid yet", "notvalidyet"]) {
        "the server's certificate is not valid yet: check this machine's clock"
    } else if says(&["expired"]) {
        "the server's certificate has expired: it needs a new one, if this machine's clock is right"
    } else if says(&["not valid for name", "notvalidforname"]) {
        "the server's certificate is for another name: check the address"
    } else if says(&["causedasendentity"]) {
        "the server's certificate is an authority's (CA:TRUE): it needs one of its own, signed by that"
    } else {
        "the server's certificate is not accepted"
    })
}

#[cfg(test)]
mod tests {
    use super::trouble;

    #[test]
    fn each_trouble_says_what_to_do() {
        for (text, words) in [
            ("invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE"),
            ("unexpected error: No CA certificates were loaded from the system", "SSL_CERT_FILE"),
            (
                "client error (Connect): invalid peer certificate: certificate expired: verification time 1",
                "has expired",
            ),
            ("invalid peer certificate: certificate not valid yet: verification time 1", "clock"),
            ("invalid peer certificate: certificate not valid for name \"a.example\"; certificate is", "another name"),
            ("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))", "CA:TRUE"),
            ("invalid peer certificate: BadSignature", "not accepted"),
        ] {
            assert!(trouble(text).is_some_and(|said| said.contains(words)), "{text}: {:?}", trouble(text));
        }
        assert_eq!(trouble("the certificate of your account has expired"), None);
    }
}

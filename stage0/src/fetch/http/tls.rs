//! TLS with the certificates that this machine trusts.
//!
//! The library's own verifier refuses a server's certificate that is marked as an authority, even one that the machine's
//! administrator has put among the trusted ones. That is how most private registries are set up, and every other
//! client of theirs accepts it; so does this one, if the very same certificate is trusted.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};
use std::fmt;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
    TransportAdapter,
};

/// Wraps connections in TLS where the URL wants it.
#[derive(Debug)]
pub(super) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Trusts what the machine trusts.
    pub(super) fn new() -> Result<Self, rustls::Error> {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            log::debug!(target: "image", "cannot read certificates: {error}");
        }
        Self::trusting(found.certs)
    }

    fn trusting(certificates: Vec<CertificateDer<'static>>) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        if roots.is_empty() {
            // Then every server is refused, in the same words as an unknown one.
            let config = builder.with_root_certificates(roots).with_no_client_auth();
            return Ok(Self(Arc::new(config)));
        }
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let verifier = Arc::new(Verifier { chains, certificates });
        let dangerous = builder.dangerous().with_custom_certificate_verifier(verifier);
        Ok(Self(Arc::new(dangerous.with_no_client_auth())))
    }
}

#[derive(Debug)]
struct Verifier {
    chains: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.chains.verify_server_cert(end, between, name, ocsp, now) {
            // It is in its time, which is looked at first; what is left is for whom it is.
            Err(error) if is_authority(&error) && self.certificates.iter().any(|c| c == end) => {
                let parsed = ParsedCertificate::try_from(end)?;
                rustls::client::verify_server_name(&parsed, name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Whether all that is wrong with a certificate is that it is an authority's.
pub(super) fn is_authority(error: &rustls::Error) -> bool {
    // The type behind it is the verifier's own.
    matches!(error, rustls::Error::InvalidCertificate(_))
        && format!("{error:?}").contains("CaUsedAsEndEntity")
}

impl<In: Transport> Connector<In> for Tls {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| ureq::Error::Tls("the host's name cannot be in a certificate"))?;
        let mut connection = ClientConnection::new(Arc::clone(&self.0), name)?;
        let clock = Arc::clone(&details.current_time);
        let mut socket = TransportAdapter::new(transport.boxed(), clock);
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket)?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        let stream = StreamOwned { conn: connection, sock: socket };
        Ok(Some(Either::B(TlsTransport { buffers, stream })))
    }
}

/// A connection in TLS.
pub(super) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        Ok(self.stream.write_all(output)?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject as _;
    use std::time::Duration;

    /// Its own authority, for `localhost`, from 2026 on for a hundred years.
    const PEM: &[u8] = b"\
-----BEGIN CERTIFICATE-----
MIIBlDCCATugAwIBAgIUBTt0ie4l099qFvC4wNJz5d0LyWEwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyOTEwNDQ1OVoYDzIxMjYxMTA1
MTA0NDU5WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQzQS0p6ymAX0uuDoWmDPo7ay7nQ1O61lP3bYayaAWDN3R9Ou+KZIm4
EXiK5I2pkrG/DSKLVAHTdxUk4uInPpbQo2kwZzAdBgNVHQ4EFgQUx9D9du0O5EAN
ugi+kljVYvHy3XkwHwYDVR0jBBgwFoAUx9D9du0O5EANugi+kljVYvHy3XkwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
RwAwRAIgGYdgr/88oAK3R84yO89uOoCibD3a1jfYhy4zjQiMvcQCIDdno8y3MnRT
zSbZ6tuAG8wFIhA4eA6081TuNhmbvSZN
-----END CERTIFICATE-----
";

    fn verify(trusted: &[CertificateDer<'static>], name: &str, year: u64) -> Result<(), String> {
        let own = CertificateDer::from_pem_slice(PEM).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(own.clone()).unwrap();
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = Verifier { chains: chains.build().unwrap(), certificates: trusted.to_vec() };
        let name = ServerName::try_from(name).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_556_952));
        let verified = verifier.verify_server_cert(&own, &[], &name, &[], now);
        verified.map(drop).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn a_trusted_certificate_may_be_its_own_authority() {
        let own = [CertificateDer::from_pem_slice(PEM).unwrap()];
        assert_eq!(verify(&own, "localhost", 2040), Ok(()));
        for (trusted, name, year, reason) in [
            (&[][..], "localhost", 2040, "CaUsedAsEndEntity"),
            (&own, "example.com", 2040, "NotValidForName"),
            (&own, "localhost", 2000, "NotValidYet"),
            (&own, "localhost", 2200, "Expired"),
        ] {
            let refused = verify(trusted, name, year).unwrap_err();
            assert!(refused.contains(reason), "{name} {year}: {refused}");
        }
    }
}

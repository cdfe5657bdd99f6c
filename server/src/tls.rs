//! TLS for the listener. Certificate and key are read again when their files change, so that they can be
//! renewed without a restart; files that do not fit leave what is in use.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsConfig;
use crate::error::Error;

/// How often the files are looked at, while connections come.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Makes the listener's side of TLS 1.2 and 1.3.
pub(crate) fn acceptor(config: &TlsConfig) -> Result<TlsAcceptor, Error> {
    acceptor_looking(config, LOOK_AGAIN)
}

fn acceptor_looking(config: &TlsConfig, again: Duration) -> Result<TlsAcceptor, Error> {
    let files = Files { config: config.clone() };
    let stamps = files.stamps();
    let key = files.load()?;
    let state = Mutex::new(State { key: Arc::new(key), stamps, looked: Instant::now() });
    let resolver = Arc::new(Resolver { files, again, state });
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[derive(Debug)]
struct Files {
    config: TlsConfig,
}

/// Inode and time of change of a file.
type Stamp = Option<(u64, i64, i64)>;

impl Files {
    fn load(&self) -> Result<CertifiedKey, Error> {
        let TlsConfig { cert_file, key_file } = &self.config;
        let failed = |path: &Path, why: String| Error::Tls(format!("{}: {why}", path.display()));
        let read = |path: &PathBuf| fs::read(path).map_err(|error| failed(path, error.to_string()));
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(cert_file)?)
            .collect::<Result<_, _>>()
            .map_err(|error| failed(cert_file, error.to_string()))?;
        if chain.is_empty() {
            return Err(failed(cert_file, "has no certificate in PEM".into()));
        }
        // What is wrong with the key is not told in more detail: it is a secret.
        let key = PrivateKeyDer::from_pem_slice(&read(key_file)?)
            .map_err(|_| failed(key_file, "has no private key in PEM".into()))?;
        let provider = CryptoProvider::get_default();
        let provider = provider.ok_or_else(|| Error::Tls("no cryptography is set up".into()))?;
        let certified = CertifiedKey::from_der(chain, key, provider);
        certified.map_err(|error| failed(key_file, format!("does not fit: {error}")))
    }

    fn stamps(&self) -> [Stamp; 2] {
        [&self.config.cert_file, &self.config.key_file].map(|path| {
            let facts = fs::metadata(path).ok()?;
            Some((facts.ino(), facts.mtime(), facts.mtime_nsec()))
        })
    }
}

#[derive(Debug)]
struct Resolver {
    files: Files,
    again: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    key: Arc<CertifiedKey>,
    stamps: [Stamp; 2],
    looked: Instant,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut state = self.state.lock().expect("no code panics while it holds the certificate");
        if state.looked.elapsed() >= self.again {
            state.looked = Instant::now();
            let stamps = self.files.stamps();
            if stamps != state.stamps {
                match self.files.load() {
                    Ok(key) => {
                        tracing::info!("the certificate was read again");
                        (state.key, state.stamps) = (Arc::new(key), stamps);
                    }
                    // Certificate and key are seldom replaced in one instant: it is looked at again.
                    Err(error) => tracing::warn!(%error, "the certificate stays as it was"),
                }
            }
        }
        Some(Arc::clone(&state.key))
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::TlsConnector;

    use super::*;

    /// Writes a certificate for `name`, and returns it.
    fn make(folder: &Path, name: &str) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        for (file, text) in
            [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())]
        {
            fs::write(folder.join("new"), text).unwrap();
            fs::rename(folder.join("new"), folder.join(file)).unwrap();
        }
        made.cert.der().clone()
    }

    fn config(folder: &Path) -> TlsConfig {
        let _ = rustls::crypto::ring::default_provider().install_default();
        TlsConfig { cert_file: folder.join("cert.pem"), key_file: folder.join("key.pem") }
    }

    /// Whether a client that trusts `root` reaches `name`.
    async fn reaches(
        acceptor: &TlsAcceptor,
        root: &CertificateDer<'static>,
        name: &'static str,
    ) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(client));
        let (here, there) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from(name).unwrap();
        let (client, server) = tokio::join!(connector.connect(name, here), acceptor.accept(there));
        client.is_ok() && server.is_ok()
    }

    #[tokio::test]
    async fn a_renewed_certificate_is_used_and_a_spoilt_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let first = make(folder.path(), "one.example");
        let acceptor = acceptor_looking(&config(folder.path()), Duration::ZERO).unwrap();
        assert!(reaches(&acceptor, &first, "one.example").await);
        assert!(!reaches(&acceptor, &first, "two.example").await);
        let second = make(folder.path(), "two.example");
        assert!(reaches(&acceptor, &second, "two.example").await);
        // The key of another certificate, then no key at all.
        let before = fs::read(folder.path().join("cert.pem")).unwrap();
        make(folder.path(), "three.example");
        fs::write(folder.path().join("cert.pem"), before).unwrap();
        assert!(reaches(&acceptor, &second, "two.example").await);
        fs::write(folder.path().join("key.pem"), "xyzzy").unwrap();
        assert!(reaches(&acceptor, &second, "two.example").await);
        let error = super::acceptor(&config(folder.path())).map(drop).unwrap_err().to_string();
        assert!(
            error.contains("key.pem: has no private key") && !error.contains("xyzzy"),
            "{error}"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let why = |folder: &Path| acceptor(&config(folder)).map(drop).unwrap_err().to_string();
        assert!(why(folder.path()).contains("cert.pem: No such file"), "{}", why(folder.path()));
        fs::write(folder.path().join("cert.pem"), "").unwrap();
        assert!(why(folder.path()).contains("cert.pem: has no certificate"));
    }
}

//! The certificate of the moment: asked for by each handshake, replaced without anybody noticing.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certificates::material::{Material, certificates};

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is none.
    #[error("tls.crt holds no certificate in PEM")]
    NoCertificate,
    /// The key cannot be read.
    #[error("tls.key holds no private key in PEM: {0}")]
    Key(#[from] rustls::pki_types::pem::Error),
    /// They do not go together.
    #[error("tls.crt and tls.key: {0}")]
    Mismatch(#[from] rustls::Error),
}

/// What is served; copies of it are the same.
#[derive(Clone, Debug, Default)]
pub struct Served {
    current: Arc<RwLock<Option<Current>>>,
}

/// As it stood in the Secret, and as it is served.
type Current = (Material, Arc<CertifiedKey>);

fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

impl Served {
    /// Serves another one from the next handshake on. One that cannot be used changes nothing.
    pub fn replace(&self, material: &Material) -> Result<(), ServeError> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        if current.is_some_and(|(seen, _)| seen.leaf == material.leaf && seen.leaf_key == material.leaf_key) {
            return Ok(());
        }
        let chain = certificates(&material.leaf);
        if chain.is_empty() {
            return Err(ServeError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(material.leaf_key.as_bytes())?;
        let key = Arc::new(CertifiedKey::from_der(chain, key, &provider())?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some((material.clone(), key));
        tracing::info!("serving another certificate");
        Ok(())
    }

    /// Whether there is one.
    pub fn is_loaded(&self) -> bool {
        self.current.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// What is served.
    pub fn material(&self) -> Option<Material> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(|(material, _)| material.clone())
    }

    /// Settings for a server that serves it.
    pub fn server_config(&self) -> Result<ServerConfig, ServeError> {
        let config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()?;
        let mut config = config.with_no_client_auth().with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(|(_, key)| key.clone())
    }
}

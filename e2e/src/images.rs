//! The images that tests run: in, environment variables; out, names.
//!
//! The defaults are what `make cluster-up` loads. For any other cluster, push or load images of your own and name
//! them in the environment; `e2e/README.md` says what each has to contain.

use std::env;

/// One image of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// The operator.
    Operator,
    /// The sidecar that the operator injects.
    Sidecar,
    /// python3, gunicorn, and busybox as `sh`.
    Gunicorn,
    /// nginx, and busybox as `sh`.
    Nginx,
    /// rsyslogd with its OpenSSL driver, and busybox as `sh`.
    Rsyslog,
    /// The project's own `log-writer` and `collector`.
    Peers,
    /// busybox.
    Busybox,
    /// Prometheus.
    Prometheus,
}

impl Image {
    /// Every image.
    pub const ALL: [Image; 8] = [
        Image::Operator,
        Image::Sidecar,
        Image::Gunicorn,
        Image::Nginx,
        Image::Rsyslog,
        Image::Peers,
        Image::Busybox,
        Image::Prometheus,
    ];

    /// What to write into `image:`.
    pub fn name(self) -> String {
        env::var(self.variable()).ok().filter(|name| !name.is_empty()).unwrap_or_else(|| self.default_name())
    }

    /// Repository and tag apart, as charts want them.
    pub fn repository_and_tag(self) -> (String, String) {
        split(&self.name())
    }

    fn variable(self) -> String {
        format!("CAPSTAN_E2E_{}_IMAGE", self.word().to_ascii_uppercase())
    }

    fn default_name(self) -> String {
        match self {
            Image::Operator | Image::Sidecar | Image::Peers => {
                format!("capstan-{}:{}", self.word(), env!("CARGO_PKG_VERSION"))
            }
            _ => format!("capstan-test/{}:1", self.word()),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Image::Operator => "operator",
            Image::Sidecar => "sidecar",
            Image::Gunicorn => "gunicorn",
            Image::Nginx => "nginx",
            Image::Rsyslog => "rsyslog",
            Image::Peers => "peers",
            Image::Busybox => "busybox",
            Image::Prometheus => "prometheus",
        }
    }
}

/// A colon belongs to a port if a slash comes after it.
fn split(name: &str) -> (String, String) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository.to_owned(), tag.to_owned()),
        _ => (name.to_owned(), "latest".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, repository: &str, tag: &str) {
        assert_eq!(split(name), (repository.to_owned(), tag.to_owned()));
    }

    #[test]
    fn a_port_is_no_tag() {
        check("capstan-sidecar:0.1.0", "capstan-sidecar", "0.1.0");
        check("registry.example:5000/capstan/sidecar", "registry.example:5000/capstan/sidecar", "latest");
        check("registry.example:5000/capstan/sidecar:1", "registry.example:5000/capstan/sidecar", "1");
    }
}

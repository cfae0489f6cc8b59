//! Which Go programs there are, in which version, and when a build of them can be used again. In: the module's files
//! and the compiler's version; out: arguments of `go build` and a key.
//!
//! Always: what could change a program's bytes is in its key, so a program found under its key need not be built.

use anyhow::{Context, Result, bail};

/// The Kubernetes version that is taken if none is asked for.
pub const DEFAULT_KUBERNETES: &str = "1.36.3";

/// A program to build: a Go module in `e2e/cluster/go`, and what of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// What the program is called, also in the cache.
    pub name: &'static str,
    /// The folder in `e2e/cluster/go`.
    pub module: &'static str,
    /// The file in it that says which versions; its sums are beside it.
    pub modfile: &'static str,
    /// The package to build: one of the module, or a tool that it names.
    pub package: &'static str,
    /// The required module whose version is the program's.
    pub versioned_by: &'static str,
    /// The variables that are told the version, as `v1.2.3`.
    pub version_variables: &'static [&'static str],
    /// How long a first build takes on a small machine.
    pub patience: &'static str,
}

const KUBERNETES: Recipe = Recipe {
    name: "kubernetes",
    module: "kubernetes",
    modfile: "go.mod",
    package: ".",
    versioned_by: "k8s.io/kubernetes",
    version_variables: &[
        "k8s.io/component-base/version.gitVersion",
        "k8s.io/client-go/pkg/version.gitVersion",
    ],
    patience: "5 to 8 minutes the first time",
};

/// All programs but Kubernetes, which there is in two versions.
const OTHERS: [Recipe; 4] = [
    Recipe {
        name: "coredns",
        module: "coredns",
        modfile: "go.mod",
        package: ".",
        versioned_by: "github.com/coredns/coredns",
        version_variables: &[],
        patience: "about a minute the first time",
    },
    Recipe {
        name: "pause",
        module: "pause",
        modfile: "go.mod",
        package: ".",
        versioned_by: "",
        version_variables: &[],
        patience: "a few seconds",
    },
    Recipe {
        name: "helm",
        module: "helm",
        modfile: "go.mod",
        package: "helm.sh/helm/v4/cmd/helm",
        versioned_by: "helm.sh/helm/v4",
        version_variables: &["helm.sh/helm/v4/internal/version.version"],
        patience: "about two minutes the first time",
    },
    Recipe {
        name: "kwok",
        module: "kwok",
        modfile: "go.mod",
        package: "sigs.k8s.io/kwok/cmd/kwok",
        versioned_by: "sigs.k8s.io/kwok",
        version_variables: &["sigs.k8s.io/kwok/pkg/consts.Version"],
        patience: "about two minutes the first time",
    },
];

/// The recipe for Kubernetes of that version.
pub fn kubernetes(version: &str) -> Result<Recipe> {
    match version {
        DEFAULT_KUBERNETES => Ok(KUBERNETES),
        "1.34.10" => Ok(Recipe { modfile: "1.34.mod", ..KUBERNETES }),
        _ => {
            bail!("there is no Kubernetes {version} here; KUBERNETES may be {DEFAULT_KUBERNETES} or 1.34.10")
        }
    }
}

/// The recipe of that name; Kubernetes in the version given.
pub fn named(name: &str, kubernetes_version: &str) -> Result<Recipe> {
    if name == KUBERNETES.name {
        return kubernetes(kubernetes_version);
    }
    let names: Vec<&str> = OTHERS.iter().map(|recipe| recipe.name).collect();
    let known = OTHERS.iter().find(|recipe| recipe.name == name).cloned();
    known.with_context(|| {
        format!("there is no program {name} to build, only kubernetes, {}", names.join(", "))
    })
}

/// The version that the module file's text requires of `module`, without its `v`; empty if it has no version.
pub fn version(modfile: &str, module: &str) -> Result<String> {
    if module.is_empty() {
        return Ok(String::new());
    }
    let required = modfile.lines().find_map(|line| {
        let line = line.trim().trim_start_matches("require ");
        line.strip_prefix(module)?.strip_prefix(" v")?.split_whitespace().next()
    });
    Ok(required.with_context(|| format!("the module file requires no {module}"))?.to_owned())
}

/// The arguments of `go` that build the program into `output`.
pub fn arguments(recipe: &Recipe, version: &str, output: &str) -> Vec<String> {
    let mut linker = String::from("-s -w -buildid=");
    for variable in recipe.version_variables {
        linker += &format!(" -X {variable}=v{version}");
        // Kubernetes also tells its version in parts, and clients such as Helm read those.
        if let Some(package) = variable.strip_suffix(".gitVersion") {
            let minor = version.split('.').nth(1).unwrap_or_default();
            linker += &format!(" -X {package}.gitMajor=1 -X {package}.gitMinor={minor}");
            linker += &format!(" -X {package}.gitTreeState=archive");
        }
    }
    let mut arguments = vec!["build".to_owned(), "-v".to_owned(), "-trimpath".to_owned()];
    arguments.extend(["-buildvcs=false".to_owned(), format!("-modfile={}", recipe.modfile)]);
    arguments.extend(["-ldflags".to_owned(), linker, "-o".to_owned(), output.to_owned()]);
    arguments.push(recipe.package.to_owned());
    arguments
}

/// The key of all that goes into a build: names and contents, told apart whatever they hold.
pub fn key(inputs: &[(&str, &[u8])]) -> String {
    let mut all = Vec::new();
    for (name, content) in inputs {
        all.extend_from_slice(hex_digest(name.as_bytes()).as_bytes());
        all.extend_from_slice(hex_digest(content).as_bytes());
    }
    hex_digest(&all)[..16].to_owned()
}

/// SHA-256 in lower-case hex digits.
pub fn hex_digest(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_changes_with_each_input_and_with_where_one_ends() {
        let base = key(&[("go.mod", b"a"), ("main.go", b"b")]);
        assert_eq!(base, key(&[("go.mod", b"a"), ("main.go", b"b")]));
        for other in [
            key(&[("go.mod", b"x"), ("main.go", b"b")]),
            key(&[("go.mod", b"a"), ("main.go", b"x")]),
            key(&[("go.mod", b"ab"), ("main.go", b"")]),
            key(&[("go.sum", b"a"), ("main.go", b"b")]),
            key(&[("main.go", b"b"), ("go.mod", b"a")]),
        ] {
            assert_ne!(base, other);
        }
        assert_eq!(base.len(), 16);
    }

    #[test]
    fn versions_are_read_from_lists_and_single_requirements_but_not_from_replacements() {
        let text = "module m\n\nreplace (\n\ta.b/c => a.b/c v9.9.9\n)\n\nrequire (\n\ta.b/c v1.2.3\n\ta.b/cd v4.0.0 // indirect\n)\n";
        assert_eq!(version(text, "a.b/c").unwrap(), "1.2.3");
        assert_eq!(version(text, "a.b/cd").unwrap(), "4.0.0");
        assert_eq!(version("require x/y v0.1.0\n", "x/y").unwrap(), "0.1.0");
        assert!(version(text, "a.b/x").unwrap_err().to_string().contains("a.b/x"));
    }

    #[test]
    fn kubernetes_is_told_its_version_whole_and_in_parts() {
        let arguments = arguments(&kubernetes("1.34.10").unwrap(), "1.34.10", "/out").join(" ");
        assert!(arguments.contains("-X k8s.io/component-base/version.gitVersion=v1.34.10"));
        assert!(arguments.contains("-X k8s.io/client-go/pkg/version.gitMinor=34"));
        assert!(arguments.contains("-modfile=1.34.mod"));
    }

    #[test]
    fn an_unknown_kubernetes_names_those_there_are() {
        let error = kubernetes("1.20.0").unwrap_err().to_string();
        assert!(error.contains("1.36.3") && error.contains("1.34.10"), "{error}");
    }
}

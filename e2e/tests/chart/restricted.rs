//! Whether pods pass the Pod Security Standard `restricted`, as far as these pods can break it.

use serde_json::{Value, json};

use crate::helm::{self, CAPSTAN, EVERYTHING, objects, of_kind};

/// Panics with the field that `restricted` refuses.
pub fn check(pod: &Value, whose: &str) {
    let security = &pod["securityContext"];
    assert_eq!(security["runAsNonRoot"], true, "{whose}: securityContext.runAsNonRoot");
    assert_eq!(
        security["seccompProfile"]["type"], "RuntimeDefault",
        "{whose}: securityContext.seccompProfile"
    );
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod.get(field).is_none(), "{whose}: {field}");
    }
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        assert!(volume.get("hostPath").is_none(), "{whose}: volume {}", volume["name"]);
    }
    for list in ["initContainers", "containers"] {
        for container in pod[list].as_array().into_iter().flatten() {
            let whose = format!("{whose}: container {}", container["name"]);
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false, "{whose}: allowPrivilegeEscalation");
            assert_eq!(security["capabilities"], json!({ "drop": ["ALL"] }), "{whose}: capabilities");
            assert_eq!(security["readOnlyRootFilesystem"], true, "{whose}: readOnlyRootFilesystem");
            assert!(security.get("privileged").is_none(), "{whose}: privileged");
            assert!(
                container["resources"]["requests"]["memory"].is_string(),
                "{whose}: resources.requests.memory"
            );
            assert!(
                container["resources"]["limits"]["memory"].is_string(),
                "{whose}: resources.limits.memory"
            );
        }
    }
}

#[test]
fn the_charts_pods_pass_restricted() {
    for values in [&[], EVERYTHING] {
        let objects = objects(CAPSTAN, values);
        for deployment in of_kind(&objects, "Deployment") {
            check(&deployment["spec"]["template"]["spec"], &helm::identity(deployment));
        }
        for pod in of_kind(&objects, "Pod") {
            check(&pod["spec"], &helm::identity(pod));
        }
    }
}

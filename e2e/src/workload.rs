//! Apps that write logs, as documents: in, a name and what differs from test to test; out, JSON that a test may
//! still change.
//!
//! All of them pass the `restricted` Pod Security standard and run as user 1000.

use serde_json::{Value, json};

use crate::images::Image;

/// Where the apps write.
pub const LOGS: &str = "/var/log/app";

const APP: &str = r#"def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]
"#;

/// A pod whose container `app` appends `count` lines `w00 NUMBER …` to `LOGS/app.log`, a few hundred a second, opening
/// the file for each, and then does `afterwards`: `true` to end, `sleep 100000` to stay.
pub fn writer(name: &str, count: u32, afterwards: &str) -> Value {
    let script = format!(
        "i=0; while [ $i -lt {count} ]; do printf 'w00 %09d a line of some length, as apps write them\\n' $i \
         >> {LOGS}/app.log; i=$((i+1)); [ $((i%50)) -ne 0 ] || sleep 0.1; done; {afterwards}"
    );
    pod(name, &Image::Busybox.name(), &json!(["sh", "-c", script]))
}

/// A pod that runs a command in the container `app`, with a volume for logs.
pub fn pod(name: &str, image: &str, command: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": name }, "annotations": {} },
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 10,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": "app", "image": image, "command": command,
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                "volumeMounts": [{ "name": "logs", "mountPath": LOGS }],
            }],
            "volumes": [{ "name": "logs", "emptyDir": {} }],
        },
    })
}

/// The same with an annotation that names its policy.
pub fn annotated(mut pod: Value, policy: &str) -> Value {
    pod["metadata"]["annotations"]["capstan.dev/policy"] = json!(policy);
    pod
}

/// A Deployment of a pod; pod and Deployment get the pod's name and its label `app`.
pub fn deployment(pod: &Value, replicas: u32) -> Value {
    let name = &pod["metadata"]["name"];
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": pod["metadata"]["labels"], "annotations": pod["metadata"]["annotations"] },
                "spec": pod["spec"],
            },
        },
    })
}

/// A Job that runs a pod to its end once.
pub fn job(pod: &Value) -> Value {
    let mut job = deployment(pod, 1);
    job["apiVersion"] = json!("batch/v1");
    job["kind"] = json!("Job");
    job["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    job["spec"] = json!({ "backoffLimit": 0, "template": job["spec"]["template"] });
    job
}

/// A gunicorn with two workers that logs each request to `LOGS/access.log`, its app in a ConfigMap, and a Service.
pub fn gunicorn(name: &str, policy: &str) -> Vec<Value> {
    let command = json!([
        "gunicorn",
        "--workers",
        "2",
        "--worker-class",
        "gthread",
        "--threads",
        "4",
        "--keep-alive",
        "60",
        "--bind",
        "0.0.0.0:8000",
        "--access-logfile",
        format!("{LOGS}/access.log"),
        "--error-logfile",
        format!("{LOGS}/error.log"),
        "--chdir",
        "/srv/app",
        "app:app",
    ]);
    let mut pod = annotated(pod(name, &Image::Gunicorn.name(), &command), policy);
    pod["spec"]["shareProcessNamespace"] = json!(true);
    let container = &mut pod["spec"]["containers"][0];
    container["env"] = json!([{ "name": "PYTHONDONTWRITEBYTECODE", "value": "1" }]);
    container["readinessProbe"] = json!({ "tcpSocket": { "port": 8000 }, "periodSeconds": 1 });
    container["volumeMounts"] =
        json!([{ "name": "logs", "mountPath": LOGS }, { "name": "srv", "mountPath": "/srv/app" }]);
    pod["spec"]["volumes"] =
        json!([{ "name": "logs", "emptyDir": {} }, { "name": "srv", "configMap": { "name": name } }]);
    vec![
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "app.py": APP } }),
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
                "spec": { "selector": { "app": name }, "ports": [{ "port": 8000 }] } }),
        deployment(&pod, 1),
    ]
}

/// A LogRotationPolicy with one log `app`: all of `LOGS/*.log`, rotated at a size, sent to a destination if one is
/// named. `reopen` is `{"none": {}}`, `{"preset": "Gunicorn"}`, …
pub fn policy(name: &str, size: &str, reopen: &Value, destination: Option<&str>) -> Value {
    let mut log = json!({
        "name": "app",
        "files": { "include": [format!("{LOGS}/*.log")] },
        "rotate": { "when": { "size": size }, "reopen": reopen, "retention": { "count": 1000 } },
    });
    if let Some(destination) = destination {
        log["forward"] =
            json!({ "destinations": [{ "name": destination }], "metadata": ["Namespace", "Pod"] });
    }
    json!({
        "apiVersion": "capstan.dev/v1alpha1", "kind": "LogRotationPolicy",
        "metadata": { "name": name }, "spec": { "logs": [log] },
    })
}

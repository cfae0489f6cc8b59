use anyhow::{Context, Result, ensure};
use capstan_e2e::images::Image;
use capstan_e2e::namespace::{Namespace, Security, name_of};
use capstan_e2e::receiver::Receiver;
use capstan_e2e::test::in_namespace;
use capstan_e2e::workload::{self, annotated, pod, writer};
use capstan_e2e::{install, scrape, wait};
use kube::api::Api;
use serde_json::{Value, json};

/// Debian's Prometheus is built without discovery by the API server, so it asks DNS: one address for each pod of a
/// headless Service.
const CONFIGURATION: &str = "
global: { scrape_interval: 1s }
scrape_configs:
- job_name: sidecars
  dns_sd_configs:
  - { names: [sidecars.NAMESPACE.svc.cluster.local], type: A, port: 26514, refresh_interval: 1s }
- job_name: operator
  honor_labels: true
  dns_sd_configs:
  - names:
    - capstan-webhook-metrics.OPERATOR.svc.cluster.local
    - capstan-controller-metrics.OPERATOR.svc.cluster.local
    type: A
    port: 8080
    refresh_interval: 1s
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_discovers_and_scrapes_sidecars_and_operator() -> Result<()> {
    in_namespace("prometheus", Security::Restricted, async |namespace| {
        let receiver = Receiver::start(namespace, "receiver").await?;
        namespace.apply_object(&receiver.destination()).await?;
        let none = json!({ "none": {} });
        namespace.apply_object(&workload::policy("web", "1Ki", &none, Some("receiver"))).await?;
        namespace.apply_object(&annotated(writer("app", 200, "sleep 100000"), "web")).await?;
        namespace.ready_pod("app=app").await?;
        start_prometheus(namespace).await?;
        let prometheus = name_of(&namespace.ready_pod("app=prometheus").await?);
        for query in expected(&namespace.name) {
            wait::until(&format!("an answer to {query}"), wait::LIMIT, async || {
                let answer = ask(namespace, &prometheus, &query).await?;
                let found = answer["data"]["result"].as_array().context("no result")?;
                ensure!(!found.is_empty(), "nothing yet: {answer}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    })
    .await
}

/// Expressions that have a value once everything is as it should be.
fn expected(namespace: &str) -> Vec<String> {
    let queries = [
        "up{job=\"sidecars\"} == 1",
        "capstan_sidecar_confirmed_lines_total{policy=\"web\",log=\"app\"} >= 200",
        "sum(capstan_sidecar_rotations_total{policy=\"web\"}) >= 1",
        "capstan_sidecar_lag_bytes{policy=\"web\"} == 0",
        "capstan_sidecar_connection_up",
        "capstan_sidecar_config_hash_match{policy=\"web\"} == 1",
        "capstan_sidecar_build_info == 1",
        "count(up{job=\"operator\"} == 1) >= 4",
        "sum(capstan_operator_leader) == 1",
        "sum(capstan_operator_injections_total) >= 1",
        "sum(capstan_operator_admission_duration_seconds_count) >= 1",
        "sum(capstan_operator_reconciles_total) >= 1",
        "sum(capstan_operator_pods{namespace=\"NAMESPACE\",policy=\"web\",state=\"up_to_date\"}) == 1",
        "min(capstan_operator_certificate_expiry_timestamp_seconds > 0) > time()",
        "min(capstan_operator_build_info) == 1",
    ];
    queries.iter().map(|query| query.replace("NAMESPACE", namespace)).collect()
}

async fn start_prometheus(namespace: &Namespace) -> Result<()> {
    let configuration =
        CONFIGURATION.replace("NAMESPACE", &namespace.name).replace("OPERATOR", install::NAMESPACE);
    let sidecars = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "sidecars" },
        "spec": { "clusterIP": "None", "selector": { "capstan.dev/injected": "true" },
                  "ports": [{ "port": 26514 }] },
    });
    let configuration = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "prometheus" },
                                "data": { "prometheus.yml": configuration } });
    for object in [sidecars, configuration, prometheus()] {
        namespace.apply_object(&object).await?;
    }
    Ok(())
}

async fn ask(namespace: &Namespace, pod: &str, query: &str) -> Result<Value> {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let path = format!("/api/v1/query?query={encoded}");
    Ok(serde_json::from_str(&scrape::get(&namespace.client, &namespace.name, pod, 9090, &path).await?)?)
}

fn prometheus() -> Value {
    let command = json!([
        "prometheus",
        "--config.file=/etc/prometheus-e2e/prometheus.yml",
        "--storage.tsdb.path=/var/log/app",
    ]);
    let mut prometheus = pod("prometheus", &Image::Prometheus.name(), &command);
    prometheus["spec"]["volumes"] = json!([{ "name": "logs", "emptyDir": {} }, { "name": "configuration", "configMap": { "name": "prometheus" } }]);
    let container = &mut prometheus["spec"]["containers"][0];
    container["volumeMounts"] = json!([
        { "name": "logs", "mountPath": "/var/log/app" },
        { "name": "configuration", "mountPath": "/etc/prometheus-e2e" },
    ]);
    container["readinessProbe"] =
        json!({ "httpGet": { "path": "/-/ready", "port": 9090 }, "periodSeconds": 1 });
    prometheus
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_namespace_enforces_what_it_asks_of_others() -> Result<()> {
    in_namespace("operator", Security::Restricted, async |namespace| {
        // Whether the operator's own pods would be admitted to a restricted namespace: its templates, asked for here.
        let pods: Api<k8s_openapi::api::core::v1::Pod> =
            Api::namespaced(namespace.client.clone(), install::NAMESPACE);
        let pods = pods.list(&Default::default()).await?.items;
        ensure!(!pods.is_empty(), "the operator has no pods");
        for pod in pods {
            let mut spec = serde_json::to_value(pod.spec.context("a pod without spec")?)?;
            for field in ["serviceAccountName", "serviceAccount", "nodeName"] {
                spec.as_object_mut().context("no object")?.remove(field);
            }
            let copy =
                json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "copy" }, "spec": spec });
            namespace.create_pod(&copy, capstan_e2e::namespace::Mode::DryRun).await?;
        }
        Ok(())
    })
    .await
}

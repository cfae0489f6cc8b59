use anyhow::{Context, Result, ensure};
use capstan_e2e::images::Image;
use capstan_e2e::namespace::{Mode, Namespace, Security, is_ready, name_of};
use capstan_e2e::receiver::Receiver;
use capstan_e2e::test::in_namespace;
use capstan_e2e::workload::{self, LOGS, annotated, pod, writer};
use capstan_e2e::{policy, sidecar, wait};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod};
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

/// Where the ServiceAccount admission plugin mounts a token.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sidecar_has_the_apps_user_no_capability_and_no_token() -> Result<()> {
    in_namespace("least", Security::Restricted, async |namespace| {
        let mut app = quiet_app();
        // The app itself wants its token.
        app["spec"]["automountServiceAccountToken"] = json!(true);
        known_policy(namespace).await?;
        let (made, warnings) = namespace.create_pod(&app, Mode::ForReal).await?;
        ensure!(warnings.is_empty(), "warnings: {warnings:?}");
        ensure!(token_mount(container(&made, "app")?).is_some(), "the app should have its token");

        let sidecar = container(&made, sidecar::CONTAINER)?;
        let shadow = token_mount(sidecar).context("the token's place is not covered")?;
        let volumes = made.spec.as_ref().and_then(|spec| spec.volumes.as_ref()).context("no volumes")?;
        let volume = volumes.iter().find(|volume| volume.name == shadow).context("no such volume")?;
        ensure!(volume.projected.is_none() && volume.secret.is_none(), "a token is mounted: {volume:?}");

        let context = sidecar.security_context.as_ref().context("no security context")?;
        ensure!(context.run_as_user == Some(1000) && context.run_as_group == Some(1000), "{context:?}");
        let capabilities = context.capabilities.as_ref().context("no capabilities")?;
        ensure!(capabilities.drop == Some(vec!["ALL".to_owned()]), "{capabilities:?}");
        ensure!(capabilities.add.as_ref().is_none_or(Vec::is_empty), "{capabilities:?}");
        ensure!(context.read_only_root_filesystem == Some(true), "{context:?}");
        namespace.ready_pod("app=app").await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_whose_user_nobody_knows_starts_and_is_told_how_to_mend_it() -> Result<()> {
    // Baseline, since images whose user is root are not started in a restricted namespace.
    in_namespace("user", Security::Baseline, async |namespace| {
        let mut app = quiet_app();
        app["spec"]["securityContext"] = json!({});
        known_policy(namespace).await?;
        let (_, warnings) = namespace.create_pod(&app, Mode::ForReal).await?;
        let told = "the pod does not say which user container 'app' runs as, so the sidecar runs as 65532 and can \
                    neither signal the app nor keep the owner of its files; set runAsUser, or \
                    capstan.dev/run-as-user: '999' if the app's user is 999";
        ensure!(warnings == [format!("capstan: UnknownAppUser: {told}")], "warnings: {warnings:#?}");
        let pod = namespace.ready_pod("app=app").await?;
        ensure!(status(&pod)?["warnings"][0]["reason"] == json!("UnknownAppUser"), "{}", status(&pod)?);
        let note = namespace.event("app", "UnknownAppUser").await?;
        ensure!(note.contains(told), "the event says: {note}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_names_a_policy_nobody_wrote_is_told_so_and_gets_the_sidecar() -> Result<()> {
    in_namespace("unwritten", Security::Restricted, async |namespace| {
        let (made, warnings) = namespace.create_pod(&quiet_app(), Mode::ForReal).await?;
        container(&made, sidecar::CONTAINER)?;
        let told = format!("there is no LogRotationPolicy 'web' in namespace {}", namespace.name);
        ensure!(warnings.len() == 1 && warnings[0].contains(&told), "warnings: {warnings:?}");
        namespace.ready_pod("app=app").await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_on_no_volume_is_told_with_the_directory_to_mount() -> Result<()> {
    in_namespace("nowhere", Security::Restricted, async |namespace| {
        let mut elsewhere = workload::policy("web", "1Gi", &json!({ "none": {} }), None);
        elsewhere["spec"]["logs"][0]["files"]["include"] = json!(["/srv/elsewhere/*.log"]);
        namespace.apply_object(&elsewhere).await?;
        let told = "capstan: PathOnNoVolume: log app of policy web: /srv/elsewhere/*.log is on no volume that the \
                    sidecar mounts; mount an emptyDir at /srv/elsewhere in the app's container";
        // The webhook learns of the policy a moment after it was applied.
        wait::until("the warning", wait::LIMIT, async || {
            let (_, warnings) = namespace.create_pod(&quiet_app(), Mode::DryRun).await?;
            ensure!(warnings == [told], "warnings: {warnings:#?}");
            Ok(())
        })
        .await?;
        namespace.create_pod(&quiet_app(), Mode::ForReal).await?;
        namespace.ready_pod("app=app").await?;
        let note = namespace.event("app", "PathOnNoVolume").await?;
        ensure!(note.contains("mount an emptyDir at /srv/elsewhere"), "the event says: {note}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_without_a_volume_starts_without_the_sidecar_and_says_why() -> Result<()> {
    in_namespace("bare", Security::Restricted, async |namespace| {
        let mut app = quiet_app();
        app["spec"]["volumes"] = json!([]);
        app["spec"]["containers"][0]["volumeMounts"] = json!([]);
        known_policy(namespace).await?;
        let (made, warnings) = namespace.create_pod(&app, Mode::ForReal).await?;
        ensure!(container(&made, sidecar::CONTAINER).is_err(), "it has the sidecar");
        let told = "container 'app' mounts no emptyDir, persistentVolumeClaim or ephemeral volume that the sidecar \
                    could see; mount one where the app writes its logs";
        ensure!(warnings == [format!("capstan: NoSharedVolume: {told}")], "warnings: {warnings:#?}");
        ensure!(status(&made)?["injected"] == json!(false), "{}", status(&made)?);
        namespace.ready_pod("app=app").await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_whose_destination_lacks_its_secret_starts_and_works_once_it_is_there() -> Result<()> {
    in_namespace("secret", Security::Restricted, async |namespace| {
        let receiver = Receiver::start(namespace, "receiver").await?;
        let mut destination = receiver.destination();
        destination["spec"]["syslog"]["tls"] =
            json!({ "ca": { "secretKeyRef": { "name": "later", "key": "ca.crt" } } });
        namespace.apply_object(&destination).await?;
        let policy = workload::policy("web", "1Gi", &json!({ "none": {} }), Some("receiver"));
        namespace.apply_object(&policy).await?;
        policy::condition(namespace, "LogRotationPolicy", "web", "Accepted", "True").await?;
        // The webhook mounts Secrets of destinations that it has seen.
        wait::until("the webhook to know the destination", wait::LIMIT, async || {
            let (made, _) = namespace.create_pod(&quiet_app(), Mode::DryRun).await?;
            let mounts = container(&made, sidecar::CONTAINER)?.volume_mounts.iter().flatten();
            let paths: Vec<&str> = mounts.map(|mount| mount.mount_path.as_str()).collect();
            ensure!(paths.contains(&"/etc/capstan/secrets/secret-later"), "mounts: {paths:?}");
            Ok(())
        })
        .await?;
        namespace.apply_object(&annotated(writer("app", 10, "sleep 100000"), "web")).await?;
        let app = name_of(&namespace.ready_pod("app=app").await?);
        wait::until("sidecar and policy to say what is missing", wait::LIMIT, async || {
            let status = sidecar::status_text(namespace, &app).await?;
            ensure!(status.contains("/etc/capstan/secrets/secret-later/ca.crt"), "its status: {status}");
            let object = namespace.custom("LogRotationPolicy").get("web").await?;
            let said = object.data["status"].to_string();
            ensure!(said.contains("later"), "the policy's status: {said}");
            Ok(())
        })
        .await?;

        let authority = namespace.api::<ConfigMap>().get(&receiver.authority()).await?;
        let data = authority.data.context("no data")?;
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "later" },
                             "stringData": { "ca.crt": data["ca.crt"] } });
        namespace.apply_object(&secret).await?;
        namespace.nudge_kubelet(&app).await?;
        receiver.message_with("w00 000000009").await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_shows_the_sidecar_and_leaves_no_trace() -> Result<()> {
    in_namespace("dry", Security::Restricted, async |namespace| {
        let policy = workload::policy("web", "1Gi", &json!({ "none": {} }), None);
        namespace.apply_object(&policy).await?;
        policy::pods(namespace, "web", "matched", 0).await?;
        let (made, _) = namespace.create_pod(&quiet_app(), Mode::DryRun).await?;
        container(&made, sidecar::CONTAINER)?;
        wait::holds("nothing about the pod", std::time::Duration::from_secs(5), async || {
            ensure!(namespace.pods().list(&ListParams::default()).await?.items.is_empty(), "there is a pod");
            let events = namespace.events("app").await?;
            ensure!(events.is_empty(), "events: {events:?}");
            Ok(())
        })
        .await?;
        policy::pods(namespace, "web", "matched", 0).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_and_limit_ranges_let_the_sidecar_through() -> Result<()> {
    in_namespace("quota", Security::Restricted, async |namespace| {
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "all" },
            "spec": { "hard": { "requests.cpu": "1", "requests.memory": "512Mi",
                                "limits.cpu": "4", "limits.memory": "1Gi" } },
        });
        let range = json!({
            "apiVersion": "v1", "kind": "LimitRange", "metadata": { "name": "each" },
            "spec": { "limits": [{ "type": "Container", "min": { "cpu": "5m", "memory": "8Mi" },
                                   "max": { "cpu": "1", "memory": "256Mi" } }] },
        });
        namespace.apply_object(&quota).await?;
        namespace.apply_object(&range).await?;
        let mut app = quiet_app();
        app["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "50m", "memory": "32Mi" },
                                                             "limits": { "cpu": "50m", "memory": "32Mi" } });
        app["metadata"]["annotations"]["capstan.dev/resources"] = json!("{\"limits\":{\"memory\":\"48Mi\"}}");
        // The quota controller counts a new quota a moment later, and refuses pods until then.
        let made = wait::until("the quota to be counted", wait::LIMIT, async || {
            Ok(namespace.create_pod(&app, Mode::ForReal).await?.0)
        })
        .await?;
        let resources = container(&made, sidecar::CONTAINER)?.resources.clone().unwrap_or_default();
        let limits = resources.limits.context("the sidecar has no limits")?;
        ensure!(limits["memory"].0 == "48Mi", "limits: {limits:?}");
        let class = made.status.and_then(|status| status.qos_class);
        ensure!(class.as_deref() == Some("Guaranteed"), "the app's class of service became {class:?}");
        namespace.ready_pod("app=app").await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sidecar_fits_into_what_its_namespace_allows() -> Result<()> {
    in_namespace("fits", Security::Restricted, async |namespace| {
        let range = json!({
            "apiVersion": "v1", "kind": "LimitRange", "metadata": { "name": "tight" },
            "spec": { "limits": [{ "type": "Container", "max": { "cpu": "500m", "ephemeral-storage": "1Gi" },
                                   "maxLimitRequestRatio": { "cpu": "10" } }] },
        });
        namespace.apply_object(&range).await?;
        let mut app = quiet_app();
        app["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "50m", "memory": "16Mi" } });
        app["spec"]["containers"][0]["resources"]["limits"] = json!({ "cpu": "100m" });
        // The webhook hears of a LimitRange a moment after it was made.
        let made = wait::until("a pod with a sidecar that fits", wait::LIMIT, async || {
            Ok(namespace.create_pod(&app, Mode::DryRun).await?.0)
        })
        .await?;
        let resources = container(&made, sidecar::CONTAINER)?.resources.clone().unwrap_or_default();
        ensure!(resources.limits.unwrap_or_default()["cpu"].0 == "500m", "its limits do not fit");

        namespace.create_pod(&app, Mode::ForReal).await?;
        namespace.ready_pod("app=app").await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sidecar_shares_what_a_pod_as_a_whole_may_have() -> Result<()> {
    in_namespace("whole", Security::Restricted, async |namespace| {
        let mut app = quiet_app();
        app["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "50m", "memory": "16Mi" } });
        app["spec"]["resources"] = json!({ "limits": { "cpu": "100m", "memory": "64Mi" } });
        let (made, _) = namespace.create_pod(&app, Mode::ForReal).await?;
        container(&made, sidecar::CONTAINER)?;
        namespace.ready_pod("app=app").await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_says_no_is_left_alone() -> Result<()> {
    in_namespace("no", Security::Restricted, async |namespace| {
        let mut app = quiet_app();
        app["metadata"]["annotations"]["capstan.dev/inject"] = json!("false");
        let (made, warnings) = namespace.create_pod(&app, Mode::ForReal).await?;
        ensure!(warnings.is_empty(), "warnings: {warnings:?}");
        ensure!(container(&made, sidecar::CONTAINER).is_err(), "it has the sidecar");
        let ready = namespace.ready_pod("app=app").await?;
        ensure!(is_ready(&ready), "it is not ready");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_namespace_gets_no_pod_whose_policy_is_missing() -> Result<()> {
    in_namespace("strict", Security::Restricted, async |namespace| {
        let strict = json!({ "metadata": { "labels": { "capstan.dev/injection": "strict" } } });
        let namespaces = kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(namespace.client.clone());
        namespaces.patch(&namespace.name, &Default::default(), &kube::api::Patch::Merge(strict)).await?;
        let refused = wait::until("the pod to be refused", wait::LIMIT, async || {
            match namespace.create_pod(&quiet_app(), Mode::DryRun).await {
                Ok(_) => anyhow::bail!("it was accepted"),
                Err(error) => Ok(format!("{error:#}")),
            }
        })
        .await?;
        ensure!(refused.contains("inject-strictly.capstan.dev") && refused.contains("web"), "{refused}");
        namespace.apply_object(&workload::policy("web", "1Gi", &json!({ "none": {} }), None)).await?;
        wait::until("the pod to be accepted", wait::LIMIT, async || {
            namespace.create_pod(&quiet_app(), Mode::DryRun).await.map(drop)
        })
        .await
    })
    .await
}

/// Applies a policy and waits until the webhook knows it, so that it does not warn of its absence.
async fn known_policy(namespace: &Namespace) -> Result<()> {
    namespace.apply_object(&workload::policy("web", "1Gi", &json!({ "none": {} }), None)).await?;
    wait::until("the webhook to know the policy", wait::LIMIT, async || {
        let (_, warnings) = namespace.create_pod(&quiet_app(), Mode::DryRun).await?;
        ensure!(warnings.is_empty(), "warnings: {warnings:?}");
        Ok(())
    })
    .await
}

/// An annotated app that does nothing.
fn quiet_app() -> Value {
    annotated(
        pod(
            "app",
            &Image::Busybox.name(),
            &json!(["sh", "-c", format!("touch {LOGS}/app.log; sleep 100000")]),
        ),
        "web",
    )
}

/// One of a pod's containers, sidecars included.
fn container<'a>(pod: &'a Pod, name: &str) -> Result<&'a Container> {
    let spec = pod.spec.as_ref().context("a pod without spec")?;
    let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
    all.find(|container| container.name == name).with_context(|| format!("no container {name}"))
}

/// The volume that lies where a token would.
fn token_mount(container: &Container) -> Option<String> {
    let mut mounts = container.volume_mounts.iter().flatten();
    mounts.find(|mount| mount.mount_path == TOKEN).map(|mount| mount.name.clone())
}

/// What was done at admission.
fn status(pod: &Pod) -> Result<Value> {
    let text = pod.annotations().get("capstan.dev/status").context("no annotation capstan.dev/status")?;
    Ok(serde_json::from_str(text)?)
}

//! A pod as JSON, under the names that clients know.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use appc::json::Json;
use stage0::pod::{AppState, AppView, MountView, PodView};

type Members = Vec<(&'static str, Json)>;

/// The object of one pod; what is empty or unknown is left out.
pub(crate) fn pod(pod: &PodView) -> Json {
    let mut members: Members =
        vec![("name", pod.uuid.to_string().into()), ("state", pod.state.words().into())];
    let networks = pod.networks.iter().map(|network| {
        Json::Object(
            network.members.iter().map(|(k, v)| ((*k).to_owned(), v.as_str().into())).collect(),
        )
    });
    list(&mut members, "networks", networks.collect());
    list(&mut members, "app_names", pod.apps.iter().map(|app| app.name.as_str().into()).collect());
    list(&mut members, "apps", pod.apps.iter().map(|one| app(pod, one)).collect());
    members.extend(pod.created.map(|time| ("created_at", seconds(time).into())));
    members.extend(pod.started.map(|time| ("started_at", seconds(time).into())));
    members.extend(pod.failure.as_deref().map(|why| ("failure", why.into())));
    texts(&mut members, "user_annotations", &pod.user_annotations);
    texts(&mut members, "user_labels", &pod.user_labels);
    object(members)
}

fn app(pod: &PodView, app: &AppView) -> Json {
    let mut members: Members =
        vec![("name", app.name.as_str().into()), ("state", app.state.words().into())];
    members.extend(pod.created.map(|time| ("created_at", nanos(time).into())));
    if app.state != AppState::Created {
        members.extend(pod.started.map(|time| ("started_at", nanos(time).into())));
    }
    if let Some(status) = app.status {
        members.push(("finished_at", nanos(status.finished).into()));
        members.push(("exit_code", i64::from(status.code).into()));
        members.extend(status.signal.map(|signal| ("exit_signal", i64::from(signal).into())));
    }
    members.extend(app.image_id.as_ref().map(|id| ("image_id", id.as_str().into())));
    list(&mut members, "mounts", app.mounts.iter().map(mount).collect());
    texts(&mut members, "user_annotations", &app.user_annotations);
    texts(&mut members, "user_labels", &app.user_labels);
    object(members)
}

fn mount(mount: &MountView) -> Json {
    Json::object([
        ("name", mount.name.as_str().into()),
        ("container_path", mount.container_path.as_str().into()),
        ("host_path", mount.host_path.as_str().into()),
        ("read_only", mount.read_only.into()),
    ])
}

fn list(members: &mut Members, key: &'static str, values: Vec<Json>) {
    if !values.is_empty() {
        members.push((key, Json::List(values)));
    }
}

fn texts(members: &mut Members, key: &'static str, map: &BTreeMap<String, String>) {
    if !map.is_empty() {
        let all = map.iter().map(|(key, value)| (key.clone(), value.as_str().into()));
        members.push((key, Json::Object(all.collect())));
    }
}

fn object(members: Members) -> Json {
    Json::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn nanos(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos())
        .unwrap_or(u64::MAX)
}

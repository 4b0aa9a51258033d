//! One connection: lists and watches.

use std::{
    io,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{Faults, Shared, http, http::Request, proxy, stream::Stream};

/// A real server sends them about once a minute.
const BOOKMARKS: Duration = Duration::from_secs(1);

pub(super) fn connection(connection: &mut Stream, shared: &Arc<Shared>) -> io::Result<()> {
    let mut buffer = vec![];
    while let Some(request) = http::read(connection, &mut buffer)? {
        let faults = {
            let mut state = shared.state();
            state.requests.push(request.target.clone());
            state.faults.clone()
        };
        if faults.hang {
            return hang(shared);
        }
        if let Some(code) = refusal(&request, &faults, shared) {
            let headers = faults.retry_after.map(|s| format!("Retry-After: {s}\r\n")).unwrap_or_default();
            http::answer(connection, code, &headers, &http::status(code, faults.retry_after))?;
        } else if let Some(target) = proxy::Target::of(&request) {
            if faults.forbidden.contains("pods/proxy") {
                http::answer(connection, 403, "", &http::forbidden("get", "pods/proxy", &target.namespace))?;
                continue;
            }
            let backend = shared.state().pods.get(&(target.namespace.clone(), target.pod.clone())).copied();
            proxy::pass(connection, &target, backend)?;
        } else if request.query.get("watch").is_some_and(|watch| watch == "true" || watch == "1") {
            watch(connection, &request, &faults, shared)?;
        } else {
            list(connection, &request, &faults, shared)?;
        }
    }
    Ok(())
}

/// `v1/pods` of `/api/v1/pods`.
fn resource(request: &Request) -> &str {
    let path = request.path.as_str();
    path.strip_prefix("/apis/").or_else(|| path.strip_prefix("/api/")).unwrap_or(path)
}

/// Of a list in one namespace (`/api/v1/namespaces/shop/pods`): which, and the resource as it is in all of them.
fn in_namespace(resource: &str) -> (Option<&str>, String) {
    let parts = resource.split_once("/namespaces/").and_then(|(version, rest)| Some((version, rest.split_once('/')?)));
    match parts {
        Some((version, (namespace, plural))) => (Some(namespace), format!("{version}/{plural}")),
        None => (None, resource.to_owned()),
    }
}

fn refusal(request: &Request, faults: &Faults, shared: &Shared) -> Option<u16> {
    if faults.status.is_some() {
        return faults.status;
    }
    if faults.token.is_some() && request.token != faults.token {
        return Some(401);
    }
    if proxy::Target::of(request).is_some() {
        return None;
    }
    let (_, resource) = in_namespace(resource(request));
    let mut parts = resource.rsplit('/');
    let (plural, _version) = (parts.next().unwrap_or_default(), parts.next());
    let full = parts.next().map_or_else(|| plural.to_owned(), |group| format!("{plural}.{group}"));
    if faults.forbidden.contains(&full) {
        return Some(403);
    }
    (faults.absent.contains(&full) || !shared.state().store.serves(&resource)).then_some(404)
}

fn hang(shared: &Shared) -> io::Result<()> {
    let mut state = shared.state();
    while state.faults.hang && !shared.stopping.load(Ordering::SeqCst) {
        state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    Err(io::ErrorKind::ConnectionReset.into())
}

/// The token is the version of the first page and the last name of the page before; objects are as they are by now, which
/// is what the API calls an inconsistent continuation: a watch from the first version makes up for it.
fn list(connection: &mut Stream, request: &Request, faults: &Faults, shared: &Shared) -> io::Result<()> {
    let limit = request.query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    let selector = request.query.get("fieldSelector").map(String::as_str);
    let labels = request.query.get("labelSelector").map(String::as_str);
    let (namespace, resource) = in_namespace(resource(request));
    let token = request.query.get("continue").map(|token| token.split('\n').map(str::to_owned).collect::<Vec<_>>());
    let (after, first) = match token.as_deref() {
        Some([version, namespace, name]) => (Some((namespace.clone(), name.clone())), version.parse().ok()),
        _ => (None, None),
    };
    let state = shared.state();
    let version: u64 = first.unwrap_or(state.store.version);
    if version < state.store.oldest {
        drop(state);
        return http::answer(connection, 410, "", &http::status(410, None));
    }
    let mut items: Vec<String> = vec![];
    let mut last = None;
    let mut more = false;
    let wanted = |name: &(String, String)| namespace.is_none_or(|namespace| name.0 == namespace);
    let found = state.store.list(&resource, after.as_ref());
    for (name, object) in found.filter(|(name, o)| wanted(name) && o.meets(selector) && o.is_labelled(labels)) {
        if items.len() == limit {
            more = true;
            break;
        }
        items.push(object.json.to_string());
        last = Some(name.clone());
    }
    drop(state);
    if let Some(pause) = faults.slow {
        std::thread::sleep(pause * u32::try_from(items.len()).unwrap_or(1));
    }
    let next = match last {
        Some((namespace, name)) if more => format!(r#","continue":"{version}\n{namespace}\n{name}""#),
        _ => String::new(),
    };
    let body = format!(
        r#"{{"kind":"List","apiVersion":"v1","metadata":{{"resourceVersion":"{version}"{next}}},"items":[{}]}}"#,
        items.join(",")
    );
    http::answer(connection, 200, "", &body)
}

fn watch(connection: &mut Stream, request: &Request, faults: &Faults, shared: &Shared) -> io::Result<()> {
    let number = |key: &str| request.query.get(key).and_then(|text| text.parse::<u64>().ok());
    let (resource, selector) = (resource(request), request.query.get("fieldSelector").map(String::as_str));
    let bookmarks = request.query.get("allowWatchBookmarks").is_some_and(|wanted| wanted == "true");
    let deadline = Instant::now() + Duration::from_secs(number("timeoutSeconds").unwrap_or(300));
    let mut version = number("resourceVersion").unwrap_or(0);
    http::begin_chunks(connection)?;
    let mut sent = 0;
    let mut send = |kind: &str, object: &str| -> io::Result<()> {
        let line = format!(r#"{{"type":"{kind}","object":{object}}}"#);
        if faults.break_after.is_some_and(|most| sent >= most) {
            http::broken_chunk(connection, &line)?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        sent += 1;
        if let Some(pause) = faults.slow {
            std::thread::sleep(pause);
        }
        http::chunk(connection, &line)
    };
    loop {
        let (gone, lines) = {
            let state = shared.state();
            let lines: Vec<_> = (state.store.since(version))
                .filter(|change| *change.resource == *resource && change.object.meets(selector))
                .map(|change| (change.kind, change.object.json.clone()))
                .collect();
            let gone = version < state.store.oldest;
            version = version.max(state.store.version);
            (gone, lines)
        };
        if gone {
            send("ERROR", &http::status(410, None))?;
            return http::chunk(connection, "");
        }
        for (kind, object) in lines {
            send(kind, &object)?;
        }
        let state = shared.state();
        let idle = |state: &mut super::State| {
            state.store.version <= version && !state.faults.hang && !shared.stopping.load(Ordering::SeqCst)
        };
        let (state, waited) =
            shared.changed.wait_timeout_while(state, BOOKMARKS, idle).unwrap_or_else(PoisonError::into_inner);
        if shared.stopping.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        drop(state);
        if waited.timed_out() && bookmarks {
            send(
                "BOOKMARK",
                &format!(r#"{{"kind":"X","apiVersion":"v1","metadata":{{"resourceVersion":"{version}"}}}}"#),
            )?;
        }
        if Instant::now() >= deadline {
            return http::chunk(connection, "");
        }
    }
}

//! A dead man's switch: a server elsewhere is told of each run's start and end, and tells somebody when it hears nothing.
//! It speaks as healthchecks.io does, and to Uptime Kuma and Cronitor in their words. Invariant: a server that does not
//! answer costs all pings of a run together no more than the patience, and the run goes on.

use super::patience::insist;
use super::text::{clean, clip};
use crate::http::{self, Client, Method, Request};
use crate::runtime::{Locked, Runtime};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use url::Url;
use uuid::Uuid;
use vault_format::id::RunId;
use zeroize::Zeroizing;

/// Longest line that goes along.
const LINE_MAX: usize = 1_000;

/// What is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// A run begins.
    Start,
    /// It has done what it should.
    Success,
    /// It has not.
    Fail,
    /// Something worth noting, which changes nothing.
    Log,
}

/// Where pings go. The address is a secret: who knows it can say that all is well.
#[derive(Clone)]
pub struct Ping {
    /// What the plan calls it.
    pub name: String,
    /// Its address.
    pub url: Zeroizing<String>,
}

impl fmt::Debug for Ping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ping").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The pings of one run.
pub struct Pinger<'a> {
    runtime: &'a Runtime,
    client: Client,
    rid: Uuid,
    patience: Duration,
    /// What pings that failed have cost, by host.
    cost: Locked<BTreeMap<String, Duration>>,
}

impl<'a> Pinger<'a> {
    /// For a run; `patience` is what a server that is dead may cost in all, usually [`super::PATIENCE`].
    pub fn new(runtime: &'a Runtime, run: RunId, patience: Duration) -> Self {
        let rid = uuid::Builder::from_random_bytes(run.0).into_uuid();
        Self { runtime, client: Client::start(), rid, patience, cost: Locked::default() }
    }

    /// True if the server of an address has a word for that; one that has none hears nothing.
    pub fn tells(ping: &Ping, signal: Signal) -> bool {
        http::parse(&ping.url).map_or(true, |url| request(url, signal, &Uuid::nil(), "").is_some())
    }

    /// Pings, with one line of text; the error is what to tell the user.
    pub fn ping(&self, ping: &Ping, signal: Signal, line: &str) -> Result<(), String> {
        let failed = |host: &str, reason: &str| format!("cannot ping {}{host}: {reason}", ping.name);
        let url = http::parse(&ping.url).map_err(|refusal| failed("", &refusal.reason))?;
        let host = http::host(&url);
        let Some(request) = request(url, signal, &self.rid, line) else { return Ok(()) };
        let left = self.patience.saturating_sub(self.cost.lock().get(&host).copied().unwrap_or_default());
        // the end of a run matters more than its start
        let most = if matches!(signal, Signal::Success | Signal::Fail) { left } else { left / 3 };
        let began = self.runtime.clock.elapsed();
        let result = insist(self.runtime, most, |time| self.client.send(request.clone(), time));
        result.map_err(|reason| {
            let cost = self.runtime.clock.elapsed().since(began);
            let mut costs = self.cost.lock();
            let known = costs.entry(host.clone()).or_default();
            *known = known.saturating_add(cost);
            failed(&format!(" ({host})"), &reason)
        })
    }
}

/// What a server is sent; nothing where it has no word for that.
fn request(mut url: Url, signal: Signal, rid: &Uuid, line: &str) -> Option<Request> {
    let line = clip(&clean(line), LINE_MAX, char::len_utf8);
    let host = url.host_str().unwrap_or_default().to_owned();
    let is_kuma = url.path().contains("/api/push/");
    let is_cronitor = ["cronitor.link", "cronitor.io"].iter().any(|domain| host == *domain);
    if is_kuma || is_cronitor {
        let (key, word) = match signal {
            Signal::Start | Signal::Log if is_kuma => return None,
            Signal::Log => return None,
            Signal::Start => ("state", "run"),
            Signal::Success => {
                if is_kuma {
                    ("status", "up")
                } else {
                    ("state", "complete")
                }
            }
            Signal::Fail => {
                if is_kuma {
                    ("status", "down")
                } else {
                    ("state", "fail")
                }
            }
        };
        // what the address says itself must not stand against it
        let replaced = [key, "msg", "message", "series"];
        let kept: Vec<(String, String)> =
            url.query_pairs().into_owned().filter(|(name, _)| !replaced.contains(&&**name)).collect();
        url.query_pairs_mut().clear().extend_pairs(kept).append_pair(key, word);
        url.query_pairs_mut().append_pair(if is_kuma { "msg" } else { "message" }, &line);
        if is_cronitor {
            url.query_pairs_mut().append_pair("series", &rid.to_string());
        }
        return Some(Request { method: Method::Get, url, body: None });
    }
    let part = match signal {
        Signal::Start => Some("start"),
        Signal::Success => None,
        Signal::Fail => Some("fail"),
        Signal::Log => Some("log"),
    };
    if let (Some(part), Ok(mut parts)) = (part, url.path_segments_mut()) {
        parts.pop_if_empty().push(part);
    }
    url.query_pairs_mut().append_pair("rid", &rid.to_string());
    Some(Request { method: Method::Post, url, body: Some(("text/plain; charset=utf-8", line.into_bytes())) })
}

#[cfg(test)]
mod tests {
    use super::{Ping, Signal, request};
    use crate::http::Method;
    use url::Url;
    use uuid::Uuid;

    fn asked(address: &str, signal: Signal) -> Option<(Method, String, String)> {
        let rid = Uuid::from_u128(7);
        let request = request(Url::parse(address).unwrap(), signal, &rid, "a\nb postgres://u:hunter2@h/d")?;
        let body = request.body.map(|(_, bytes)| String::from_utf8(bytes).unwrap()).unwrap_or_default();
        Some((request.method, request.url.to_string(), body))
    }

    #[test]
    fn healthchecks_hears_start_and_end_under_one_id() {
        let rid = "rid=00000000-0000-0000-0000-000000000007";
        for (address, signal, url) in [
            ("https://hc-ping.com/uuid", Signal::Start, format!("https://hc-ping.com/uuid/start?{rid}")),
            ("https://hc-ping.com/uuid/", Signal::Fail, format!("https://hc-ping.com/uuid/fail?{rid}")),
            (
                "https://hc.example/key/slug?create=1",
                Signal::Log,
                format!("https://hc.example/key/slug/log?create=1&{rid}"),
            ),
            ("https://hc-ping.com/uuid", Signal::Success, format!("https://hc-ping.com/uuid?{rid}")),
        ] {
            assert_eq!(asked(address, signal), Some((Method::Post, url, "a b postgres://h/d".to_owned())));
        }
    }

    #[test]
    fn others_hear_it_in_their_words() {
        let kuma = "https://kuma.example/api/push/token?status=up&msg=OK&ping=";
        assert_eq!(asked(kuma, Signal::Start), None);
        let (method, url, _) = asked(kuma, Signal::Fail).unwrap();
        let expected = "https://kuma.example/api/push/token?ping=&status=down&msg=a+b+postgres%3A%2F%2Fh%2Fd";
        assert_eq!((method, url.as_str()), (Method::Get, expected));
        let (_, url, _) = asked("https://cronitor.link/p/key/job", Signal::Start).unwrap();
        assert!(url.starts_with("https://cronitor.link/p/key/job?state=run&message="), "{url}");
        assert!(url.ends_with("&series=00000000-0000-0000-0000-000000000007"), "{url}");
    }

    #[test]
    fn the_address_is_in_no_debug_print() {
        let ping = Ping { name: "PING_URL".into(), url: "https://hc-ping.com/hunter2".to_owned().into() };
        assert!(!format!("{ping:?}").contains("hunter2"));
    }
}

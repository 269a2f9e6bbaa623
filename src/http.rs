//! Small requests to web servers that are told something: alerts, pings, figures. By the same rules as stores are
//! reached: proxies of the environment, the machine's certificates or those of `SSL_CERT_FILE`. Invariant: an answer comes
//! in time or not at all, whatever the server or the name service does; and no error holds more of an address than its
//! host, for the rest of it may be all that it takes to send a message.

use std::fmt;
use std::time::Duration;
use url::Url;

/// How a request is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Method {
    Get,
    Post,
    Put,
}

/// One request.
#[derive(Clone)]
#[cfg_attr(not(feature = "http"), expect(dead_code, reason = "nothing is sent"))]
pub(crate) struct Request {
    pub method: Method,
    pub url: Url,
    /// Type and bytes of the body.
    pub body: Option<(&'static str, Vec<u8>)>,
}

/// Why a request has not done what it should.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    /// In words, without the address.
    pub reason: String,
    /// It would be refused again.
    pub is_final: bool,
    /// The server says how long to wait.
    pub wait: Option<Duration>,
}

impl Refusal {
    /// One that may go away.
    pub fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_final: false, wait: None }
    }

    /// One that stays.
    pub fn lasting(reason: impl Into<String>) -> Self {
        Self { is_final: true, ..Self::passing(reason) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// What of an address may be shown.
pub(crate) fn host(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => "an address without a host".to_owned(),
    }
}

/// An address of the web; the error does not show it.
pub(crate) fn parse(address: &str) -> Result<Url, Refusal> {
    let wrong = || Refusal::lasting("its address is not one of the web: it begins with https:// or http://");
    let url = Url::parse(address.trim()).map_err(|_| wrong())?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() { Ok(url) } else { Err(wrong()) }
}

/// The innermost cause of a failed connection, in words.
#[cfg(any(feature = "http", feature = "mail"))]
pub(crate) fn words(error: &(dyn std::error::Error + 'static)) -> String {
    use std::io::ErrorKind;
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    let text = cause.to_string().replace('\n', " ");
    match kind {
        Some(ErrorKind::WouldBlock | ErrorKind::TimedOut) => "no answer in time".to_owned(),
        _ => match crate::certificate::trouble(&text) {
            Some(words) => words.to_owned(),
            None if text.contains("://") => "the connection failed".to_owned(),
            None => text.split(" (os error").next().unwrap_or_default().to_owned(),
        },
    }
}

#[cfg(not(feature = "http"))]
pub(crate) use without::Client;
#[cfg(feature = "http")]
pub(crate) use worker::Client;

#[cfg(not(feature = "http"))]
mod without {
    use super::{Refusal, Request};
    use std::time::Duration;

    /// Refuses everything.
    pub(crate) struct Client;

    impl Client {
        pub fn start() -> Self {
            Self
        }

        pub fn send(&self, _request: Request, _most: Duration) -> Result<(), Refusal> {
            Err(Refusal::lasting("this program was built without HTTP"))
        }
    }
}

#[cfg(feature = "http")]
mod worker {
    use super::{Method, Refusal, Request, words};
    use reqwest::blocking::Response;
    use reqwest::{StatusCode, redirect};
    use std::io::Read;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    /// Of an answer this much is read, for a time to wait.
    const ANSWER_MAX: u64 = 4 << 10;
    /// What a request may take beyond its time until it is given up from outside.
    const MARGIN: Duration = Duration::from_millis(250);
    /// Longest time to wait that a server is believed.
    const WAIT_MAX: Duration = Duration::from_hours(1);

    struct Job {
        request: Request,
        most: Duration,
        answer: Sender<Result<(), Refusal>>,
    }

    /// Connections, in a thread of their own, which is left behind where it hangs: the look-up of a name can't be ended.
    pub(crate) struct Client(Sender<Job>);

    impl Client {
        pub fn start() -> Self {
            let (sender, jobs) = channel();
            // without a thread nobody takes the jobs, and each is refused
            let _ = std::thread::Builder::new().name("vault-http".to_owned()).spawn(move || serve(&jobs));
            Self(sender)
        }

        /// Makes a request; any status but one of 200 to 299 is a refusal.
        pub fn send(&self, request: Request, most: Duration) -> Result<(), Refusal> {
            let (answer, answered) = channel();
            let gone = || Refusal::passing("the connection could not be made");
            self.0.send(Job { request, most, answer }).map_err(|_| gone())?;
            let late = |_| Refusal::passing(format!("no answer within {most:.1?}"));
            answered.recv_timeout(most.saturating_add(MARGIN)).map_err(late)?
        }
    }

    fn serve(jobs: &Receiver<Job>) {
        // many runs ping nobody, and reading the machine's certificates takes a moment
        let mut built = None;
        for Job { request, most, answer } in jobs {
            let done = match built.get_or_insert_with(build) {
                Ok(client) => send(client, request, most),
                Err(refusal) => Err(refusal.clone()),
            };
            // nobody waits any more
            let _ = answer.send(done);
        }
    }

    fn build() -> Result<reqwest::blocking::Client, Refusal> {
        let failed = |error: &dyn std::error::Error| Refusal::lasting(error.to_string());
        reqwest::blocking::Client::builder()
            .tls_backend_preconfigured(crate::certificate::believing().map_err(|error| failed(&error))?)
            .user_agent(concat!("vault/", env!("CARGO_PKG_VERSION")))
            // a redirected POST arrives as a GET without its body, and passes for a success
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| Refusal::lasting(words(&error)))
    }

    fn send(client: &reqwest::blocking::Client, request: Request, most: Duration) -> Result<(), Refusal> {
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
        };
        let mut builder = client.request(method, request.url).timeout(most);
        if let Some((kind, body)) = request.body {
            builder = builder.header("content-type", kind).body(body);
        }
        let failed = |error: reqwest::Error| {
            let is_final = error.is_builder();
            let reason = if error.is_timeout() { format!("no answer within {most:.1?}") } else { words(&error) };
            Refusal { reason, is_final, wait: None }
        };
        judge(builder.send().map_err(failed)?)
    }

    fn judge(response: Response) -> Result<(), Refusal> {
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let reason = format!("it answered {status}");
        // a server that is too busy says so; whatever else is the request's fault stays it
        let passes = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        let is_final = !(status.is_server_error() || passes.contains(&status));
        let wait = if is_final { None } else { wait(response) };
        let hint = if status.is_redirection() { ": its address has moved, and must be the new one" } else { "" };
        Err(Refusal { reason: format!("{reason}{hint}"), is_final, wait })
    }

    /// How long a server wants to be left alone: seconds, in a header or in the body.
    fn wait(response: Response) -> Option<Duration> {
        let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let seconds = header.and_then(|value| value.trim().parse::<f64>().ok()).or_else(|| {
            let mut body = Vec::new();
            response.take(ANSWER_MAX).read_to_end(&mut body).ok()?;
            serde_json::from_slice::<serde_json::Value>(&body).ok()?.get("retry_after")?.as_f64()
        });
        Duration::try_from_secs_f64(seconds?).ok().map(|wait| wait.min(WAIT_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::{host, parse};

    #[test]
    fn of_an_address_only_the_host_is_shown() {
        let url = parse(" https://user:hunter2@hooks.example:8443/services/hunter2?token=hunter2\n").unwrap();
        assert_eq!(host(&url), "hooks.example:8443");
        for wrong in ["hooks.example/hunter2", "file:///hunter2", "mailto:hunter2@example.org", "https://", ""] {
            assert!(!parse(wrong).unwrap_err().reason.contains("hunter2"), "{wrong}");
        }
    }
}

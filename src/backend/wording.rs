//! What remote stores answer, in words that say what to try: codes of S3, Azure, Google and B2, failures of the network,
//! of TLS and of `ssh`. A pure function from the client's text and kind; what it does not know is told with the marks of
//! its make taken off. Invariant: one plain sentence, never the insides of a program, XML or JSON.

use super::error::ErrorKind;
use crate::certificate;
use std::error::Error as _;

/// Longest text of a store that is passed on.
const LENGTH_MAX: usize = 160;

/// Words, of which a text must have one, what that is, and what to say; the first that fits counts.
type Rule = (&'static str, Option<ErrorKind>, &'static str);

const RULES: [Rule; 27] = [
    (
        "nosuchbucket|containernotfound|the specified bucket does not exist|bucket not found|invalid bucket id",
        Some(ErrorKind::NoPlace),
        "the bucket or container does not exist: make it first, or check its name and region",
    ),
    (
        "requesttimetooskewed|request has expired|requestexpired|request date header too old|not yet valid",
        Some(ErrorKind::Denied),
        "this machine's clock and the store's differ too much: set the clock",
    ),
    (
        "expiredtoken|expired_auth_token|tokenrefreshrequired|token has expired|token is expired|token expired",
        Some(ErrorKind::Denied),
        "the credentials have expired: get new ones",
    ),
    (
        "invalidaccesskeyid|notsignedup|unrecognizedclient|invalid_access_key|bad_auth_token|invalidauthenticationinfo",
        Some(ErrorKind::Denied),
        "the store does not know this access key: check the credentials, and the endpoint",
    ),
    (
        "signaturedoesnotmatch|authenticationfailed",
        Some(ErrorKind::Denied),
        "the secret key is not the one of this account: check the credentials, and the clock",
    ),
    (
        "invalidtoken|invalid_grant|invalidtokenid",
        Some(ErrorKind::Denied),
        "the session token is not valid: get new credentials",
    ),
    (
        "authorizationheadermalformed|permanentredirect|temporaryredirect|illegallocationconstraint|incorrectendpoint",
        Some(ErrorKind::Other),
        "the bucket lies in another region: say which with ?region=…",
    ),
    (
        "region is missing|region is empty",
        Some(ErrorKind::Other),
        "the region is not known: say which with ?region=…, or in AWS_REGION",
    ),
    (
        "failed to load signing credential|no valid credential|credential is empty|no credential",
        Some(ErrorKind::NoCredentials),
        "no credentials were found: for s3 set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    ),
    (
        "storage_cap_exceeded|cap_exceeded|no space|insufficient storage|insufficientstorage|quota|storagefull|storage full",
        Some(ErrorKind::NoSpace),
        "the store is full, or a quota is reached",
    ),
    (
        "invalidobjectstate|archived|glacier",
        Some(ErrorKind::Other),
        "the object lies in an archive class: bring it back to a class that can be read first",
    ),
    (
        "slowdown|serverbusy|toomanyrequests|too many requests|serviceunavailable|service unavailable|operationtimedout",
        Some(ErrorKind::Unreachable),
        "the store is too busy, and stayed so",
    ),
    (
        "internalerror|internal error|internal server error",
        Some(ErrorKind::Unreachable),
        "the store failed, and went on to",
    ),
    (
        "host key verification failed|remote host identification has changed",
        Some(ErrorKind::Denied),
        "the server's host key is not the known one: log in once with `ssh`, and compare it",
    ),
    (
        "permission denied (|too many authentication failures|no more authentication methods",
        Some(ErrorKind::Denied),
        "the server accepts none of the keys: `ssh` must log in without a question; key=FILE names a key",
    ),
    ("permission denied|permissiondenied", Some(ErrorKind::Denied), "this user may not do that there"),
    (
        "dns error|could not resolve|failed to lookup address|name or service not known|no such host",
        Some(ErrorKind::Unreachable),
        "the host is not known: check its name, and the network",
    ),
    (
        "corrupt message|invalidcontenttype|tls|wrong version number|received invalid data",
        Some(ErrorKind::Unreachable),
        "the server does not speak TLS there: check http and https, and the port",
    ),
    (
        "connection refused",
        Some(ErrorKind::Unreachable),
        "the connection is refused: check the address, and that the server runs",
    ),
    (
        "no route to host|network is unreachable|network unreachable",
        Some(ErrorKind::Unreachable),
        "the network does not reach it",
    ),
    ("timed out|timeout|deadline", Some(ErrorKind::Unreachable), "it did not answer in time"),
    (
        "connection reset|broken pipe|connection closed|closed before|unexpected eof|incomplete message",
        Some(ErrorKind::Unreachable),
        "the connection broke off",
    ),
    ("unauthorized", Some(ErrorKind::Denied), "the server wants a user and a password"),
    (
        "accessdenied|access denied|forbidden|authorizationfailure|authorizationpermissionmismatch|insufficient permission|allaccessdisabled|accountproblem",
        Some(ErrorKind::Denied),
        "the store refuses it to these credentials: check their rights, and the name of the bucket",
    ),
    ("nosuchkey|blobnotfound", None, "the object is missing"),
    ("notimplemented|not implemented", None, "the store can't do that"),
    ("preconditionfailed|conditionalrequestconflict|blobalreadyexists", None, "the name is taken"),
];

/// An error with its causes.
pub(super) fn words(e: &opendal::Error) -> String {
    let mut text = e.message().to_owned();
    let mut source = e.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

/// What a store's answer is, if its text tells, and how to say it. `kind` is what is known of it otherwise.
pub(super) fn of(text: &str, kind: ErrorKind) -> (ErrorKind, String) {
    let low = telling(text).to_ascii_lowercase();
    if let Some(words) = certificate::trouble(&low) {
        return (ErrorKind::Unreachable, words.to_owned());
    }
    let fits = |rule: &&Rule| rule.0.split('|').any(|word| low.contains(word));
    // what an object lacks, or has too much of, is told by the kind alone
    let is_object = matches!(kind, ErrorKind::NotFound | ErrorKind::Exists | ErrorKind::Damaged);
    let rule = RULES.iter().find(fits).filter(|rule| !is_object || rule.1 == Some(ErrorKind::NoPlace));
    match rule {
        Some((_, found, words)) => (found.unwrap_or(kind), region(text, words)),
        None => (kind, plain(text, kind)),
    }
}

/// What of an answer tells something: code and message, else all but addresses. Names of buckets and hosts do not.
fn telling(text: &str) -> String {
    let code = between(text, "code: \"", "\"").or_else(|| between(text, "<Code>", "</Code>"));
    match code {
        Some(code) => format!("{code} {}", message(text).unwrap_or_default()),
        None => text.split_whitespace().filter(|word| !word.contains("://")).collect::<Vec<_>>().join(" "),
    }
}

fn between(text: &str, open: &str, close: &str) -> Option<String> {
    let rest = text.split_once(open)?.1;
    let inner = rest.split_once(close).map_or(rest, |(inner, _)| inner).trim();
    (!inner.is_empty()).then(|| inner.to_owned())
}

fn message(text: &str) -> Option<String> {
    let forms =
        [("message: \"", "\""), ("<Message>", "</Message>"), ("\"message\": \"", "\""), ("\"message\":\"", "\"")];
    forms.iter().find_map(|(open, close)| between(text, open, close))
}

/// Some stores name the region that they want.
fn region(text: &str, words: &str) -> String {
    let named = text.split("expecting '").nth(1).and_then(|rest| rest.split('\'').next());
    match named.filter(|name| !name.is_empty() && words.ends_with("?region=…")) {
        Some(name) => words.replace('…', name),
        None => words.to_owned(),
    }
}

/// The sentence in the answer, without what holds it.
fn plain(text: &str, kind: ErrorKind) -> String {
    let code = || between(text, "code: \"", "\"").or_else(|| between(text, "<Code>", "</Code>"));
    let words = message(text).or_else(code).unwrap_or_else(|| text.to_owned());
    let is_inside = |sign: char| matches!(sign, '{' | '}' | '<' | '>' | '\\');
    let line = words.split(['\n', '\r']).map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let mut line: String =
        if line.contains(is_inside) { String::new() } else { line.chars().take(LENGTH_MAX).collect() };
    if line.is_empty() {
        line = match kind {
            ErrorKind::NotFound => "it is missing",
            ErrorKind::NoPlace => "the place is missing",
            ErrorKind::Exists => "the name is taken",
            ErrorKind::Denied => "the store refuses it to these credentials: check their rights",
            ErrorKind::NoCredentials => "no credentials were found",
            ErrorKind::NotAFolder => "it is not a folder",
            ErrorKind::NoSpace => "the store is full, or a quota is reached",
            ErrorKind::Unreachable => "the store did not answer",
            ErrorKind::Damaged => "the store has fewer bytes than it should",
            ErrorKind::Unsupported => "the store can't do that",
            ErrorKind::Other => "the store refuses it, and does not say why",
        }
        .to_owned();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::{ErrorKind, of};

    fn s3(code: &str, message: &str) -> String {
        format!(
            "S3Error {{ code: \"{code}\", message: \"{message}\", resource: \"/b\", request_id: \"4442587FB7D0A2F9\" }}"
        )
    }

    #[test]
    fn codes_are_told_in_words() {
        for (text, kind, words) in [
            (s3("NoSuchBucket", "The specified bucket does not exist"), ErrorKind::NoPlace, "does not exist"),
            (s3("AccessDenied", "Access Denied"), ErrorKind::Denied, "rights"),
            (
                s3("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist"),
                ErrorKind::Denied,
                "access key",
            ),
            (s3("SignatureDoesNotMatch", "The request signature we calculated"), ErrorKind::Denied, "secret key"),
            (s3("ExpiredToken", "The provided token has expired."), ErrorKind::Denied, "expired"),
            (s3("RequestTimeTooSkewed", "The difference is too large"), ErrorKind::Denied, "set the clock"),
            (
                s3("AuthorizationHeaderMalformed", "the region 'a' is wrong; expecting 'eu-west-1'"),
                ErrorKind::Other,
                "?region=eu-west-1",
            ),
            (s3("PermanentRedirect", "The bucket must be addressed"), ErrorKind::Other, "another region"),
            (s3("SlowDown", "Please reduce your request rate."), ErrorKind::Unreachable, "busy"),
            (s3("InternalError", "We encountered an internal error"), ErrorKind::Unreachable, "failed"),
            (s3("XMinioStorageFull", "Storage backend has reached its minimum"), ErrorKind::NoSpace, "full"),
            ("<Error><Code>QuotaExceeded</Code></Error>".into(), ErrorKind::NoSpace, "quota"),
            ("AzblobError { code: \"ContainerNotFound\" }".into(), ErrorKind::NoPlace, "container"),
            ("AzblobError { code: \"AuthenticationFailed\" }".into(), ErrorKind::Denied, "secret key"),
            (
                "send: client error (Connect): dns error: failed to lookup".into(),
                ErrorKind::Unreachable,
                "host is not known",
            ),
            ("tcp connect error: Connection refused (os error 111)".into(), ErrorKind::Unreachable, "refused"),
            ("invalid peer certificate: UnknownIssuer".into(), ErrorKind::Unreachable, "SSL_CERT_FILE"),
            ("received corrupt message of type InvalidContentType".into(), ErrorKind::Unreachable, "TLS"),
            ("ssh error: Host key verification failed.".into(), ErrorKind::Denied, "host key"),
            ("ssh error: me@h: Permission denied (publickey).".into(), ErrorKind::Denied, "none of the keys"),
            ("ssh: Could not resolve hostname nowhere".into(), ErrorKind::Unreachable, "host is not known"),
            ("failed to load signing credential".into(), ErrorKind::NoCredentials, "no credentials"),
        ] {
            let (found, said) = of(&text, ErrorKind::Other);
            // the names that users give tell nothing
            let named = format!("{text} (https://quota-accessdenied-expiredtoken.example/x)");
            assert_eq!(of(&named, ErrorKind::Other), (found, said.clone()), "{named}");
            assert_eq!(found, kind, "{text}: {said}");
            assert!(said.contains(words), "{text}: {said}");
        }
    }

    /// Whatever comes, nothing of its make is shown.
    #[test]
    fn nothing_of_a_program_is_shown() {
        for text in [
            s3("NewCode", "Something that nobody knows"),
            s3("OnlyCode", ""),
            "<?xml version=\"1.0\"?>\n<Error><Code>New</Code><Message>Something else</Message></Error>".into(),
            "{\"error\": {\"code\": 400, \"message\": \"Bad thing\"}}".into(),
            "<html><body>502 Bad Gateway</body></html>".into(),
            String::new(),
            "x".repeat(5000),
        ] {
            for kind in [ErrorKind::Other, ErrorKind::Denied, ErrorKind::NotFound] {
                let (found, said) = of(&text, kind);
                assert_eq!(found, kind);
                assert!(!said.is_empty() && said.chars().count() <= 160, "{said}");
                assert!(!said.contains(['{', '}', '<', '>', '"', '\\', '\n']), "{text}: {said}");
            }
        }
        assert_eq!(of(&s3("NewCode", "Something new"), ErrorKind::Other).1, "Something new");
    }

    #[test]
    fn a_missing_object_stays_one() {
        assert_eq!(of(&s3("NoSuchKey", "gone; access denied to list"), ErrorKind::NotFound).0, ErrorKind::NotFound);
        assert_eq!(of(&s3("NoSuchBucket", "gone"), ErrorKind::NotFound).0, ErrorKind::NoPlace);
    }
}

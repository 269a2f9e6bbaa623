//! Alerts by mail, to a server that keeps what it gets; and what a private certificate and a proxy change, of which only
//! a process of its own can tell, since they stand in its environment.

use crate::alerts::{CANARY, missed, receivers};
use crate::inbox::{make_certificate, python, received, sink};
use crate::servers::start;
use crate::web::Web;
use std::process::Command;
use std::time::{Duration, Instant};
use vault::alert::{Channel, Mail, Receivers, Round, Webhook, tell};
use vault::plan::Tls;
use vault::runtime::{Clock, Runtime};

fn mail(port: u16) -> Mail {
    Mail {
        to: vec!["Ops <ops@example.org>".into(), "second@example.org".into()],
        from: "vault@example.org".into(),
        server: "localhost".into(),
        port,
        user: None,
        password: None,
        tls: Tls::None,
    }
}

fn send(mail: Mail, patience: Duration) -> Round {
    let runtime = Runtime::seeded(7, Clock::System, 0);
    tell(&runtime, &[missed("app-db")], &[], &Receivers { patience, ..receivers(vec![Channel::Mail(mail)]) })
}

#[test]
fn a_mail_says_what_a_person_needs_and_no_secret() {
    let Some(server) = sink(None) else { return };
    let round = send(mail(server.port), Duration::from_secs(15));
    assert!(round.failures.is_empty(), "{:?}", round.failures);
    let all = received(&server);
    let [message] = all.as_slice() else { panic!("{} messages", all.len()) };
    assert_eq!((&message["from"], &message["hello"]), (&"vault@example.org".into(), &"web-1".into()));
    assert_eq!(message["to"], serde_json::json!(["ops@example.org", "second@example.org"]));
    let text = message["content"].as_str().unwrap();
    for line in [
        "Subject: [vault] app-db: RPO missed",
        "Auto-Submitted: auto-generated",
        "Message-ID: <",
        "Date: ",
        "next: vault run app-db",
        "vault, plan shop on web-1",
    ] {
        assert!(text.lines().any(|one| one.starts_with(line)), "{line} in:\n{text}");
    }
    assert!(text.contains("cannot reach postgres://db.example/app") && !text.contains(CANARY), "{text}");
}

#[test]
fn what_a_mail_server_refuses_is_said_without_its_words() {
    let Some(server) = sink(None) else { return };
    let with = |address: &str| Mail { to: vec![address.into()], ..mail(server.port) };
    let began = Instant::now();
    for (mail, words) in [
        (with("nobody@example.org"), "it answered 550: check the addresses"),
        (with("no address"), "no address is not an address of mail"),
        (Mail { port: testkit::port::free(), ..mail(1) }, "refused"),
        (Mail { tls: Tls::Starttls, ..mail(server.port) }, "STARTTLS"),
        (Mail { server: "mx.example".into(), password: Some(CANARY.to_owned().into()), ..mail(1) }, "without TLS"),
    ] {
        let round = send(mail, Duration::from_secs(3));
        let line = round.failures.join("\n");
        assert!(line.contains(words) && !line.contains(CANARY) && !line.contains("such user"), "{words}: {line}");
    }
    let round = send(with("later@example.org"), Duration::from_secs(3));
    assert!(round.failures[0].contains("it answered 451"), "{:?}", round.failures);
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    assert!(received(&server).is_empty());
}

#[test]
fn a_mail_server_that_hangs_costs_no_more_than_the_patience() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let began = Instant::now();
    let round = send(mail(listener.local_addr().unwrap().port()), Duration::from_millis(900));
    assert_eq!(round.failures.len(), 1);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

/// Runs the test below in a process with these variables; gives what it failed to send.
fn elsewhere(variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "mails::send_one", "--ignored", "--nocapture"]);
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    text.lines().filter_map(|line| line.strip_prefix("FAILED ")).collect::<Vec<_>>().join("\n")
}

#[test]
#[ignore = "sends what its environment names: the process that other tests start"]
fn send_one() {
    let set = |name| std::env::var(name).ok();
    let Some(port) = set("VAULT_TEST_PORT").and_then(|port| port.parse().ok()) else { return };
    let channel = match set("VAULT_TEST_TLS").as_deref() {
        Some(tls) => Channel::Mail(Mail {
            tls: if tls == "tls" { Tls::Tls } else { Tls::Starttls },
            user: Some("ops".into()),
            password: set("VAULT_TEST_WORD").map(Into::into),
            ..mail(port)
        }),
        None => Channel::Webhook(Webhook {
            name: "HOOK".into(),
            url: format!("{}:{port}/x", set("VAULT_TEST_URL").unwrap_or_default()).into(),
            format: None,
        }),
    };
    let runtime = Runtime::seeded(7, Clock::System, 0);
    for failure in tell(&runtime, &[missed("app-db")], &[], &receivers(vec![channel])).failures {
        println!("\nFAILED {failure}");
    }
}

#[test]
fn mail_over_tls_goes_to_a_server_whose_certificate_is_known() {
    for tls in ["starttls", "tls"] {
        let Some(server) = sink(Some(tls)) else { return };
        let (port, bundle) = (server.port.to_string(), format!("{}/cert.pem", server.location));
        let common = [("VAULT_TEST_PORT", port.as_str()), ("VAULT_TEST_TLS", tls)];
        let with = |more: &[(&'static str, &str)]| {
            let all: Vec<(&str, &str)> = common.iter().copied().chain(more.iter().copied()).collect();
            elsewhere(&all)
        };
        let unknown = with(&[("VAULT_TEST_WORD", CANARY)]);
        assert!(unknown.contains("certificate") && !unknown.contains(CANARY), "{tls}: {unknown}");
        let wrong = with(&[("VAULT_TEST_WORD", "hunter3"), ("SSL_CERT_FILE", &bundle)]);
        assert!(
            wrong.contains("it answered 535: check user and password") && !wrong.contains("hunter"),
            "{tls}: {wrong}"
        );
        assert!(received(&server).is_empty());
        assert_eq!(with(&[("VAULT_TEST_WORD", CANARY), ("SSL_CERT_FILE", &bundle)]), "");
        let all = received(&server);
        assert_eq!(
            (all.len(), &all[0]["tls"], &all[0]["login"]),
            (1, &true.into(), &serde_json::json!(["ops", CANARY]))
        );
    }
}

#[test]
fn webhooks_trust_the_same_certificates_and_take_the_same_proxy() {
    let Some(python) = python("ssl") else { return };
    let (port, folder) = (testkit::port::free(), tempfile::tempdir().unwrap());
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    make_certificate(&certificate, &key);
    let script = "import http.server as h, ssl, sys\n\
                  class Handler(h.BaseHTTPRequestHandler):\n    \
                      def do_POST(self):\n        \
                          self.rfile.read(int(self.headers['content-length']))\n        \
                          self.send_response(204)\n        \
                          self.end_headers()\n\
                  server = h.HTTPServer(('127.0.0.1', int(sys.argv[1])), Handler)\n\
                  context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)\n\
                  context.load_cert_chain(sys.argv[2], sys.argv[3])\n\
                  server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)\n\
                  server.serve_forever()";
    let mut command = Command::new(python);
    command.args(["-c", script, &port.to_string()]).args([&certificate, &key]);
    let bundle = certificate.display().to_string();
    let server = start(command, port, folder, String::new());
    let port = server.port.to_string();
    let common = [("VAULT_TEST_PORT", port.as_str()), ("VAULT_TEST_URL", "https://localhost")];
    let unknown = elsewhere(&common);
    assert!(unknown.contains("certificate"), "{unknown}");
    assert_eq!(elsewhere(&[common[0], common[1], ("SSL_CERT_FILE", &bundle)]), "");
    let proxy = Web::start(&[]);
    let through = proxy.url("");
    let failed =
        elsewhere(&[("VAULT_TEST_PORT", "80"), ("VAULT_TEST_URL", "http://hooks.invalid"), ("HTTP_PROXY", &through)]);
    assert_eq!((failed.as_str(), proxy.take()[0].path.as_str()), ("", "http://hooks.invalid/x"));
}

//! Where alerts arrive: a mail server that keeps what it gets, and the forms that web services document. The web
//! server itself is in `web`. And the program of Prometheus, which lints figures.

use crate::servers::{Server, find, skipped, start};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Python with what the tests need of it.
pub fn python(module: &str) -> Option<PathBuf> {
    let venv = std::env::var_os("VAULT_TEST_VENV").map(|venv| PathBuf::from(venv).join("bin"));
    let program = find("python3", &Vec::from_iter(venv)).unwrap_or_default();
    let imported = Command::new(&program).args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
    if imported.is_ok_and(|status| status.success()) { Some(program) } else { skipped(module, "not installed (pip)") }
}

/// Holds a body to the form that its service documents.
pub fn assert_form(python: &Path, form: &str, body: &str) {
    let script = "import json, jsonschema, sys\n\
                  forms = json.load(open(sys.argv[1]))\n\
                  jsonschema.validate(json.loads(sys.argv[3]), forms[sys.argv[2]])";
    let forms = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/backends/forms.json");
    let checked = Command::new(python).args(["-c", script]).arg(forms).args([form, body]).output().unwrap();
    assert!(checked.status.success(), "{form}: {body}\n{}", String::from_utf8_lossy(&checked.stderr));
}

/// A mail server, with a certificate of its own if `tls` says so.
pub fn sink(tls: Option<&str>) -> Option<Server> {
    let python = python("aiosmtpd")?;
    let (port, folder) = (testkit::port::free(), tempfile::tempdir().unwrap());
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/backends/smtp.py"));
    command.arg(port.to_string()).arg(folder.path().join("data"));
    if let Some(tls) = tls {
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        make_certificate(&certificate, &key);
        command.args([&certificate, &key]).arg(tls);
    }
    let location = folder.path().display().to_string();
    Some(start(command, port, folder, location))
}

pub fn make_certificate(certificate: &Path, key: &Path) {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    let made = openssl.arg("-out").arg(certificate).arg("-keyout").arg(key).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// What came, in order.
pub fn received(server: &Server) -> Vec<serde_json::Value> {
    let folder = Path::new(&server.location).join("data");
    let name = |number: usize| folder.join(format!("{number}.json"));
    let files = (0..).map_while(|number| std::fs::read(name(number)).ok());
    files.map(|file| serde_json::from_slice(&file).unwrap()).collect()
}

pub fn promtool() -> Option<PathBuf> {
    let found = find("promtool", &[]);
    found.or_else(|| skipped("promtool", "not installed (apt-get install prometheus, or unpack that package)"))
}

/// Holds figures to what Prometheus takes without a word.
pub fn assert_lint(promtool: &Path, text: &str) {
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.is_empty(), "{said}\n{text}");
}

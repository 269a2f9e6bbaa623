//! Alerts by mail, handed to a server that takes mail for others. Plain text, marked as made by a program, so that no
//! absence note answers it. Invariant: a password travels only where the connection is secured, or does not leave this
//! machine.

use crate::plan::Tls;
use std::fmt;
use zeroize::Zeroizing;

/// Where mail goes, and how.
#[derive(Clone)]
pub struct Mail {
    /// Addresses.
    pub to: Vec<String>,
    /// Address.
    pub from: String,
    /// Host that takes mail.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// Who sends, for servers that ask.
    pub user: Option<String>,
    /// His password.
    pub password: Option<Zeroizing<String>>,
    /// How the connection is secured.
    pub tls: Tls,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("to", &self.to).field("server", &self.server).finish_non_exhaustive()
    }
}

#[cfg(feature = "mail")]
pub(super) use smtp::send;
#[cfg(not(feature = "mail"))]
pub(super) use without::send;

#[cfg(not(feature = "mail"))]
mod without {
    use super::Mail;
    use crate::alert::Alert;
    use crate::http::Refusal;
    use crate::runtime::Runtime;
    use std::time::Duration;

    pub(in crate::alert) fn send(_: &Mail, _: &Alert, _: &Runtime, _: Duration) -> Result<(), Refusal> {
        Err(Refusal::lasting("this program was built without mail"))
    }
}

#[cfg(feature = "mail")]
mod smtp {
    use super::Mail;
    use crate::alert::Alert;
    use crate::alert::text::Words;
    use crate::http::{Refusal, words};
    use crate::plan::Tls;
    use crate::runtime::Runtime;
    use lettre::message::header::{ContentType, HeaderName, HeaderValue};
    use lettre::transport::smtp::authentication::Credentials;
    use lettre::transport::smtp::client::{Tls as Security, TlsParameters};
    use lettre::transport::smtp::extension::ClientId;
    use lettre::transport::smtp::{self, SmtpTransport};
    use lettre::{Message, Transport};
    use std::net::IpAddr;
    use std::sync::mpsc::channel;
    use std::time::{Duration, SystemTime};
    use uuid::Uuid;

    /// Sends one message, in that time; what hangs in the look-up of a name is left behind.
    pub(in crate::alert) fn send(mail: &Mail, alert: &Alert, runtime: &Runtime, most: Duration) -> Result<(), Refusal> {
        let message = message(mail, alert, runtime)?;
        let transport = transport(mail, alert, most)?;
        let (sender, sent) = channel();
        let work = move || {
            // nobody may wait any more
            let _ = sender.send(transport.send(&message));
        };
        let thread = std::thread::Builder::new().name("vault-mail".to_owned()).spawn(work);
        thread.map_err(|error| Refusal::passing(error.to_string()))?;
        match sent.recv_timeout(most) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(refusal(&error)),
            Err(_) => Err(Refusal::passing(format!("no answer within {most:.1?}"))),
        }
    }

    fn message(mail: &Mail, alert: &Alert, runtime: &Runtime) -> Result<Message, Refusal> {
        let address = |text: &str| {
            let wrong = |_| Refusal::lasting(format!("{text} is not an address of mail"));
            text.parse().map_err(wrong)
        };
        let words = Words::of(alert);
        let id = uuid::Builder::from_random_bytes(runtime.random()).into_uuid();
        let (date, id) = (date(runtime), message_id(&id, &mail.from));
        let mut builder = Message::builder().from(address(&mail.from)?).date(date).message_id(Some(id));
        for to in &mail.to {
            builder = builder.to(address(to)?);
        }
        let header =
            |name: &'static str, value: &str| HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned());
        builder = builder.subject(format!("[vault] {}", words.title));
        builder = builder.raw_header(header("Auto-Submitted", "auto-generated"));
        builder = builder.header(ContentType::TEXT_PLAIN);
        builder.body(words.plain(alert)).map_err(|_| Refusal::lasting("the message could not be put together"))
    }

    /// As the run's clock has it.
    fn date(runtime: &Runtime) -> SystemTime {
        let since = u64::try_from(runtime.clock.now().nanoseconds()).unwrap_or_default();
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(since)).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    fn message_id(id: &Uuid, from: &str) -> String {
        let domain = from.trim_end_matches('>').rsplit_once('@').map_or("localhost", |(_, domain)| domain);
        format!("<{id}@{domain}>")
    }

    fn transport(mail: &Mail, alert: &Alert, most: Duration) -> Result<SmtpTransport, Refusal> {
        let is_here = mail.server == "localhost" || mail.server.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if mail.tls == Tls::None && mail.password.is_some() && !is_here {
            return Err(Refusal::lasting("a password is not sent without TLS: say tls = \"starttls\" or \"tls\""));
        }
        let parameters = || {
            // as for HTTP: unless the program that this runs in has chosen before
            let _ = rustls::crypto::ring::default_provider().install_default();
            TlsParameters::new(mail.server.clone()).map_err(|error| refusal(&error))
        };
        let security = match mail.tls {
            Tls::None => Security::None,
            Tls::Starttls => Security::Required(parameters()?),
            Tls::Tls => Security::Wrapper(parameters()?),
        };
        let name = super::super::text::clean(&alert.host);
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
        let hello = if is_name { ClientId::Domain(name) } else { ClientId::default() };
        let mut builder = SmtpTransport::builder_dangerous(&mail.server).port(mail.port).tls(security);
        // a connection that could not be secured is left by a last word that nobody answers: its error must come in time
        builder = builder.hello_name(hello).timeout(Some(most / 3 * 2));
        if let (Some(user), Some(password)) = (&mail.user, &mail.password) {
            builder = builder.credentials(Credentials::new(user.clone(), password.to_string()));
        }
        Ok(builder.build())
    }

    /// A code of the server, or what failed on the way: never what the server says, which may repeat what it was sent.
    fn refusal(error: &smtp::Error) -> Refusal {
        if let Some(code) = error.status() {
            let reason = match u16::from(code) {
                530 | 534 | 535 | 538 => format!("it answered {code}: check user and password"),
                550 | 551 | 553 => format!("it answered {code}: check the addresses"),
                _ => format!("it answered {code}"),
            };
            return Refusal { reason, is_final: error.is_permanent(), wait: None };
        }
        let reason = words(error);
        let is_final = error.is_tls() || reason.contains("certificate");
        Refusal { reason, is_final, wait: None }
    }
}

#[cfg(test)]
mod tests {
    use super::Mail;
    use crate::plan::Tls;

    #[test]
    fn the_password_is_in_no_debug_print() {
        let mail = Mail {
            to: vec!["ops@example.org".into()],
            from: "vault@example.org".into(),
            server: "smtp.example.org".into(),
            port: 587,
            user: Some("hunter1".into()),
            password: Some("hunter2".to_owned().into()),
            tls: Tls::Starttls,
        };
        assert!(!format!("{mail:?}").contains("hunter"));
    }
}

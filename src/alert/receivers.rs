//! Who is told: what a plan names, with the secrets that it does not hold. Invariant: no address of the web and no password
//! is printed, not even for debugging.

use super::{Command, Event, Mail, PATIENCE};
use crate::http;
use crate::plan::{Alerts, Email, Format};
use std::ffi::OsString;
use std::fmt;
use std::time::Duration;
use zeroize::Zeroizing;

/// An address of the web. It is a secret: who knows it can send.
#[derive(Clone)]
pub struct Webhook {
    /// What the plan calls it.
    pub name: String,
    /// The address.
    pub url: Zeroizing<String>,
    /// Its form; `None`: what the host of the address wants.
    pub format: Option<Format>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("name", &self.name).field("format", &self.format).finish_non_exhaustive()
    }
}

/// A way by which somebody hears.
#[derive(Clone, Debug)]
pub enum Channel {
    /// Over HTTP.
    Webhook(Webhook),
    /// By mail.
    Mail(Mail),
    /// By a program.
    Command(Command),
}

impl Channel {
    /// What the journal calls it: the same from run to run, and no secret.
    pub fn name(&self) -> &str {
        match self {
            Self::Webhook(webhook) => &webhook.name,
            Self::Mail(_) => "mail",
            Self::Command(_) => "command",
        }
    }

    /// Its name with what helps to find it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Webhook(webhook) => match http::parse(&webhook.url) {
                Ok(url) => format!("{} ({})", webhook.name, http::host(&url)),
                Err(_) => webhook.name.clone(),
            },
            Self::Mail(mail) => format!("mail ({}:{})", mail.server, mail.port),
            Self::Command(command) => command.argv.first().cloned().unwrap_or_default(),
        }
    }
}

/// Who is told, what, and how often.
#[derive(Clone, Debug)]
pub struct Receivers {
    /// All of them.
    pub channels: Vec<Channel>,
    /// What is told at all.
    pub on: Vec<Event>,
    /// What lasts is told again after this.
    pub repeat: Duration,
    /// How long a channel is tried that does not answer, usually [`PATIENCE`].
    pub patience: Duration,
}

impl Receivers {
    /// Those of a plan. `variable` gives the value of a variable of the environment, and `environment` is all that a
    /// program gets to see. The error names the variables that lack, beside all that is there.
    pub fn of(
        alerts: &Alerts,
        variable: &dyn Fn(&str) -> Option<Zeroizing<String>>,
        environment: &[(OsString, OsString)],
    ) -> (Self, Vec<String>) {
        let (mut channels, mut lacking) = (Vec::new(), Vec::new());
        let mut value = |name: &str| {
            let value = variable(name).filter(|value| !value.is_empty());
            if value.is_none() {
                lacking.push(name.to_owned());
            }
            value
        };
        for webhook in &alerts.webhooks {
            let (name, format) = (webhook.variable.clone(), webhook.format);
            channels.extend(value(&name).map(|url| Channel::Webhook(Webhook { name, url, format })));
        }
        channels.extend(alerts.email.as_ref().and_then(|email| mail(email, &mut value)).map(Channel::Mail));
        let command = |argv: &Vec<String>| Command { argv: argv.clone(), environment: environment.to_vec() };
        channels.extend(alerts.command.as_ref().map(command).map(Channel::Command));
        let on = alerts.on.iter().copied().map(Event::from).collect();
        (Self { channels, on, repeat: alerts.repeat, patience: PATIENCE }, lacking)
    }
}

fn mail(email: &Email, value: &mut dyn FnMut(&str) -> Option<Zeroizing<String>>) -> Option<Mail> {
    let mut named = |name: &Option<String>| match name {
        Some(name) => value(name).map(Some),
        None => Some(None),
    };
    let (user, password) = (named(&email.user_env), named(&email.password_env));
    Some(Mail {
        to: email.to.clone(),
        from: email.from.clone(),
        server: email.server.clone(),
        port: email.port,
        user: user?.map(|user| user.to_string()),
        password: password?,
        tls: email.tls,
    })
}

#[cfg(test)]
mod tests {
    use super::{Channel, Receivers};
    use crate::alert::Event;
    use crate::plan::{Format, parse};
    use std::path::Path;
    use zeroize::Zeroizing;

    #[test]
    fn a_plan_names_who_is_told_and_the_environment_how() {
        let text = "[source.a]\nkind = \"stdin\"\n[alerts]\nwebhook_env = [\"HOOK\", \"OTHER\"]\nformat = \"slack\"\n\
                    email = { to = \"a@example.org\", from = \"b@example.org\", server = \"mx\", user_env = \"USER_NAME\", \
                    password_env = \"WORD\" }\ncommand = [\"tell\", \"me\"]\non = [\"failed\", \"drill\"]\n";
        let plan = parse(Path::new("vault.toml"), text).unwrap();
        let all = |name: &str| Some(Zeroizing::new(format!("https://example.org/hunter2-{name}")));
        let (receivers, lacking) = Receivers::of(&plan.alerts, &all, &[("PATH".into(), "/bin".into())]);
        let names: Vec<_> = receivers.channels.iter().map(Channel::name).collect();
        assert_eq!(
            (names.as_slice(), lacking.as_slice()),
            (["HOOK", "OTHER", "mail", "command"].as_slice(), [].as_slice())
        );
        assert_eq!(receivers.on, [Event::Failed, Event::Drill]);
        assert!(matches!(&receivers.channels[1], Channel::Webhook(webhook) if webhook.format == Some(Format::Slack)));
        assert!(!format!("{receivers:?}").contains("hunter2"));
        let some = |name: &str| if name == "HOOK" { all(name) } else { None };
        let (receivers, lacking) = Receivers::of(&plan.alerts, &some, &[]);
        let names: Vec<_> = receivers.channels.iter().map(Channel::name).collect();
        assert_eq!(
            (names.as_slice(), lacking.as_slice()),
            (["HOOK", "command"].as_slice(), ["OTHER", "USER_NAME", "WORD"].map(String::from).as_slice())
        );
    }
}

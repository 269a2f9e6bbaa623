//! Alerts on their way: what is due goes to each channel at the same time, one message after the other, until it is there
//! or the patience with that channel is over. Invariant: nothing here fails a run or takes longer than the patience, and
//! what did not arrive goes back to the caller, who notes it in the journal, so that the next run tells it.

use super::due::{Bundle, bundles, due};
use super::patience::insist;
use super::receivers::{Channel, Receivers, Webhook};
use super::{Alert, Payload, Rules, Told, format, mail, program};
use crate::http::{self, Client, Method, Refusal, Request};
use crate::runtime::Runtime;
use crate::time::WallTime;
use std::time::Duration;

/// What came of telling.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Round {
    /// What was told to whom, for the journal: [`Told::facts`]. Empty if nothing was due; then no record is needed.
    pub told: Vec<Told>,
    /// A line for each channel that did not take all.
    pub failures: Vec<String>,
}

/// What deliveries share.
struct Line<'a> {
    runtime: &'a Runtime,
    client: Client,
}

impl Line<'_> {
    fn send(&self, channel: &Channel, message: &Alert, most: Duration) -> Result<(), Refusal> {
        match channel {
            Channel::Webhook(webhook) => self.post(webhook, message, most),
            Channel::Mail(mail) => mail::send(mail, message, self.runtime, most),
            Channel::Command(command) => program::send(command, message, self.runtime, most),
        }
    }

    fn post(&self, webhook: &Webhook, message: &Alert, most: Duration) -> Result<(), Refusal> {
        let url = http::parse(&webhook.url)?;
        let format = webhook.format.unwrap_or_else(|| format::of_host(url.host_str().unwrap_or_default()));
        let Payload { url, body } = Payload::new(message, format, &url);
        let body = Some(("application/json", body.to_string().into_bytes()));
        self.client.send(Request { method: Method::Post, url, body }, most)
    }
}

/// Tells each channel what is news to it: of `said`, which is so now, by what `told` holds of earlier rounds of this plan.
pub fn tell(runtime: &Runtime, said: &[Alert], told: &[Told], to: &Receivers) -> Round {
    let now = runtime.clock.now();
    let channels = to.channels.iter().map(|channel| channel.name().to_owned()).collect();
    let rules = Rules { on: to.on.clone(), repeat: to.repeat, channels };
    let due = due(now, said, told, &rules);
    if due.is_empty() {
        return Round::default();
    }
    let line = Line { runtime, client: Client::start() };
    let deliveries = runtime.map(due.len(), &due, |due| {
        let channel = to.channels.iter().find(|channel| channel.name() == due.channel)?;
        Some(deliver(channel, bundles(&due.alerts), &line, to.patience))
    });
    let mut round = Round::default();
    for delivery in deliveries.into_iter().flatten() {
        round.failures.extend(delivery.failure());
        for (alerts, is_there) in [(delivery.reached, true), (delivery.missed, false)] {
            for alert in alerts {
                note(&mut round.told, now, alert, &delivery.channel, is_there);
            }
        }
    }
    round
}

/// What came of one channel.
struct Delivery {
    channel: String,
    shown: String,
    reached: Vec<Alert>,
    missed: Vec<Alert>,
    reason: String,
}

impl Delivery {
    fn failure(&self) -> Option<String> {
        let what = match self.missed.as_slice() {
            [] => return None,
            [_] => "1 alert".to_owned(),
            many => format!("{} alerts", many.len()),
        };
        Some(format!("cannot send {what} to {}: {}; the next run tries again", self.shown, self.reason))
    }
}

fn deliver(channel: &Channel, messages: Vec<Bundle>, line: &Line<'_>, patience: Duration) -> Delivery {
    let runtime = line.runtime;
    let (name, shown) = (channel.name().to_owned(), channel.shown());
    let mut delivery =
        Delivery { channel: name, shown, reached: Vec::new(), missed: Vec::new(), reason: String::new() };
    // only what fails costs: many messages may take long together
    let mut left = patience;
    for Bundle { message, about } in messages {
        let began = runtime.clock.elapsed();
        match insist(runtime, left, |most| line.send(channel, &message, most)) {
            Ok(()) => delivery.reached.extend(about),
            Err(reason) => {
                left = left.saturating_sub(runtime.clock.elapsed().since(began));
                if delivery.missed.is_empty() {
                    delivery.reason = reason;
                }
                delivery.missed.extend(about);
            }
        }
    }
    delivery
}

/// Of one alert to several channels one entry tells all.
fn note(told: &mut Vec<Told>, at: WallTime, alert: Alert, channel: &str, is_there: bool) {
    let known = told.iter().position(|told| told.alert == alert);
    let place = known.unwrap_or_else(|| {
        told.push(Told { at, alert, reached: Vec::new(), missed: Vec::new() });
        told.len().saturating_sub(1)
    });
    if let Some(told) = told.get_mut(place) {
        if is_there { &mut told.reached } else { &mut told.missed }.push(channel.to_owned());
    }
}

//! Whether messages arrive, tried by whoever sets a plan up: a test to each channel and each ping that the plan names,
//! whatever it tells otherwise. Nothing is noted in the journal.

use super::Machine;
use crate::alert::{self, Ping, Pinger, Receivers, Signal};
use crate::plan::Plan;
use crate::runtime::Runtime;
use crate::source;
use vault_format::id::RunId;
use zeroize::Zeroizing;

/// What came of one of them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tried {
    /// A channel, as the journal calls it, or the variable with the address.
    pub name: String,
    /// Why it did not arrive.
    pub error: Option<String>,
    /// A server that knows no test hears nothing: it would take it for a run.
    pub is_left_out: bool,
}

/// Sends them.
pub fn try_messages(plan: &Plan, machine: &Machine<'_>, runtime: &Runtime) -> Vec<Tried> {
    let lookup = |name: &str| machine.variable(name).map(Zeroizing::new);
    let environment = source::allowed(machine.environment.clone(), |_| false);
    let (receivers, lacking) = Receivers::of(&plan.alerts, &lookup, &environment);
    let mut tried: Vec<Tried> = lacking.into_iter().map(unset).collect();
    let message = alert::test_message(&plan.name, &machine.host);
    for channel in &receivers.channels {
        let only = Receivers { channels: vec![channel.clone()], ..receivers.clone() };
        let round = alert::tell(runtime, std::slice::from_ref(&message), &[], &only);
        let error = round.failures.into_iter().next().map(|line| line.replace("; the next run tries again", ""));
        tried.push(Tried { name: channel.name().to_owned(), error, is_left_out: false });
    }
    let named = plan.alerts.ping_env.iter().chain(plan.sources.iter().filter_map(|source| source.ping_env.as_ref()));
    let mut names: Vec<&String> = named.collect();
    names.sort_unstable();
    names.dedup();
    let pinger = Pinger::new(runtime, RunId(runtime.random()), alert::PATIENCE);
    tried.extend(names.into_iter().map(|name| match lookup(name) {
        None => unset(name.clone()),
        Some(url) => {
            let ping = Ping { name: name.clone(), url };
            let error = pinger.ping(&ping, Signal::Log, &message.message).err();
            Tried { name: name.clone(), error, is_left_out: !Pinger::tells(&ping, Signal::Log) }
        }
    }));
    tried
}

fn unset(name: String) -> Tried {
    let error = Some(format!("the variable {name} of the environment is not set"));
    Tried { name, error, is_left_out: false }
}

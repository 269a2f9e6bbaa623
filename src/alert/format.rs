//! Which form of a message an address wants: most services tell themselves by their host.

use crate::plan::Format;

/// What a host wants.
pub(super) fn of_host(host: &str) -> Format {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let is_in = |domains: &[&str]| {
        let is_below = |domain: &&str| host.strip_suffix(*domain).is_some_and(|rest| rest.ends_with('.'));
        domains.iter().any(|domain| host == *domain || is_below(domain))
    };
    match host.split('.').next() {
        _ if is_in(&["hooks.slack.com", "hooks.slack-gov.com"]) => Format::Slack,
        _ if is_in(&["discord.com", "discordapp.com"]) => Format::Discord,
        _ if is_in(&["webhook.office.com", "logic.azure.com", "api.powerplatform.com", "powerautomate.com"]) => {
            Format::Teams
        }
        Some("ntfy") => Format::Ntfy,
        Some("apprise") => Format::Apprise,
        _ => Format::Generic,
    }
}

#[cfg(test)]
mod tests {
    use super::of_host;
    use crate::plan::Format;

    #[test]
    fn services_are_told_by_their_host() {
        for (host, format) in [
            ("hooks.slack.com", Format::Slack),
            ("ptb.discord.com", Format::Discord),
            ("Discordapp.com.", Format::Discord),
            ("prod-12.westeurope.logic.azure.com", Format::Teams),
            ("default0a.b1.environment.api.powerplatform.com", Format::Teams),
            ("contoso.webhook.office.com", Format::Teams),
            ("ntfy.sh", Format::Ntfy),
            ("ntfy.example.org", Format::Ntfy),
            ("apprise", Format::Apprise),
            ("events.pagerduty.com", Format::Generic),
            ("notdiscord.com", Format::Generic),
            ("discord.com.example", Format::Generic),
            ("127.0.0.1", Format::Generic),
        ] {
            assert_eq!(of_host(host), format, "{host}");
        }
    }
}

//! Messages of other layers and of the system as the one line that every complaint of the program is.

/// One line without the numbers of the operating system: they say nothing that the words do not.
pub fn line(text: &str) -> String {
    let mut out = joined(text);
    while let Some(start) = out.find(" (os error ") {
        let Some(end) = out.get(start..).and_then(|rest| rest.find(')')) else { break };
        out.replace_range(start..=start + end, "");
    }
    out
}

/// Lines joined to one.
pub fn joined(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" / ")
}

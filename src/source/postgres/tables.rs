//! Tables by schema and name, and which of them patterns mean. `pg_dump` knows best what its patterns mean; here they
//! only tell which tables it will not ask for, so that nobody is warned of those.

use globset::GlobBuilder;
use std::collections::BTreeSet;

/// Tables by schema and name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tables(BTreeSet<(String, String)>);

impl FromIterator<(String, String)> for Tables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(tables: I) -> Self {
        Self(tables.into_iter().collect())
    }
}

/// Patterns that choose what is dumped.
#[derive(Default)]
pub struct Choice<'a> {
    /// Only these schemas.
    pub schemas: &'a [String],
    /// Only these tables.
    pub tables: &'a [String],
    /// Without these schemas.
    pub exclude_schemas: &'a [String],
    /// Without these tables.
    pub exclude_tables: &'a [String],
}

impl Tables {
    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each as `schema.name`.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|(schema, name)| format!("{schema}.{name}")).collect()
    }

    /// The schemas that they are in.
    pub fn schemas(&self) -> BTreeSet<&str> {
        self.0.iter().map(|(schema, _)| schema.as_str()).collect()
    }

    /// Those that are dumped.
    #[must_use]
    pub fn chosen(self, choice: &Choice<'_>) -> Self {
        let is_schema = |patterns: &[String], schema: &str| patterns.iter().any(|pattern| fits(pattern, schema));
        let is_table = |patterns: &[String], schema: &str, name: &str| {
            patterns.iter().any(|pattern| match pattern.split_once('.') {
                Some((of, pattern)) => fits(of, schema) && fits(pattern, name),
                None => fits(pattern, name),
            })
        };
        let is_chosen = |(schema, name): &(String, String)| {
            let is_in = match (choice.tables, choice.schemas) {
                ([], []) => true,
                // named tables are dumped whatever schemas are named
                (tables @ [_, ..], _) => is_table(tables, schema, name),
                ([], schemas) => is_schema(schemas, schema),
            };
            is_in && !is_schema(choice.exclude_schemas, schema) && !is_table(choice.exclude_tables, schema, name)
        };
        self.0.into_iter().filter(is_chosen).collect()
    }
}

/// True if a pattern means a name: `*` and `?` as in a shell, lower case outside of quotes. What can't be understood here
/// means nothing.
fn fits(pattern: &str, name: &str) -> bool {
    let mut is_quoted = false;
    let mut plain = String::new();
    for sign in pattern.chars() {
        match sign {
            '"' => is_quoted = !is_quoted,
            sign if is_quoted && "*?[]{}\\".contains(sign) => plain.extend(['\\', sign]),
            sign if is_quoted => plain.push(sign),
            sign => plain.extend(sign.to_lowercase()),
        }
    }
    GlobBuilder::new(&plain).build().is_ok_and(|glob| glob.compile_matcher().is_match(name))
}

#[cfg(test)]
mod tests {
    use super::{Choice, Tables, fits};

    #[test]
    fn patterns_mean_what_pg_dump_takes_them_for() {
        assert!(fits("storage", "storage") && fits("STORAGE", "storage") && fits("log_*", "log_2026"));
        assert!(fits("\"Odd*\"", "Odd*") && !fits("\"Odd*\"", "Odder") && !fits("log", "logs"));
    }

    #[test]
    fn only_what_is_dumped_is_chosen() {
        let all = [("public", "users"), ("public", "logs"), ("storage", "objects")];
        let tables = || all.map(|(schema, name)| (schema.into(), name.into())).into_iter().collect::<Tables>();
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let (storage, logs, users) = (list(&["storage"]), list(&["public.logs"]), list(&["users", "storage.*"]));
        let chosen = |choice: Choice<'_>| tables().chosen(&choice).names().join(" ");
        assert_eq!(chosen(Choice::default()), "public.logs public.users storage.objects");
        let exclude = Choice { exclude_schemas: &storage, exclude_tables: &logs, ..Choice::default() };
        assert_eq!(chosen(exclude), "public.users");
        assert_eq!(chosen(Choice { tables: &users, ..Choice::default() }), "public.users storage.objects");
        assert_eq!(chosen(Choice { schemas: &storage, ..Choice::default() }), "storage.objects");
    }
}

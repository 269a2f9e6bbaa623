//! What to do about a dump that failed, told by what the programs said: the causes that come up again and again with
//! managed servers, whose messages never name them.

use super::tables::Tables;

/// What is known of a server that a dump could not be taken of.
#[derive(Default)]
pub struct Clues {
    /// Host or port are those of a pooler.
    pub is_pooled: bool,
    /// Tables that this user may not read.
    pub unreadable: Tables,
    /// The user, as the server calls it.
    pub user: String,
}

/// Signs of a pooler between vault and the server.
const POOLER_SIGNS: [&str; 6] = [
    "unsupported startup parameter",
    "pgbouncer",
    "query_wait_timeout",
    "server login has been failing",
    "Tenant or user not found",
    "bouncer config error",
];

/// The next step, if the cause is a known one.
pub fn of(said: &str, clues: &Clues) -> Option<String> {
    let says = |sign: &str| said.contains(sign);
    if says("permission denied") && !clues.unreadable.is_empty() {
        return Some(permission(clues));
    }
    if POOLER_SIGNS.iter().any(|sign| says(sign)) || (clues.is_pooled && says("connection to server")) {
        return Some(POOLER.into());
    }
    let known = [
        ("server version mismatch", "name a newer client by `tools`, or install one"),
        // which pg_dump sets while it waits for a lock, and only then
        (
            "due to statement timeout",
            "a table was locked for longer than `lock_timeout`: raise it, or dump at another time",
        ),
        ("no password supplied", "give the password in the URL, in PGPASSWORD or in a password file (PGPASSFILE)"),
        ("out of shared memory", "raise max_locks_per_transaction on the server: each table takes a lock"),
        (
            "permission denied",
            "let this user read it (grant pg_read_all_data to it, from version 14 on), or leave it out",
        ),
        (
            "row-level security",
            "row-level security hides rows from this user: dump as the owner, or alter role … bypassrls",
        ),
    ];
    known.iter().find(|(sign, _)| says(sign)).map(|(_, hint)| (*hint).to_owned())
}

/// What to do about a pooler.
pub const POOLER: &str =
    "through a pooler a dump may fail, or leave its settings to other sessions: use the direct URL of the database";

fn permission(clues: &Clues) -> String {
    let schemas = clues.unreadable.schemas();
    let list = schemas.iter().map(|schema| format!("\"{schema}\"")).collect::<Vec<_>>().join(", ");
    let user = if clues.user.is_empty() { "USER" } else { &clues.user };
    format!("say exclude_schemas = [{list}] to leave them out, or let it read them: grant pg_read_all_data to {user}")
}

#[cfg(test)]
mod tests {
    use super::{Clues, of};

    #[test]
    fn a_platforms_schema_is_named_with_the_line_that_leaves_it_out() {
        let tables = [("storage", "objects"), ("storage", "buckets"), ("auth", "users")];
        let unreadable = tables.map(|(schema, table)| (schema.into(), table.into())).into_iter().collect();
        let clues = Clues { unreadable, user: "backup".into(), ..Clues::default() };
        let hint = of("pg_dump: error: query failed: ERROR:  permission denied for table objects", &clues).unwrap();
        assert!(hint.contains("exclude_schemas = [\"auth\", \"storage\"]"), "{hint}");
        assert!(hint.contains("grant pg_read_all_data to backup"), "{hint}");
        assert!(!of("permission denied for x", &Clues::default()).unwrap().contains("exclude_schemas"));
    }

    #[test]
    fn a_pooler_is_named_by_what_it_says() {
        let said = "FATAL:  unsupported startup parameter: options";
        assert!(of(said, &Clues::default()).unwrap().contains("direct URL"));
        let pooled = Clues { is_pooled: true, ..Clues::default() };
        assert!(of("connection to server at \"h\" failed", &pooled).unwrap().contains("direct URL"));
        assert!(of("connection to server at \"h\" failed", &Clues::default()).is_none());
    }
}

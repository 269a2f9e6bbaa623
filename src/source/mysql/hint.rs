//! What helps against what clients of MySQL and MariaDB complain of.

/// Words of a complaint, and what to do.
const HINTS: [(&[&str], &str); 10] = [
    (
        &["caching_sha2_password"],
        "this client can't log in as the server wants it: install MySQL's own, and name its folder with tools",
    ),
    (&["Access denied", "PROCESS"], "give the user the privilege PROCESS, or the option --no-tablespaces"),
    (&["Access denied", "using password"], "check user and password in the URL"),
    (
        &["insufficent privileges"],
        "the definer's code is hidden from this user: grant SHOW_ROUTINE, or SELECT on mysql.proc",
    ),
    (
        &["insufficient privileges"],
        "the definer's code is hidden from this user: grant SHOW_ROUTINE, or SELECT on mysql.proc",
    ),
    (&["show events"], "grant this user EVENT on the database, or set the option --skip-events"),
    (&["denied", "LOCK TABLES"], "grant this user LOCK TABLES, or set the option --skip-lock-tables"),
    (&["denied", "SHOW VIEW"], "grant this user SHOW VIEW on the database"),
    (
        &["TLS/SSL error"],
        "its certificate is not believed: name the authority with ssl-ca in the URL, or say ssl-mode=REQUIRED to trust \
         whoever answers",
    ),
    (&["Can't connect"], "is the server running, and is this its address?"),
];

/// What to do about what a client said, if that is known.
pub fn hint(said: &str) -> Option<&'static str> {
    HINTS.iter().find(|(words, _)| words.iter().all(|word| said.contains(word))).map(|(_, hint)| *hint)
}

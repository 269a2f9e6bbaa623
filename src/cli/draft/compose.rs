//! Databases among the services of a compose file, by the names of their images. Only the lines that matter are read, by
//! their indentation: what is written otherwise is not found, and nothing else happens.

/// An engine of databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Engine {
    Postgres,
    Mysql,
    Redis,
}

impl Engine {
    /// The kind of its source.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Redis => "redis",
        }
    }

    /// What its source is called.
    pub fn source(self) -> &'static str {
        if self == Self::Redis { "cache" } else { "database" }
    }

    /// By the name of a variable; one that only says database is PostgreSQL unless all that runs is MySQL.
    pub fn of_variable(name: &str, is_mysql: bool) -> Option<Self> {
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        if has(&["MYSQL", "MARIADB"]) {
            Some(Self::Mysql)
        } else if has(&["REDIS", "VALKEY"]) {
            Some(Self::Redis)
        } else if has(&["POSTGRES", "PG_", "SUPABASE_DB", "NEON"]) {
            Some(Self::Postgres)
        } else if name == "DB_URL" || name == "DIRECT_URL" || name.ends_with("DATABASE_URL") {
            Some(if is_mysql { Self::Mysql } else { Self::Postgres })
        } else {
            None
        }
    }

    fn of_image(image: &str) -> Option<Self> {
        let name = image.rsplit('/').next().unwrap_or_default().split([':', '@']).next().unwrap_or_default();
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        if name.contains("exporter") || name.contains("admin") || name.contains("commander") {
            None
        } else if has(&["postgres", "postgis", "timescaledb", "pgvector"]) {
            Some(Self::Postgres)
        } else if has(&["mysql", "mariadb", "percona"]) {
            Some(Self::Mysql)
        } else if has(&["redis", "valkey"]) {
            Some(Self::Redis)
        } else {
            None
        }
    }
}

/// A service that is a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub engine: Engine,
    image: String,
}

impl Service {
    /// How it is reached where no variable tells: inside of its container, with what the container itself knows.
    pub fn lines(&self) -> Vec<String> {
        let inside = |shell: &str| {
            let words = ["docker", "compose", "exec", "-T", &self.name, "sh", "-c", shell];
            serde_json::Value::from_iter(words).to_string().replace("\",\"", "\", \"")
        };
        let kind = format!("kind = \"{}\"", self.engine.kind());
        let command = match self.engine {
            Engine::Postgres => {
                let words = ["docker", "compose", "exec", "-T", &self.name, "pg_dump"];
                let options = ["--username=postgres", "--format=custom", "--compress=0", "postgres"];
                let words = serde_json::Value::from_iter(words.into_iter().chain(options));
                Some(words.to_string().replace("\",\"", "\", \""))
            }
            Engine::Mysql => {
                let is_mariadb = self.image.contains("mariadb");
                let (tool, variable) = if is_mariadb { ("mariadb-dump", "MARIADB") } else { ("mysqldump", "MYSQL") };
                Some(inside(&format!(
                    "exec {tool} --all-databases --single-transaction --routines --events --user=root \
                     --password=\"${variable}_ROOT_PASSWORD\""
                )))
            }
            Engine::Redis => None,
        };
        match command {
            Some(command) => {
                vec![kind, "# user and database may be others".into(), format!("dump_command = {command}")]
            }
            None => vec![
                kind,
                "# nobody reaches it from here: publish its port, say where it is, and take it in".into(),
                "# url_env = \"REDIS_URL\"".into(),
                "enabled = false".into(),
            ],
        }
    }
}

/// The databases of a compose file.
pub fn services(text: &str) -> Vec<Service> {
    let (mut found, mut is_inside, mut indent, mut name) = (Vec::new(), false, None, String::new());
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
        let depth = line.chars().take_while(|sign| *sign == ' ').count();
        let line = line.trim();
        if depth == 0 {
            is_inside = line == "services:";
            continue;
        }
        let own = *indent.get_or_insert(depth);
        if !is_inside {
            indent = None;
        } else if depth == own {
            name = line.trim_end_matches(':').trim_matches(['"', '\'']).to_owned();
        } else if let Some(image) = line.strip_prefix("image:") {
            let image = image.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
            let engine = Engine::of_image(image);
            found.extend(engine.map(|engine| Service { name: name.clone(), engine, image: image.to_owned() }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Engine, services};

    #[test]
    fn images_tell_the_engine() {
        let text = "version: '3'\nx-a:\n    deep:\n        image: postgres\nservices:\n    # image: redis\n    main-db:\n        environment:\n            A: b\n        \
            image: 'docker.io/library/postgres:16' # pinned\n    exporter:\n        image: prometheuscommunity/postgres-exporter\n    \
            cache:\n        image: valkey/valkey:8\nvolumes:\n    mysql:\n        image: mysql\n";
        let found: Vec<_> = services(text).into_iter().map(|service| (service.name, service.engine)).collect();
        assert_eq!(found, [("main-db".to_owned(), Engine::Postgres), ("cache".to_owned(), Engine::Redis)]);
        assert_eq!(services("services"), []);
    }
}

//! What is found out about a PostgreSQL server before its first dump.

use crate::cluster::Cluster;
use crate::postgres::options;
use std::path::PathBuf;
use vault::runtime::Runtime;
use vault::source::postgres::{Finding, Options, Survey, survey};

fn look(options: &Options) -> Survey {
    survey(options, &Runtime::system(1).unwrap())
}

#[test]
fn check_3_a_client_that_is_too_old_is_named_with_the_folder_of_one_that_fits() {
    let (Some(old), Some(new)) = (Cluster::of_system(), Cluster::newest()) else { return };
    let narrow = Options { tools: Some(old.programs.clone()), ..options(&new) };
    let found = look(&narrow);
    assert!(found.reachable && found.client.is_none() && !found.is_fine(), "{found:?}");
    let [finding @ Finding::OldClient { .. }] = found.findings.as_slice() else { panic!("{found:?}") };
    let said = format!("{finding}; {}", finding.hint());
    for version in [found.server_version.unwrap(), found.clients[0].version.to_string()] {
        assert!(said.contains(&version), "{version} in {said}");
    }
    assert!(said.contains(&format!("say tools = \"{}\"", new.programs.display())), "{said}");

    for tools in [Some(new.programs.clone()), None] {
        let found = look(&Options { tools, ..options(&new) });
        assert!(found.is_fine(), "{found:?}");
        assert_eq!(found.client.map(|client| client.folder), Some(new.programs.clone()));
        assert!(found.databases[0].bytes > 1 << 20 && found.databases[0].name == "app");
    }
    // the lowest that fits, though a newer one is there
    let mut both = options(&old);
    both.environment = options(&new).environment;
    let client = look(&both).client.expect("a client");
    assert!(client.folder.starts_with(&old.programs), "{client:?}");
    let none = look(&Options { tools: Some(PathBuf::from("/nowhere")), ..options(&old) });
    assert!(none.findings[0].to_string().contains("no pg_dump in /nowhere"), "{none:?}");
}

#[test]
fn check_4_poolers_and_servers_that_do_not_answer_are_named() {
    let Some(cluster) = Cluster::on_port() else { return };
    let url = |url: String| Options { url: Some(url.into()), ..options(&cluster) };
    let port = cluster.port;
    let pooled = look(&url(format!("postgresql://owner@127.0.0.1:{port}/app?pgbouncer=true&schema=public")));
    assert!(pooled.reachable && pooled.is_fine(), "{pooled:?}");
    let said: Vec<String> = pooled.findings.iter().map(|finding| format!("{finding}; {}", finding.hint())).collect();
    assert!(said.iter().any(|line| line.contains("pooler") && line.contains("direct URL")), "{said:?}");
    assert!(said.iter().any(|line| line.contains("`schema`")), "{said:?}");
    cluster.stop();
    let stopped = look(&url(format!("postgresql://owner:geheim@127.0.0.1:{port}/app")));
    assert!(!stopped.reachable && !stopped.is_fine(), "{stopped:?}");
    let said = stopped.findings.iter().map(ToString::to_string).collect::<String>();
    assert!(said.contains(&format!("127.0.0.1:{port}")) && said.contains("refused"), "{said}");
    assert!(!format!("{stopped:?}").contains("geheim"));
}

#[test]
fn tables_that_cannot_be_read_are_named_before_the_first_night() {
    let Some(cluster) = Cluster::of_system() else { return };
    cluster.sql(
        "app",
        "create role app login; create schema storage; create table storage.objects(id serial); create table users(a \
         int); grant select on users to app",
    );
    let options = Options { url: Some(cluster.url("app", "app").into()), ..options(&cluster) };
    let found = look(&options);
    assert_eq!(found.databases[0].unreadable, ["storage.objects", "storage.objects_id_seq"]);
    assert!(!found.is_fine() && found.findings[0].hint().contains("exclude_schemas = [\"storage\"]"), "{found:?}");
    let chosen = look(&Options { exclude_schemas: vec!["storage".into()], ..options });
    assert!(chosen.is_fine() && chosen.databases[0].unreadable.is_empty(), "{chosen:?}");
}

//! The package for Debian: it is built by the one command that the guide names, around the program that these tests run;
//! it installs, all of it works, and it leaves nothing behind.

use crate::{World, errors, is_root};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Says loudly that a test did not run; in CI that is a failure.
fn skipped(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    // straight to the terminal: the harness would swallow it
    drop(writeln!(std::io::stderr(), "SKIPPED the_package_installs_works_and_goes: {reason}"));
}

fn ok(command: &mut Command) -> String {
    let output: Output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", errors(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn shell(script: &str, argument: &Path) -> String {
    ok(Command::new("bash").args(["-c", script, "bash"]).arg(argument))
}

fn build(world: &World) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/build-deb");
    let mut command = Command::new(script);
    // this program is twenty times as large as the one that people get
    command.arg(env!("CARGO_BIN_EXE_vault")).arg(world.path("")).env("DPKG_DEB_COMPRESSOR_TYPE", "none");
    PathBuf::from(ok(&mut command).trim())
}

/// A system with nothing on it, for what needs no other package.
fn dpkg(root: &Path) -> Command {
    let mut command = Command::new("dpkg");
    command.arg(format!("--root={}", root.display())).args(["--force-script-chrootless", "--force-depends"]);
    command
}

#[test]
fn the_package_installs_works_and_goes() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        return skipped("there is no dpkg-deb (it is Debian's)");
    }
    let world = World::empty();
    let (package, root) = (build(&world), world.path("root"));
    let control = ok(Command::new("dpkg-deb").arg("--info").arg(&package));
    let program = concat!("Version: ", env!("CARGO_PKG_VERSION"));
    assert!(control.contains(program) && control.contains("Depends: libc6"), "{control}");
    if is_root() {
        fs::create_dir_all(root.join("var/lib/dpkg/updates")).expect("folders");
        fs::write(root.join("var/lib/dpkg/status"), "").expect("a file");
        ok(dpkg(&root).arg("--install").arg(&package));
    } else {
        ok(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&root));
    }

    let vault = root.join("usr/bin/vault");
    assert_eq!(ok(Command::new(&vault).arg("--version")), concat!("vault ", env!("CARGO_PKG_VERSION"), "\n"));
    // what a page can't show is said on standard error
    let render = "gzip -dc \"$1\" | groff -man -Tutf8 -wall 2>&1";
    let pages: Vec<_> = fs::read_dir(root.join("usr/share/man/man1")).expect("pages").flatten().collect();
    assert!(pages.len() > 30, "{} pages", pages.len());
    let page = shell(render, &root.join("usr/share/man/man1/vault-run.1.gz"));
    assert!(page.contains("Do what the plan says is due") && !page.contains("troff:"), "{page}");
    let completions = root.join("usr/share/bash-completion/completions/vault");
    assert!(shell("source \"$1\" && complete -p vault", &completions).contains("vault"));

    // the units are those that the program prints, for the places of the package
    let unit = fs::read_to_string(root.join("usr/lib/systemd/system/vault.service")).expect("a unit");
    assert!(unit.contains("\nExecStart=/usr/bin/vault --plan /etc/vault/vault.toml run --quiet\n"), "{unit}");
    let example = root.join("etc/vault/vault.toml.example");
    let own = |text: &str| text.lines().filter(|line| !line.starts_with("ExecStart=")).collect::<Vec<_>>().join("\n");
    let printed = ok(Command::new(&vault).args(["schedule", "--systemd", "--plan"]).arg(&example));
    let timer = fs::read_to_string(root.join("usr/lib/systemd/system/vault.timer")).expect("a unit");
    assert!(own(&printed).contains(&own(&unit)) && printed.contains(timer.trim()), "{printed}");
    let checked = ok(Command::new(&vault).args(["plan", "check", "--offline", "--plan"]).arg(&example));
    assert!(checked.contains("no errors"), "{checked}");

    if is_root() {
        ok(dpkg(&root).args(["--purge", "vault"]));
        let left = ok(Command::new("find").arg(&root).args(["-name", "*vault*"]));
        assert_eq!(left, "", "nothing stays");
    }
}

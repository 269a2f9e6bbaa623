//! `vault snapshot`: takes a snapshot of files, of standard input, or of a command's output. What could not be read is
//! named on standard error, and the exit code tells a whole snapshot from one with gaps.

use super::printed::printed;
use super::{Context, Failure, Outcome, Session, address, code, hint, node, render, session, time};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use vault::backup::{self, CompressedInput, Report, Source};
use vault::plan::Delta;
use vault::size;
use vault::source::{self, Command, CommandOptions, Excludes, Stream};
use vault::time::WallTime;
use vault_format::snapshot::{LeftOut, Statistics, is_source_name};
use vault_format::tree::is_plain_name;

/// Take a snapshot of files, standard input, or the output of a command
///
/// One PATH: its content is the root of the snapshot, and its last part is the NAME. Several: each lies under its path
/// below their common parent, and --name is required.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  vault snapshot /srv/uploads --exclude '*.tmp' --quiet
  vault snapshot --name app-db --command -- pg_dump -Fc -Z0 --dbname app")]
pub struct Arguments {
    /// Files and folders
    #[arg(value_name = "PATH", conflicts_with_all = ["stdin", "command"])]
    paths: Vec<PathBuf>,
    /// Take the paths of this file too, one a line; `-` is standard input. Links are stored as links, and patterns apply
    #[arg(long, value_name = "FILE", conflicts_with_all = ["stdin", "command"])]
    files_from: Vec<PathBuf>,
    /// The same, with a NUL behind each, as `find -print0` writes it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["stdin", "command"])]
    files_from0: Vec<PathBuf>,
    /// Name of the source: letters, digits, '.', '_' and '-'
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Read standard input; it becomes one file of this name, or of this path
    #[arg(long, value_name = "FILENAME", conflicts_with = "command")]
    stdin: Option<OsString>,
    /// Run the words behind `--`; the output becomes one file called NAME, and a failure leaves no snapshot. The command
    /// gets the environment without passwords and keys of vault
    #[arg(long, requires = "name")]
    command: bool,
    /// The command and its arguments
    #[arg(last = true, value_name = "CMD")]
    words: Vec<OsString>,
    /// Mark the snapshot with a tag (can be repeated)
    #[arg(long = "tag", short, value_name = "TAG")]
    tags: Vec<String>,
    /// Leave out what this pattern names, as in .gitignore, from the root of the snapshot (can be repeated)
    #[arg(long, short, value_name = "GLOB")]
    exclude: Vec<OsString>,
    /// The same, in upper or lower case (can be repeated)
    #[arg(long, value_name = "GLOB")]
    iexclude: Vec<OsString>,
    /// Leave out what the patterns of this file name, one a line (can be repeated)
    #[arg(long, value_name = "FILE")]
    exclude_file: Vec<PathBuf>,
    /// The same, in upper or lower case (can be repeated)
    #[arg(long, value_name = "FILE")]
    iexclude_file: Vec<PathBuf>,
    /// Leave out every folder that holds an entry of this name (can be repeated)
    #[arg(long, value_name = "FILENAME")]
    exclude_if_present: Vec<OsString>,
    /// Leave out every folder that holds a valid CACHEDIR.TAG
    #[arg(long)]
    exclude_caches: bool,
    /// Leave out what bears the attribute nodump (chattr +d)
    #[arg(long)]
    exclude_nodump: bool,
    /// Do not enter other file systems
    #[arg(long, short = 'x')]
    one_file_system: bool,
    /// Leave out files larger than this
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    exclude_larger_than: Option<u64>,
    /// Record this time instead of now
    #[arg(long, value_name = "TIME", value_parser = time::parse_past)]
    time: Option<WallTime>,
    /// Record this host name
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Record this description
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    /// Take no snapshot if nothing changed since the last one
    #[arg(long)]
    skip_if_unchanged: bool,
    /// Take a snapshot of an empty stream too
    #[arg(long)]
    allow_empty: bool,
    /// A file is unchanged whatever its inode number is: for file systems that give another one at each mount
    #[arg(long)]
    ignore_inode: bool,
    /// A file is unchanged whatever its time of change (ctime) is: size and time of content decide
    #[arg(long)]
    ignore_ctime: bool,
    /// Read this part of the unchanged files again, like 1/20: each file once in twenty snapshots
    #[arg(long, value_name = "N/M", value_parser = size::parse_part)]
    reread: Option<(u32, u32)>,
    /// Store content as the difference to what the last snapshot holds: `auto` where that costs nothing to read, `always`,
    /// or `never`
    #[arg(long, value_name = "WHEN", default_value = "auto", hide_default_value = true, value_parser = delta)]
    delta: Delta,
    /// The same as --delta never
    #[arg(long, conflicts_with = "delta")]
    no_delta: bool,
    /// Compress by zstd at this level, 1 to 19 (else 3): a higher one stores less, and takes longer
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(i32).range(1..=19))]
    compression: Option<i32>,
    /// Only look what would be stored
    #[arg(long, short = 'n')]
    dry_run: bool,
}

printed! {
    /// What `vault snapshot` prints.
    struct Taken<'a>(dry_run: bool, report: &'a Report, figures: Statistics) {
        /// Id of the snapshot; null for a dry run, or if nothing changed.
        snapshot: Option<String> = report.snapshot.map(|id| id.to_string()),
        /// Name of the source.
        name: &'a str = &report.head.source,
        /// Its time.
        time: String = render::time_rfc3339(WallTime::new(report.head.time)),
        /// Id of the snapshot that it was compared with; null without one.
        parent: Option<String> = report.head.parent.map(|parent| parent.to_string()),
        /// Nothing was written.
        dry_run: bool = dry_run,
        /// Files.
        files: u64 = figures.files,
        /// Folders.
        directories: u64 = figures.directories,
        /// Other entries: links, pipes, devices.
        others: u64 = figures.others,
        /// Files that were not read again.
        unchanged_files: u64 = figures.unchanged_files,
        /// Content bytes.
        bytes: u64 = figures.bytes,
        /// Content bytes that were new.
        added_bytes: u64 = figures.added_bytes,
        /// Bytes of new packs.
        stored_bytes: u64 = figures.stored_bytes,
        /// How long it took.
        duration_seconds: f64 = std::time::Duration::from_nanos(figures.duration).as_secs_f64(),
        /// Entries that could not be read, each with the reason.
        failed: &'a [String] = &report.failed,
        /// Things worth knowing.
        notes: &'a [String] = &report.notes,
        /// The last lines that the command said on its standard error.
        messages: &'a [String] = &report.messages,
        /// What was compressed before vault read it, and so shares little with what was there before: streams of 1 MiB
        /// and more, files of 16 MiB and more, of many those that added most.
        compressed: Vec<Compressed> = report.compressed.iter().map(Compressed::of).collect(),
    }

    /// A compressed file or stream.
    pub struct Compressed(input: &CompressedInput) {
        /// Its path in the snapshot.
        path: String = node::lossy(&input.path),
        /// `gzip`, `zstd`, `xz`, `bzip2`, `lz4`, `zip` or `pg_dump`.
        by: &'static str = input.by.name(),
        /// Its bytes.
        size: u64 = input.size,
        /// Those of them that were new.
        added: u64 = input.added_bytes,
    }
}

/// Whether content is stored as a difference, as it is written.
fn delta(word: &str) -> Result<Delta, String> {
    Delta::parse(word).ok_or_else(|| "it is auto, always or never".into())
}

/// Lines of a command that are shown at the end.
const MESSAGES_SHOWN: usize = 10;

/// Takes the snapshot.
pub fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let mut input = Stream::new(standard_input()?, session.runtime.stop.clone());
    let (name, given) = resolve(arguments, &mut input)?;
    let what = format!("cannot snapshot {name}");
    let repository = session.open()?;
    let options = backup::Options {
        name,
        tags: arguments.tags.clone(),
        description: arguments.description.clone(),
        host: arguments.host.clone().unwrap_or_else(session::host),
        user: session::user(),
        time: arguments.time,
        allow_empty: arguments.allow_empty,
        skip_if_unchanged: arguments.skip_if_unchanged,
        derived: arguments.name.is_none(),
        ignore_inode: arguments.ignore_inode,
        ignore_ctime: arguments.ignore_ctime,
        reread: arguments.reread,
        delta: if arguments.no_delta { Delta::Never } else { arguments.delta },
        level: arguments.compression,
        dry_run: arguments.dry_run,
        ..backup::Options::default()
    };
    let progress = session.progress("reading").watch(repository.backend());
    let progress = if arguments.stdin.is_some() { progress.reads("standard input") } else { progress };
    let report = progress.during(|progress| match given {
        Given::Source(source) => backup::backup(&repository, source, &options, progress),
        Given::Command(command) => {
            let mut command = Command::new(command, &session.runtime, progress);
            backup::backup(&repository, Source::Dump(&mut command), &options, progress)
        }
    });
    let mut report = report.context(&what)?;
    progress.tell(&report.failed);
    session.say_notes(&report.notes);
    let unseen = hint::of_unseen(&report.unseen);
    unseen.iter().for_each(|line| render::complain(line));
    report.notes.extend(unseen);
    tell_messages(session, arguments, &report.messages);
    if !session.global.quiet && !session.global.verbose {
        render::complain_each(&report.remarks);
        render::complain_each(&report.advice);
    }
    session.say_requests(&repository);
    session.global.print(&Taken::of(arguments.dry_run, &report, report.head.statistics));
    session.say(&summary(arguments, &report));
    if report.failed.is_empty() {
        return Ok(code::DONE);
    }
    let failed = render::count(report.failed.len() as u64, "entry", "entries");
    render::complain(&format!(
        "{} {} has gaps: {failed} could not be read completely, named above",
        if report.snapshot.is_some() { "the snapshot of" } else { "what was seen of" },
        options.name
    ));
    Ok(code::PARTIAL)
}

/// Past the buffer of the standard library, which would have a signal wait for the next byte.
fn standard_input() -> Result<File, Failure> {
    let input = rustix::stdio::stdin().try_clone_to_owned();
    input.map(File::from).context("cannot read standard input")
}

/// What a command said that succeeded. With --verbose that was shown as it came.
fn tell_messages(session: &Session, arguments: &Arguments, messages: &[String]) {
    if session.global.quiet || session.global.verbose || messages.is_empty() {
        return;
    }
    let program = arguments.words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    let skipped = messages.len().saturating_sub(MESSAGES_SHOWN);
    if skipped > 0 {
        let lines = render::count(skipped as u64, "more line", "more lines");
        render::complain(&format!("{program}: {lines} before these; --verbose shows all"));
    }
    messages.iter().skip(skipped).for_each(|message| render::complain(&format!("{program}: {message}")));
}

fn usage(text: impl Into<String>) -> Failure {
    Failure::usage(text).hint("see `vault snapshot --help`")
}

/// What the words point at.
enum Given<'a> {
    Source(Source<'a>),
    Command(CommandOptions),
}

/// Name and source of the snapshot.
fn resolve<'a>(arguments: &Arguments, input: &'a mut dyn std::io::Read) -> Result<(String, Given<'a>), Failure> {
    let named = |default: Option<String>| {
        let name = arguments.name.clone().or(default).unwrap_or_default();
        if is_source_name(&name) {
            return Ok(name);
        }
        let name = render::safe(&name);
        Err(usage(format!(
            "'{name}' can't be the name of a source; say --name NAME: letters, digits, '.', '_', '-', 128 at most"
        )))
    };
    if let Some(file) = &arguments.stdin {
        let parts = file.as_encoded_bytes().split(|byte| *byte == b'/');
        let parts: Vec<&[u8]> = parts.filter(|part| !part.is_empty() && *part != b".").collect();
        if parts.is_empty() || !parts.iter().all(|part| is_plain_name(part)) {
            return Err(usage("--stdin takes the name of a file, or its path in the snapshot"));
        }
        // two files of one name in two folders are two sources
        let name = named(Some(String::from_utf8_lossy(&parts.join(&b'-')).into_owned()))?;
        return Ok((name, Given::Source(Source::Stream(input, parts.join(&b'/')))));
    }
    if arguments.command {
        let name = named(None)?;
        if arguments.words.is_empty() {
            return Err(usage("--command needs a command behind --"));
        }
        let (words, filename) = (arguments.words.clone(), name.clone().into_bytes());
        let allow_empty = arguments.allow_empty;
        return Ok((
            name,
            Given::Command(CommandOptions { words, filename, allow_empty, ..CommandOptions::default() }),
        ));
    }
    // behind -- there can be paths that begin with a dash
    if let Some(first) = arguments.words.first().filter(|first| PathBuf::from(first).symlink_metadata().is_err()) {
        let first = render::safe(&first.to_string_lossy());
        return Err(usage(format!("there is no file {first}; if it is a command, say --command before the --")));
    }
    let mut paths = arguments.paths.clone();
    paths.extend(arguments.words.iter().map(PathBuf::from));
    let listed = !arguments.files_from.is_empty() || !arguments.files_from0.is_empty();
    paths.extend(lists(arguments, input)?);
    if paths.is_empty() && listed {
        return Err(Failure::failed("the list names no path").hint("nothing was snapshotted"));
    }
    let default = match paths.as_slice() {
        [] => return Err(usage("nothing to snapshot: give a PATH, --stdin FILENAME or --command -- CMD")),
        [path] if !listed => last_part(path),
        _ if listed && arguments.name.is_none() => return Err(usage("a list of paths needs --name NAME")),
        _ if arguments.name.is_none() => return Err(usage("several paths need --name NAME")),
        _ => None,
    };
    let rules = LeftOut {
        patterns: patterns(&arguments.exclude, &arguments.exclude_file)?,
        any_case: patterns(&arguments.iexclude, &arguments.iexclude_file)?,
        markers: arguments.exclude_if_present.iter().map(|name| name.as_bytes().to_vec()).collect(),
        larger_than: arguments.exclude_larger_than,
        caches: arguments.exclude_caches,
        nodump: arguments.exclude_nodump,
        other_file_systems: arguments.one_file_system,
    };
    let walk = source::Options { rules, listed, ..source::Options::default() };
    Ok((named(default)?, Given::Source(Source::Paths(paths, walk))))
}

/// The patterns said, and then those of files.
fn patterns(said: &[OsString], files: &[PathBuf]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut patterns = address::bytes(said);
    for file in files {
        patterns.extend(Excludes::lines(&read(file)?));
    }
    Ok(patterns)
}

/// The paths of lists.
fn lists(arguments: &Arguments, input: &mut dyn std::io::Read) -> Result<Vec<PathBuf>, Failure> {
    let text = arguments.files_from.iter().map(|file| (file, b'\n'));
    let mut paths = Vec::new();
    for (file, end) in text.chain(arguments.files_from0.iter().map(|file| (file, 0))) {
        let bytes = if file.as_os_str() == "-" {
            let mut bytes = Vec::new();
            input.read_to_end(&mut bytes).context("cannot read standard input")?;
            bytes
        } else {
            read(file)?
        };
        let each = bytes.split(|byte| *byte == end).filter(|path| !path.is_empty());
        paths.extend(each.map(|path| PathBuf::from(OsStr::from_bytes(path))));
    }
    Ok(paths)
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).context(&format!("cannot read {}", file.display()))
}

fn last_part(path: &Path) -> Option<String> {
    let absolute = std::path::absolute(path).ok()?;
    let ends_plain = absolute.file_name().is_some();
    let absolute = if ends_plain { absolute } else { absolute.canonicalize().ok()? };
    absolute.file_name().map(|name| name.to_string_lossy().into_owned())
}

fn summary(arguments: &Arguments, report: &Report) -> String {
    let figures = &report.head.statistics;
    let unchanged = render::if_any(figures.unchanged_files, |number| format!(" ({number} unchanged)"));
    let seen = format!(
        "{}{unchanged}, {}; {} new",
        render::count(figures.files, "file", "files"),
        render::size(figures.bytes),
        render::size(figures.added_bytes)
    );
    let name = &report.head.source;
    match report.snapshot {
        Some(id) => format!(
            "snapshot {} of {name}: {seen}, {} stored, {}",
            id.short(),
            render::size(figures.stored_bytes),
            render::duration(figures.duration)
        ),
        None if arguments.dry_run => format!("would snapshot {name}: {seen}"),
        None => format!("no snapshot of {name}: nothing changed; {seen}"),
    }
}

//! Rules of the house that a machine can keep: the direction of the layers, who may name RocksDB,
//! inherited lints, file docs, lengths of files by ratchet, nothing left undone.
//!
//! A rule is a function from a file to complaints. Each has an example that it must complain about,
//! so that a rule that no longer sees anything is noticed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every member and those of the project's crates it may use.
const LAYERS: [(&str, &[&str]); 7] = [
    ("storage", &[]),
    ("query", &["storage"]),
    ("alerting", &["storage", "query"]),
    ("server", &["storage", "query", "alerting"]),
    // storage: for offline inspection and repair, and for the clock given to the server.
    ("tools", &["server", "storage"]),
    ("tests", &["storage", "query", "alerting", "server"]),
    ("benches", &["storage", "query", "alerting"]),
];

/// Only these name RocksDB: the second to turn its error into ours.
const NAME_ROCKSDB: [&str; 2] = ["storage/src/kv.rs", "storage/src/error.rs"];

/// Past this length ask whether two nouns live in a file.
const LINES_MAX: usize = 500;

/// Files that are longer, with the length they must not exceed. An entry may be lowered, and goes when
/// the file is short enough; none is added and none is raised.
const LONG_FILES: [(&str, usize); 2] =
    [("alerting/src/notify/agenda.rs", 523), ("server/src/ingest/json.rs", 611)];

/// Files that do not keep a rule yet, with the complaint. An entry goes with its reason; none is added.
const KNOWN: [(&str, &str); 0] = [];

const NO_FILE_DOCS: &str = "the file does not open with //!";

/// A file of the project: path from the top with `/`, and text.
struct Source {
    path: String,
    text: String,
}

/// What is wrong with a file; empty if nothing is.
type Rule = fn(&Source) -> Vec<String>;

/// Each rule with a file it complains about.
const RULES: [(Rule, &str, &str); 12] = [
    (layers, "query/Cargo.toml", "[dependencies]\nmoneta-server.workspace = true\n"),
    (layers, "storage/Cargo.toml", "[dev-dependencies]\nmoneta-query = { path = \"../query\" }\n"),
    (layers, "plotting/Cargo.toml", "[package]\nname = \"moneta-plotting\"\n"),
    (rocksdb, "query/Cargo.toml", "[dependencies]\nrocksdb.workspace = true\n"),
    (rocksdb, "storage/src/merge.rs", "//! Merging.\n\nuse rocksdb::DB;\n"),
    (lints, "query/Cargo.toml", "[package]\nname = \"moneta-query\"\n"),
    (unsafety, "query/src/lib.rs", "//! Questions.\n\nmod error;\n"),
    (file_docs, "query/src/plan.rs", "// Plans.\n"),
    (lengths, "query/src/plan.rs", LONG),
    (nouns, "query/src/utils.rs", "//! This and that.\n"),
    (undone, "query/src/plan.rs", UNDONE),
    (places, "server/API.md", concat!("Data lies in /t", "mp/data.\n")),
];

const LONG: &str = match str::from_utf8(&[b'\n'; LINES_MAX + 1]) {
    Ok(lines) => lines,
    Err(_) => "",
};

const UNDONE: &str = concat!("fn plan() {\n    to", "do!()\n}\n");

#[test]
fn every_file_keeps_every_rule() {
    let known = KNOWN.map(|(path, text)| format!("{path}: {text}"));
    let complaints = complaints();
    let new: Vec<&String> = complaints.iter().filter(|text| !known.contains(text)).collect();
    assert!(new.is_empty(), "{new:#?}");
    let gone: Vec<&String> = known.iter().filter(|text| !complaints.contains(*text)).collect();
    assert!(gone.is_empty(), "remove from the list of known ones: {gone:#?}");
}

/// All complaints about all files.
fn complaints() -> BTreeSet<String> {
    let sources = sources();
    assert!(sources.iter().any(|source| source.path == "tests/tidy.rs"), "the files are found");
    let mut complaints = BTreeSet::new();
    for source in &sources {
        for (rule, ..) in RULES {
            complaints.extend(rule(source).iter().map(|text| format!("{}: {text}", source.path)));
        }
    }
    complaints
}

#[test]
fn every_rule_sees_what_breaks_it() {
    for (rule, path, text) in RULES {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        assert_eq!(rule(&source).len(), 1, "{path}: {text}");
    }
}

#[test]
fn long_files_are_still_there_and_still_long() {
    let sources = sources();
    for (path, _) in LONG_FILES {
        let source = sources.iter().find(|source| source.path == path);
        let lines = source.map_or(0, |source| source.text.lines().count());
        assert!(lines > LINES_MAX, "{path} has {lines} lines: remove its entry");
    }
}

/// The layers depend downwards only.
fn layers(source: &Source) -> Vec<String> {
    let Some(member) = source.member_of_manifest() else { return Vec::new() };
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == member) else {
        return vec!["the place of this crate among the layers is not laid down".to_owned()];
    };
    let used = source.dependencies();
    let own = used.iter().filter_map(|name| name.strip_prefix("moneta-"));
    let wrong = own.filter(|name| !allowed.contains(name));
    wrong.map(|name| format!("{member} must not depend on {name}")).collect()
}

/// Only `storage::kv` speaks to RocksDB.
fn rocksdb(source: &Source) -> Vec<String> {
    let in_manifest = source.member_of_manifest().is_some_and(|member| member != "storage")
        && source.dependencies().iter().any(|name| name == "rocksdb");
    let in_code = source.path.contains("/src/")
        && source.path.ends_with(".rs")
        && !NAME_ROCKSDB.contains(&source.path.as_str())
        && source.text.contains("rocksdb::");
    complaint(in_manifest || in_code, "only storage::kv names RocksDB")
}

/// Every member inherits the lints of the workspace.
fn lints(source: &Source) -> Vec<String> {
    let inherits = || {
        let lints =
            source.manifest().get("lints").and_then(|lints| lints.get("workspace").cloned());
        lints.and_then(|lints| lints.as_bool()) == Some(true)
    };
    complaint(source.member_of_manifest().is_some() && !inherits(), "the lints are not inherited")
}

/// No crate but storage may ever lift the ban on unsafe code.
fn unsafety(source: &Source) -> Vec<String> {
    let (member, place) = source.path.split_once('/').unwrap_or(("", ""));
    let forbids = source.text.contains("#![forbid(unsafe_code)]");
    let root = matches!(member, "query" | "alerting" | "server") && place == "src/lib.rs"
        || (member, place) == ("tools", "src/main.rs");
    complaint(root && !forbids, "the crate does not forbid unsafe code")
}

/// Every file says first what it is.
fn file_docs(source: &Source) -> Vec<String> {
    let says = source.text.starts_with("//!");
    complaint(source.path.ends_with(".rs") && !says, NO_FILE_DOCS)
}

/// No file grows beyond its limit.
fn lengths(source: &Source) -> Vec<String> {
    let listed = LONG_FILES.iter().find(|(path, _)| *path == source.path);
    let max = listed.map_or(LINES_MAX, |(_, lines)| *lines);
    let lines = source.text.lines().count();
    let long = source.path.ends_with(".rs") && lines > max;
    complaint(long, &format!("{lines} lines, at most {max} are allowed"))
}

/// A file is named by a noun that says what is in it.
fn nouns(source: &Source) -> Vec<String> {
    let says_nothing = ["utils", "util", "helpers", "helper", "common", "misc"];
    let name = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
    let name = name.rsplit('/').next().unwrap_or(name);
    complaint(
        source.path.ends_with(".rs") && says_nothing.contains(&name),
        "the name does not say what is inside",
    )
}

/// Nothing is left undone, and every test is run.
fn undone(source: &Source) -> Vec<String> {
    let marks = [concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("#[ig", "nore")];
    let marks = marks.into_iter().filter(|mark| source.text.contains(mark));
    marks.filter(|_| source.path.ends_with(".rs")).map(|mark| format!("{mark} is left")).collect()
}

/// No file speaks of folders of the machine it was written on.
fn places(source: &Source) -> Vec<String> {
    let places = [concat!("/wo", "rk/"), concat!("/t", "mp/"), concat!("/ro", "ot/")];
    let places = places.into_iter().filter(|place| source.text.contains(place));
    places.map(|place| format!("speaks of {place}")).collect()
}

fn complaint(wrong: bool, text: &str) -> Vec<String> {
    if wrong { vec![text.to_owned()] } else { Vec::new() }
}

impl Source {
    /// The member whose manifest this is.
    fn member_of_manifest(&self) -> Option<&str> {
        self.path.strip_suffix("/Cargo.toml").filter(|member| !member.contains('/'))
    }

    fn manifest(&self) -> toml::Table {
        self.text.parse().unwrap_or_else(|error| panic!("{}: {error}", self.path))
    }

    /// Names of all crates a manifest asks for, whatever for and on whichever platform.
    fn dependencies(&self) -> Vec<String> {
        fn collect(table: &toml::Table, names: &mut Vec<String>) {
            for (name, value) in table {
                let Some(inner) = value.as_table() else { continue };
                if name.ends_with("dependencies") {
                    names.extend(inner.keys().cloned());
                } else {
                    collect(inner, names);
                }
            }
        }
        let mut names = Vec::new();
        collect(&self.manifest(), &mut names);
        names
    }
}

/// Every text file below the top, without what was built.
fn sources() -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut sources = Vec::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            let name = entry.file_name();
            if kind.is_dir() && name != ".git" && name != "target" {
                folders.push(path);
            } else if kind.is_file() {
                sources.extend(source(top, &path));
            }
        }
    }
    sources
}

/// `None` for what is no text.
fn source(top: &Path, path: &PathBuf) -> Option<Source> {
    let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
    // A worktree keeps the place of its repository in a file of this name.
    if name == ".git" {
        return None;
    }
    String::from_utf8(fs::read(path).unwrap()).ok().map(|text| Source { path: name, text })
}

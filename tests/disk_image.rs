//! What a disk holds after a power cut. A trace of file operations is played on a model that knows what
//! was synced: the content of a file by a sync of the file, a name by a sync of its folder. What was not
//! may be there after the cut, in part or not at all.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use crate::random::Random;

/// One operation of the trace.
#[derive(Debug)]
pub(crate) enum Step {
    Open {
        fd: u64,
        path: PathBuf,
        truncate: bool,
    },
    Write {
        fd: u64,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        fd: u64,
        length: usize,
    },
    Sync {
        fd: u64,
    },
    Close {
        fd: u64,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    MakeFolder {
        path: PathBuf,
    },
    RemoveFolder {
        path: PathBuf,
    },
    /// The process said something.
    Out {
        text: String,
    },
}

/// Reads a trace. The process may have been killed while it wrote the last record.
pub(crate) fn steps(trace: &Path) -> Vec<Step> {
    let bytes = fs::read(trace).unwrap();
    let mut rest = bytes.as_slice();
    let mut steps = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<64>() {
        let numbers: Vec<u64> =
            head.as_chunks::<8>().0.iter().map(|number| u64::from_ne_bytes(*number)).collect();
        let [op, fd, a, b, first, second, ..] = numbers[..] else { unreachable!() };
        let [first, second, at] = [first, second, a].map(|number| usize::try_from(number).unwrap());
        if tail.len() < first + second {
            break;
        }
        let path = |bytes: &[u8]| PathBuf::from(str::from_utf8(bytes).unwrap());
        let data = &tail[..first];
        steps.push(match op {
            1 => Step::Open { fd, path: path(data), truncate: b == 1 },
            2 => Step::Write { fd, at, bytes: data.to_vec() },
            3 => Step::Truncate { fd, length: at },
            4 => Step::Sync { fd },
            5 => Step::Close { fd },
            6 => Step::Rename { from: path(data), to: path(&tail[first..first + second]) },
            7 => Step::Unlink { path: path(data) },
            8 => Step::MakeFolder { path: path(data) },
            9 => Step::RemoveFolder { path: path(data) },
            10 => Step::Out { text: String::from_utf8(data.to_vec()).unwrap() },
            other => panic!("operation {other}"),
        });
        rest = &tail[first + second..];
    }
    steps
}

/// What becomes of that which was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// All of it is gone.
    Nothing,
    /// Names are as they were, contents are not: a journal of metadata alone.
    NamesOnly,
    /// Of each file and folder a random part is there; the last write of a file may be torn.
    Parts,
    /// All is there.
    Everything,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Clone, Default)]
struct Content {
    synced: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Node {
    File(usize),
    Folder,
}

#[derive(Clone)]
enum Naming {
    Put(String, Node),
    Remove(String),
    Rename(String, String),
}

#[derive(Clone, Default)]
struct Folder {
    synced: BTreeMap<String, Node>,
    pending: Vec<Naming>,
}

/// Folders and files below the root of the trace.
#[derive(Clone)]
pub(crate) struct Disk {
    root: PathBuf,
    files: Vec<Content>,
    folders: BTreeMap<PathBuf, Folder>,
    open: HashMap<u64, (PathBuf, Node)>,
}

impl Disk {
    /// What is in the folder `root` now, all of it certain.
    pub(crate) fn new(root: &Path) -> Self {
        let mut disk = Disk {
            root: root.to_path_buf(),
            files: Vec::new(),
            folders: BTreeMap::new(),
            open: HashMap::new(),
        };
        disk.load(root);
        disk
    }

    fn load(&mut self, path: &Path) {
        let mut folder = Folder::default();
        for entry in fs::read_dir(path).unwrap() {
            let inside = entry.unwrap().path();
            let node = if inside.is_dir() {
                self.load(&inside);
                Node::Folder
            } else {
                let synced = fs::read(&inside).unwrap();
                self.files.push(Content { synced, pending: Vec::new() });
                Node::File(self.files.len() - 1)
            };
            folder.synced.insert(last(&inside), node);
        }
        self.folders.insert(path.to_path_buf(), folder);
    }

    /// Plays a step.
    pub(crate) fn play(&mut self, step: &Step) {
        match step {
            Step::Open { fd, path, truncate } => {
                let node = self.find(path).unwrap_or_else(|| {
                    let node = Node::File(self.files.len());
                    self.files.push(Content::default());
                    self.name(path, |name| Naming::Put(name, node.clone()));
                    node
                });
                if let (Node::File(file), true) = (&node, truncate) {
                    self.files[*file].pending.push(Change::Length(0));
                }
                self.open.insert(*fd, (path.clone(), node));
            }
            Step::Write { fd, at, bytes } => {
                self.change(*fd, Change::Write(*at, bytes.clone()));
            }
            Step::Truncate { fd, length } => self.change(*fd, Change::Length(*length)),
            Step::Sync { fd } => match &self.open[fd] {
                (_, Node::File(file)) => {
                    let content = &mut self.files[*file];
                    for change in std::mem::take(&mut content.pending) {
                        apply(&mut content.synced, &change);
                    }
                }
                (path, Node::Folder) => {
                    if let Some(folder) = self.folders.get_mut(path) {
                        for naming in std::mem::take(&mut folder.pending) {
                            rename(&mut folder.synced, &naming);
                        }
                    }
                }
            },
            Step::Close { fd } => {
                self.open.remove(fd);
            }
            Step::Rename { from, to } => {
                assert_eq!(from.parent(), to.parent(), "renamed within a folder");
                self.name(from, |name| Naming::Rename(name, last(to)));
            }
            Step::Unlink { path } | Step::RemoveFolder { path } => {
                self.name(path, Naming::Remove);
            }
            Step::MakeFolder { path } => {
                self.folders.insert(path.clone(), Folder::default());
                self.name(path, |name| Naming::Put(name, Node::Folder));
            }
            Step::Out { .. } => {}
        }
    }

    fn change(&mut self, fd: u64, change: Change) {
        let (path, node) = &self.open[&fd];
        let Node::File(file) = node else { panic!("{} is a folder", path.display()) };
        self.files[*file].pending.push(change);
    }

    fn name(&mut self, path: &Path, naming: impl FnOnce(String) -> Naming) {
        let folder = self.folders.get_mut(path.parent().unwrap()).unwrap();
        folder.pending.push(naming(last(path)));
    }

    fn find(&self, path: &Path) -> Option<Node> {
        if self.folders.contains_key(path) {
            return Some(Node::Folder);
        }
        let folder = &self.folders[path.parent().unwrap()];
        names(folder, folder.pending.len()).get(&last(path)).cloned()
    }

    /// Writes to the empty folder `to` what a cut now leaves.
    pub(crate) fn write(&self, cut: Cut, random: &mut Random, to: &Path) {
        self.write_folder(&self.root, cut, random, to);
    }

    fn write_folder(&self, from: &Path, cut: Cut, random: &mut Random, to: &Path) {
        let folder = &self.folders[from];
        let kept = match cut {
            Cut::Nothing => 0,
            Cut::NamesOnly | Cut::Everything => folder.pending.len(),
            Cut::Parts => random.place(folder.pending.len() + 1),
        };
        for (name, node) in names(folder, kept) {
            match node {
                Node::Folder => {
                    fs::create_dir(to.join(&name)).unwrap();
                    self.write_folder(&from.join(&name), cut, random, &to.join(&name));
                }
                Node::File(file) => {
                    let content = &self.files[file];
                    fs::write(to.join(&name), content.after(cut, random)).unwrap();
                }
            }
        }
    }
}

impl Content {
    fn after(&self, cut: Cut, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        match cut {
            Cut::Nothing | Cut::NamesOnly => {}
            Cut::Everything => self.pending.iter().for_each(|change| apply(&mut bytes, change)),
            Cut::Parts => {
                let kept = random.place(self.pending.len() + 1);
                self.pending[..kept].iter().for_each(|change| apply(&mut bytes, change));
                if let Some(Change::Write(at, data)) = self.pending.get(kept) {
                    let torn = random.place(data.len() + 1);
                    apply(&mut bytes, &Change::Write(*at, data[..torn].to_vec()));
                }
            }
        }
        bytes
    }
}

fn last(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn names(folder: &Folder, kept: usize) -> BTreeMap<String, Node> {
    let mut names = folder.synced.clone();
    folder.pending[..kept].iter().for_each(|naming| rename(&mut names, naming));
    names
}

fn rename(names: &mut BTreeMap<String, Node>, naming: &Naming) {
    match naming {
        Naming::Put(name, node) => {
            names.insert(name.clone(), node.clone());
        }
        Naming::Remove(name) => {
            names.remove(name);
        }
        Naming::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => bytes.resize(*length, 0),
        Change::Write(at, data) => {
            if bytes.len() < at + data.len() {
                bytes.resize(at + data.len(), 0);
            }
            bytes[*at..at + data.len()].copy_from_slice(data);
        }
    }
}

#[test]
fn only_what_was_synced_is_certain() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let path = |name: &str| root.join(name);
    let write = |at: usize, text: &str| Step::Write { fd: 3, at, bytes: text.into() };
    let played = |steps: &[Step], cut: Cut| {
        let mut disk = Disk::new(root);
        steps.iter().for_each(|step| disk.play(step));
        let to = tempfile::tempdir().unwrap();
        disk.write(cut, &mut Random::new(1), to.path());
        fs::read_to_string(to.path().join("a")).ok()
    };
    let mut steps = vec![Step::Open { fd: 3, path: path("a"), truncate: false }, write(0, "one")];
    assert_eq!(played(&steps, Cut::Nothing), None);
    assert_eq!(played(&steps, Cut::NamesOnly), Some(String::new()));
    assert_eq!(played(&steps, Cut::Everything), Some("one".into()));
    steps.push(Step::Sync { fd: 3 });
    assert_eq!(played(&steps, Cut::Nothing), None, "its name is not");
    steps.push(Step::Open { fd: 4, path: root.into(), truncate: false });
    steps.push(Step::Sync { fd: 4 });
    steps.push(write(3, " two"));
    assert_eq!(played(&steps, Cut::Nothing), Some("one".into()));
    steps.push(Step::Rename { from: path("a"), to: path("b") });
    assert_eq!(played(&steps, Cut::Nothing), Some("one".into()));
    assert_eq!(played(&steps, Cut::NamesOnly), None);
}

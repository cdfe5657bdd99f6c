//! Tokens of a file: made, listed and revoked by an operator, looked up by the server. The file holds
//! digests, so reading it lets nobody in.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use moneta_storage::model::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::{Digest, Identity};
use crate::wire::time;

/// Random bytes of a token.
const SECRET_BYTES: usize = 32;
/// What a token begins with, so that people and scanners of repositories know it.
const SECRET_PREFIX: &str = "mnt_";
/// Longest file that is read: some ten thousand tokens.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// A token that was revoked is let in for so long at most.
const LOOK_AGAIN_MS: i64 = 1000;

/// A file of tokens.
#[derive(Clone, Debug)]
pub struct TokenFile {
    path: PathBuf,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The tenant it stands for.
    pub tenant: String,
    /// Names of roles; at least one.
    pub roles: Vec<String>,
    /// What it is for, in the operator's words.
    pub note: String,
    /// When it ends; `None`: when it is revoked.
    pub expires: Option<Timestamp>,
}

/// A token as it stands in the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// By which it is revoked. No secret.
    pub id: String,
    /// SHA-256 of the token.
    digest: String,
    /// The tenant it stands for.
    pub tenant: String,
    /// Names of roles.
    pub roles: Vec<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// When it was made, ISO 8601.
    pub created: String,
    /// When it ends, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// Why a file of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its answer.
        source: std::io::Error,
    },
    /// It is not what `moneta token` writes.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// What is asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    token: Vec<TokenEntry>,
}

const HEADING: &str = "# Tokens of moneta, written by `moneta token`. Only digests are kept.\n\n";

impl TokenFile {
    /// The file at `path`. It need not exist.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        TokenFile { path: path.to_path_buf() }
    }

    /// All tokens, in the order in which they were made.
    ///
    /// # Errors
    /// `Io` and `Malformed`. A file that is not there has none.
    pub fn list(&self) -> Result<Vec<TokenEntry>, TokenError> {
        let length = match fs::metadata(&self.path) {
            Ok(facts) => facts.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.io(source)),
        };
        if length > FILE_BYTES_MAX {
            return Err(self.malformed(format!("longer than {FILE_BYTES_MAX} bytes")));
        }
        let text = fs::read_to_string(&self.path).map_err(|source| self.io(source))?;
        // The text is not shown: it may be another file, with secrets in it.
        let document: Document = toml::from_str(&text)
            .map_err(|error| self.malformed(format!("no file of tokens: {}", error.message())))?;
        for entry in &document.token {
            entry.known().map_err(|message| self.malformed(message))?;
        }
        Ok(document.token)
    }

    /// Makes a token. It is returned this once and kept nowhere.
    ///
    /// # Errors
    /// `Invalid` for a wrong tenant, role or note, else as [`list`](Self::list).
    pub fn create(
        &self,
        new: NewToken,
        now: Timestamp,
    ) -> Result<(String, TokenEntry), TokenError> {
        check(&new)?;
        let _lock = self.lock()?;
        let mut tokens = self.list()?;
        let id = loop {
            let id = hexadecimal(&random::<4>()?);
            if tokens.iter().all(|token| token.id != id) {
                break id;
            }
        };
        let secret = format!("{SECRET_PREFIX}{}", hexadecimal(&random::<SECRET_BYTES>()?));
        let entry = TokenEntry {
            id,
            digest: Digest::of(secret.as_bytes()).to_string(),
            tenant: new.tenant,
            roles: new.roles,
            note: new.note,
            created: time::format_short(now),
            expires: new.expires.map(time::format_short),
        };
        tokens.push(entry.clone());
        self.write(tokens)?;
        Ok((secret, entry))
    }

    /// Revokes a token. `None` if there is none with this id.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn revoke(&self, id: &str) -> Result<Option<TokenEntry>, TokenError> {
        let _lock = self.lock()?;
        let mut tokens = self.list()?;
        let Some(at) = tokens.iter().position(|token| token.id == id) else { return Ok(None) };
        let revoked = tokens.remove(at);
        self.write(tokens)?;
        Ok(Some(revoked))
    }

    /// One at a time changes the file.
    fn lock(&self) -> Result<File, TokenError> {
        let path = self.path.with_extension("lock");
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        let lock = lock.map_err(|source| self.io(source))?;
        lock.lock().map_err(|source| self.io(source))?;
        Ok(lock)
    }

    /// Replaces the file as a whole, readable for its owner alone.
    fn write(&self, token: Vec<TokenEntry>) -> Result<(), TokenError> {
        let document = Document { token };
        let text = toml::to_string(&document).map_err(|e| self.malformed(e.to_string()))?;
        let new = self.path.with_extension("new");
        let written = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| {
                file.write_all(HEADING.as_bytes())?;
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&new, &self.path));
        written.map_err(|source| self.io(source))?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new(".")));
        folder.and_then(|folder| folder.sync_all()).map_err(|source| self.io(source))
    }

    fn io(&self, source: std::io::Error) -> TokenError {
        TokenError::Io { path: self.path.clone(), source }
    }

    fn malformed(&self, message: String) -> TokenError {
        TokenError::Malformed { path: self.path.clone(), message }
    }
}

fn check(new: &NewToken) -> Result<(), TokenError> {
    let is_text =
        |text: &str, max: usize| text.chars().count() <= max && !text.chars().any(char::is_control);
    let wrong = |text: &str| Err(TokenError::Invalid(text.to_owned()));
    if new.tenant.is_empty() || !is_text(&new.tenant, 255) {
        return wrong("a tenant name has 1 to 255 characters and no control characters");
    }
    if new.roles.is_empty() || new.roles.iter().any(|role| role.is_empty() || !is_text(role, 255)) {
        return wrong("a token has one role or more, each a name of 1 to 255 characters");
    }
    if !is_text(&new.note, 1000) {
        return wrong("a note has at most 1000 characters and no control characters");
    }
    Ok(())
}

fn random<const N: usize>() -> Result<[u8; N], TokenError> {
    let mut bytes = [0; N];
    let failed = |_| TokenError::Invalid("the system gives no random numbers".into());
    SystemRandom::new().fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the server knows of a token.
#[derive(Clone)]
struct Known {
    identity: Identity,
    expires: Option<Timestamp>,
}

impl TokenEntry {
    fn known(&self) -> Result<(Digest, Known), String> {
        let wrong = |what: &str| format!("token {}: {what} does not read", self.id);
        let digest = Digest::parse(&self.digest).ok_or_else(|| wrong("digest"))?;
        let expires = self.expires.as_deref().map(|text| {
            time::parse(text).map(|instant| instant.floor).ok_or_else(|| wrong("expires"))
        });
        let identity = Identity { tenant: self.tenant.as_str().into(), roles: self.roles.clone() };
        Ok((digest, Known { identity, expires: expires.transpose()? }))
    }
}

/// The tokens of a file as the server sees them: it follows the file.
pub(crate) struct Tokens {
    file: TokenFile,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    known: Arc<HashMap<Digest, Known>>,
    /// Of the file when it was read, or could not be.
    stamp: Option<Stamp>,
    looked: Timestamp,
}

/// Changes with every change of the file: each writes a new one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Tokens {
    /// Reads the file.
    pub(crate) fn open(file: TokenFile, now: Timestamp) -> Result<Self, TokenError> {
        let (stamp, known) = (file.stamp(), file.known()?);
        if known.is_empty() {
            tracing::warn!(path = %file.path.display(), "there is no token: nobody is let in");
        }
        Ok(Tokens {
            file,
            loaded: Mutex::new(Loaded { known: Arc::new(known), stamp, looked: now }),
        })
    }

    /// What a token stands for, if it is known and has not expired.
    pub(crate) fn identity(&self, digest: &Digest, now: Timestamp) -> Option<Identity> {
        let mut loaded = self.loaded.lock().expect("no code panics while it holds the tokens");
        let fresh = (0..LOOK_AGAIN_MS).contains(&(now.millis() - loaded.looked.millis()));
        // An unknown one may have been made a moment ago.
        if !fresh || !loaded.known.contains_key(digest) {
            loaded.looked = now;
            self.follow(&mut loaded);
        }
        let known = loaded.known.get(digest)?;
        let over = known.expires.is_some_and(|expires| expires <= now);
        (!over).then(|| known.identity.clone())
    }

    /// Reads the file again if it has changed. One that cannot be read changes nothing.
    fn follow(&self, loaded: &mut Loaded) {
        let stamp = self.file.stamp();
        if stamp == loaded.stamp {
            return;
        }
        loaded.stamp = stamp;
        match self.file.known() {
            Ok(known) => loaded.known = Arc::new(known),
            Err(error) => tracing::error!(%error, "tokens stay as they were"),
        }
    }
}

impl TokenFile {
    fn stamp(&self) -> Option<Stamp> {
        let facts = fs::metadata(&self.path).ok()?;
        let modified = (facts.mtime(), facts.mtime_nsec());
        Some(Stamp { inode: facts.ino(), bytes: facts.len(), modified })
    }

    fn known(&self) -> Result<HashMap<Digest, Known>, TokenError> {
        let entries = self.list()?;
        entries.iter().map(|entry| entry.known().map_err(|text| self.malformed(text))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(tenant: &str) -> NewToken {
        let roles = vec!["monasca-user".to_owned()];
        NewToken { tenant: tenant.into(), roles, note: "a \"test\"".into(), expires: None }
    }

    const NOW: Timestamp = Timestamp::from_millis(1_795_166_640_000);

    fn tenant_of(tokens: &Tokens, secret: &str, now: Timestamp) -> Option<String> {
        let identity = tokens.identity(&Digest::of(secret.as_bytes()), now);
        identity.map(|identity| identity.tenant.to_string())
    }

    #[test]
    fn tokens_are_made_followed_and_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::at(&folder.path().join("tokens.toml"));
        let tokens = Tokens::open(file.clone(), NOW).unwrap();
        assert_eq!(tenant_of(&tokens, "", NOW), None);
        let (first, entry) = file.create(new("a"), NOW).unwrap();
        let (second, _) = file.create(new("b"), NOW).unwrap();
        assert!(first.len() == 68 && first != second);
        assert_eq!(file.list().unwrap().first(), Some(&entry));
        assert_eq!(tenant_of(&tokens, &first, NOW).as_deref(), Some("a"), "known at once");
        assert_eq!(tenant_of(&tokens, &second, NOW).as_deref(), Some("b"));
        assert_eq!(tenant_of(&tokens, &first.to_uppercase(), NOW), None);
        assert_eq!(file.revoke("nothing").unwrap(), None);
        assert_eq!(file.revoke(&entry.id).unwrap(), Some(entry));
        assert_eq!(tenant_of(&tokens, &first, NOW.plus_millis(LOOK_AGAIN_MS)), None);
        assert_eq!(tenant_of(&tokens, &second, NOW).as_deref(), Some("b"));
    }

    #[test]
    fn tokens_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::at(&folder.path().join("tokens.toml"));
        let expires = Some(NOW.plus_millis(5000));
        let (secret, _) = file.create(NewToken { expires, ..new("a") }, NOW).unwrap();
        let tokens = Tokens::open(file, NOW).unwrap();
        assert!(tenant_of(&tokens, &secret, NOW.plus_millis(4999)).is_some());
        assert_eq!(tenant_of(&tokens, &secret, NOW.plus_millis(5000)), None);
    }

    #[test]
    fn the_file_holds_no_secret_and_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        let file = TokenFile::at(&path);
        let (secret, _) = file.create(new("a"), NOW).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(secret.strip_prefix(SECRET_PREFIX).unwrap()), "{text}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_spoilt_changes_nothing_and_shows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        let file = TokenFile::at(&path);
        let (secret, _) = file.create(new("a"), NOW).unwrap();
        let tokens = Tokens::open(file.clone(), NOW).unwrap();
        for text in ["password = \"xyzzy\"", "[[token]]\nid = 5", "\u{0}xyzzy"] {
            fs::write(&path, text).unwrap();
            assert!(tenant_of(&tokens, &secret, NOW.plus_millis(LOOK_AGAIN_MS)).is_some());
            let error = file.list().unwrap_err().to_string();
            assert!(error.contains("tokens.toml") && !error.contains("xyzzy"), "{error}");
            assert!(Tokens::open(file.clone(), NOW).is_err());
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::at(&folder.path().join("tokens.toml"));
        let check = |new: NewToken| {
            assert!(matches!(file.create(new, NOW), Err(TokenError::Invalid(_))));
        };
        check(new(""));
        check(new("a\nb"));
        check(NewToken { roles: Vec::new(), ..new("a") });
        check(NewToken { roles: vec![String::new()], ..new("a") });
        check(NewToken { note: "x".repeat(1001), ..new("a") });
        assert_eq!(file.list().unwrap(), []);
    }
}

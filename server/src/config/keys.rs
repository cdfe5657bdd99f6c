//! Every setting there is: name, kind, default, bounds, meaning. The example file and the check for
//! unknown names come from this table.

/// What a setting's value looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// `address:port`.
    Address,
    /// `true` or `false`.
    Switch,
    /// A whole number within these bounds.
    Number {
        /// Smallest.
        min: u64,
        /// Greatest.
        max: u64,
    },
    /// A list of whole numbers, each within these bounds.
    Numbers {
        /// Smallest.
        min: u64,
        /// Greatest.
        max: u64,
    },
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// `section.name`.
    pub(crate) name: &'static str,
    /// Kind and bounds.
    pub(crate) kind: Kind,
    /// The default as it would stand in the file; empty: found out at start.
    pub(crate) default: &'static str,
    /// What it does, for the example file.
    pub(crate) doc: &'static str,
}

impl Key {
    /// The environment variable that sets it: `MONETA_SERVER_LISTEN` for `server.listen`.
    pub(crate) fn variable(&self) -> String {
        format!("MONETA_{}", self.name.to_ascii_uppercase().replace('.', "_"))
    }
}

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default, doc }
}

const fn number(min: u64, max: u64) -> Kind {
    Kind::Number { min, max }
}

/// All settings, by section.
pub(crate) const KEYS: &[Key] = &[
    key(
        "server.listen",
        Kind::Address,
        "\"127.0.0.1:8070\"",
        "Address and port of every API. Port 0 takes a free one.",
    ),
    key(
        "server.tls.cert_file",
        Kind::Text,
        "\"\"",
        "Certificate, PEM, with those of the authorities in between: connections are TLS then. Read again\n\
         when it changes.",
    ),
    key("server.tls.key_file", Kind::Text, "\"\"", "Private key of the certificate, PEM."),
    key(
        "server.data_dir",
        Kind::Text,
        "",
        "Folder that holds all data. Default: $XDG_DATA_HOME/moneta, else ~/.local/share/moneta.",
    ),
    key(
        "server.region",
        Kind::Text,
        "\"\"",
        "Region of every series written here. At most 255 characters. Changing it starts new series.",
    ),
    key(
        "server.body_bytes_max",
        number(1024, 1 << 30),
        "33554432",
        "Longest request body, bytes. A longer one is answered 413.",
    ),
    key(
        "server.requests_max",
        number(1, 100_000),
        "512",
        "Requests handled at once. One more is answered 503 with Retry-After.",
    ),
    key(
        "server.connections_max",
        number(1, 1_000_000),
        "4096",
        "Connections open at once. One more waits until another is closed.",
    ),
    key(
        "server.allow_remote_without_auth",
        Kind::Switch,
        "false",
        "Serve other machines although anybody could then read and write every tenant. Needed to\n\
         listen on other than loopback addresses, and to be called by other than loopback host names.",
    ),
    key(
        "storage.durability",
        Kind::Text,
        "\"batch\"",
        "When a write is acknowledged. \"batch\": when it is synced to disk. \"os\": when the operating\n\
         system has it; a power cut then loses the last moments.",
    ),
    key(
        "storage.memory_mb",
        number(0, 1_048_576),
        "0",
        "Memory for recent samples, writes that wait and RocksDB's cache, megabytes, about. 0: a quarter\n\
         of what this machine or container has, at least 256 and at most 512. Less than 64 counts as 64.",
    ),
    key(
        "storage.live_log_mb",
        number(0, 65_536),
        "0",
        "Log that makes the head be written into segments, megabytes. 0: a sixth of memory_mb.",
    ),
    key(
        "storage.flush_age_seconds",
        number(1, 86_400),
        "7200",
        "Age of the oldest sample in the head that makes it be written into segments, seconds.",
    ),
    key(
        "storage.strict",
        Kind::Switch,
        "false",
        "Refuse to start when something acknowledged is damaged or missing. Otherwise the server starts\n\
         with the rest and says what is lost in its log, on /ready and on /metrics.",
    ),
    key(
        "storage.free_space_min",
        Kind::Text,
        "\"512MiB\"",
        "How much of the disk is kept free: bytes, with KiB, MiB, GiB or TiB, or a share such as \"5%\".\n\
         Below it samples are refused, 503 with Retry-After, until an eighth more is free. At least\n\
         twice live_log_mb counts. \"0\" does without.",
    ),
    key(
        "storage.keep_events_days",
        number(0, 36_500),
        "14",
        "How long events are kept, days. 0: for ever.",
    ),
    key(
        "storage.keep_transitions_days",
        number(0, 36_500),
        "0",
        "How long changes of alarms' states, their history, are kept, days. 0: for ever.",
    ),
    key(
        "limits.active_series",
        number(1, 4_000_000_000),
        "5000000",
        "Series of a tenant with a measurement today or yesterday. A write that would make more of\n\
         them is refused.",
    ),
    key(
        "limits.new_series_per_minute",
        number(1, 4_000_000_000),
        "6000000",
        "Series a tenant may create within a minute. A write beyond that is answered 429.",
    ),
    key(
        "limits.samples_per_second",
        number(1, 1_000_000_000),
        "5000000",
        "Measurements a tenant may send within a second, those of ten seconds at once if it was\n\
         quiet before. A write beyond that is answered 429.",
    ),
    key(
        "limits.dimensions",
        number(1, 100_000),
        "256",
        "Dimensions a series may have. A write with more is refused.",
    ),
    key(
        "auth.mode",
        Kind::Text,
        "\"none\"",
        "How callers are known. \"none\": not at all; they name their tenant by the header X-Project-Id.\n\
         \"tokens\": by tokens that `moneta token create` makes. \"keystone\": by tokens of OpenStack.\n\
         With the last two a caller's tenant is that of its token, and headers that name one are ignored.",
    ),
    key(
        "auth.tokens_file",
        Kind::Text,
        "\"\"",
        "File of tokens for mode \"tokens\". Default: tokens.toml in server.data_dir.",
    ),
    key(
        "auth.keystone.url",
        Kind::Text,
        "\"\"",
        "Address of Keystone for mode \"keystone\", as http://controller:5000. Clients are told of it.",
    ),
    key(
        "auth.keystone.username",
        Kind::Text,
        "\"monasca\"",
        "User that checks tokens. It needs a role that may do so: admin, or service in newer releases.",
    ),
    key(
        "auth.keystone.password",
        Kind::Text,
        "\"\"",
        "Its password. The variable MONETA_AUTH_KEYSTONE_PASSWORD keeps it out of files.",
    ),
    key("auth.keystone.user_domain_name", Kind::Text, "\"Default\"", "Domain of that user."),
    key("auth.keystone.project_name", Kind::Text, "\"service\"", "Project of that user."),
    key("auth.keystone.project_domain_name", Kind::Text, "\"Default\"", "Domain of that project."),
    key(
        "auth.keystone.ca_file",
        Kind::Text,
        "\"\"",
        "Authorities whose certificates are trusted, PEM. Default: those of this machine.",
    ),
    key(
        "auth.keystone.cache_seconds",
        number(1, 86_400),
        "300",
        "How long a token counts as checked. A token that is revoked is let in for so long at most. While\n\
         Keystone does not answer, tokens that are known go on until they end.",
    ),
    key(
        "auth.keystone.timeout_seconds",
        number(1, 60),
        "5",
        "How long an answer of Keystone may take.",
    ),
    key(
        "auth.roles.default",
        Kind::Text,
        "\"monasca-user\"",
        "Roles, with commas in between, that grant everything of the caller's tenant. Case does not matter.",
    ),
    key(
        "auth.roles.read_only",
        Kind::Text,
        "\"monasca-read-only-user\"",
        "Roles that grant reading.",
    ),
    key(
        "auth.roles.agent",
        Kind::Text,
        "\"monasca-agent\"",
        "Roles that grant writing measurements.",
    ),
    key(
        "auth.roles.delegate",
        Kind::Text,
        "\"admin\"",
        "Roles that allow, besides what others grant, to act for another tenant: tenant_id.",
    ),
    key(
        "auth.roles.admin",
        Kind::Text,
        "\"admin\"",
        "Roles that grant /admin and /metrics, for all tenants.",
    ),
    key("collector.enabled", Kind::Switch, "false", "Measure this machine and store the readings."),
    key("collector.interval_seconds", number(1, 3600), "10", "Between two readings, seconds."),
    key("collector.tenant", Kind::Text, "\"default\"", "Tenant that owns the readings."),
    key(
        "alarms.delay_seconds",
        number(0, 3600),
        "30",
        "How long after the end of a period late measurements are waited for, seconds.",
    ),
    key(
        "alarms.future_tolerance_seconds",
        number(0, 86_400),
        "60",
        "How far a measurement may lie ahead of the clock and still be judged at once, seconds.",
    ),
    key(
        "alarms.window_seconds_max",
        number(60, 31_536_000),
        "1209600",
        "Greatest period times periods of an expression, seconds.",
    ),
    key(
        "alarms.definitions_max",
        number(1, 10_000_000),
        "10000",
        "Alarm definitions a tenant may have.",
    ),
    key(
        "query.samples_max",
        number(1000, 1_000_000_000_000),
        "100000000",
        "Samples one query may read. A query that would read more is refused.",
    ),
    key(
        "notifications.periods_seconds",
        Kind::Numbers { min: 1, max: 86_400 },
        "[60]",
        "Periods of repetition a notification method may have besides 0, seconds.",
    ),
    key(
        "notifications.timeout_seconds",
        number(1, 60),
        "5",
        "How long one attempt to deliver a notification may take, seconds.",
    ),
    key(
        "notifications.ttl_seconds",
        number(60, 604_800),
        "14400",
        "Age of a state change after which nobody is told of it any more, seconds.",
    ),
    key(
        "notifications.destinations_parallel",
        number(1, 10_000),
        "64",
        "Notification methods that are served at the same time, one request each.",
    ),
    key(
        "notifications.allow_private",
        Kind::Switch,
        "true",
        "Whether notifications may go to loopback and internal networks.",
    ),
];

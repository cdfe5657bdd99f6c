//! Tests of settings: where they come from, what is refused, the example file.

use std::io::Write;

use super::*;

fn load(
    file: Option<&str>,
    environment: &[(&str, &str)],
    overrides: &[(&str, &str)],
) -> Result<Config, String> {
    let mut held = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    held.write_all(file.unwrap_or_default().as_bytes()).unwrap();
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    };
    let sources = ConfigSources {
        file: file.map(|_| held.path().to_path_buf()),
        environment: pairs(environment),
        overrides: pairs(overrides),
    };
    let path = held.path().display().to_string();
    Config::load(sources).map_err(|error| error.to_string().replace(&path, "FILE"))
}

const HOME: (&str, &str) = ("HOME", "/home/u");

#[test]
fn the_default_runs() {
    let config = load(None, &[HOME], &[]).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8070");
    assert_eq!(config.server.data_dir.to_str(), Some("/home/u/.local/share/moneta"));
    assert_eq!(config.server.body_bytes_max, 32 << 20);
    assert_eq!(config.alarms.delay_seconds, 30);
    assert_eq!(config.notifications.periods_seconds, [60]);
    assert_eq!(config.collector.tenant, "default");
    let config = load(None, &[HOME, ("XDG_DATA_HOME", "/d")], &[]).unwrap();
    assert_eq!(config.server.data_dir.to_str(), Some("/d/moneta"));
}

#[test]
fn later_sources_win() {
    let file = "[server]\nlisten = \"127.0.0.1:1\"\nregion = \"r\"\nrequests_max = 7";
    let environment = [HOME, ("MONETA_SERVER_LISTEN", "127.0.0.1:2"), ("MONETA_URL", "http://x")];
    let overrides = [("server.requests_max", "9"), ("notifications.periods_seconds", "[30, 60]")];
    let config = load(Some(file), &environment, &overrides).unwrap();
    assert_eq!(config.server.listen.port(), 2);
    assert_eq!(config.server.region, "r");
    assert_eq!(config.server.requests_max, 9);
    assert_eq!(config.notifications.periods_seconds, [30, 60]);
}

#[test]
fn mistakes_are_named_with_their_source() {
    let check = |file: Option<&str>, env: &[(&str, &str)], set: &[(&str, &str)], want: &str| {
        let mut environment = vec![HOME];
        environment.extend(env);
        assert_eq!(load(file, &environment, set).unwrap_err(), want);
    };
    let bounds = "must be a whole number from 1 to 100000";
    check(
        Some("[server]\nlistn = \"x\""),
        &[],
        &[],
        "FILE: unknown setting server.listn; did you mean server.listen?",
    );
    check(Some("[zzz]\nq = 1"), &[], &[], "FILE: unknown setting zzz.q");
    check(
        Some("[server]\nrequests_max = 0"),
        &[],
        &[],
        &format!("FILE: server.requests_max {bounds}"),
    );
    check(
        None,
        &[],
        &[("collector.tenant", "")],
        "command line: collector.tenant must have 1 to 255 characters, no control characters",
    );
    check(Some("[server]\nlisten = 5"), &[], &[], "FILE: server.listen must be a text");
    check(
        None,
        &[("MONETA_SERVER_LISTN", "x")],
        &[],
        "environment: unknown setting MONETA_SERVER_LISTN; did you mean MONETA_SERVER_LISTEN?",
    );
    check(
        None,
        &[("MONETA_SERVER_REQUESTS_MAX", "many")],
        &[],
        &format!("environment variable MONETA_SERVER_REQUESTS_MAX: server.requests_max {bounds}"),
    );
    check(
        None,
        &[],
        &[("colector.enabled", "true")],
        "command line: unknown setting colector.enabled; did you mean collector.enabled?",
    );
    check(
        None,
        &[],
        &[("collector.enabled", "yes")],
        "command line: collector.enabled must be true or false",
    );
    check(
        None,
        &[],
        &[("auth.mode", "basic")],
        "command line: auth.mode must be \"none\", \"tokens\" or \"keystone\"",
    );
    check(
        None,
        &[],
        &[("auth.mode", "keystone")],
        "default: auth.keystone.url must be an address as http://host:5000",
    );
    check(
        Some("[auth]\nmode = \"keystone\"\n[auth.keystone]\nurl = \"http://k\""),
        &[],
        &[],
        "default: auth.keystone.password must be set; MONETA_AUTH_KEYSTONE_PASSWORD keeps it out of \
         files",
    );
    check(
        Some("[auth.keystone]\nusernam = \"x\""),
        &[],
        &[],
        "FILE: unknown setting auth.keystone.usernam; did you mean auth.keystone.username?",
    );
    check(
        Some("[auth.keyston]\nurl = \"x\""),
        &[],
        &[],
        "FILE: unknown setting auth.keyston; did you mean auth.keystone.url?",
    );
    check(
        None,
        &[],
        &[("server.listen", "8070")],
        "command line: server.listen must be an address and a port, as 127.0.0.1:8070",
    );
    let syntax = load(Some("[server"), &[HOME], &[]).unwrap_err();
    assert!(syntax.starts_with("FILE: "), "{syntax}");
}

#[test]
fn callers_are_known_as_the_settings_say() {
    let text = "[auth]\nmode = \"keystone\"\nroles.default = \"a, b,\"\n\
                [auth.keystone]\nurl = \"http://k:5000\"";
    let environment = [HOME, ("MONETA_AUTH_KEYSTONE_PASSWORD", "xyzzy")];
    let remote = [("server.listen", "0.0.0.0:8070")];
    let config = load(Some(text), &environment, &remote).unwrap();
    let AuthMode::Keystone(keystone) = &config.auth.mode else { panic!("{:?}", config.auth) };
    assert_eq!((keystone.url.as_str(), keystone.password.reveal()), ("http://k:5000", "xyzzy"));
    assert_eq!(config.auth.roles.default, ["a", "b"]);
    assert_eq!(config.auth.roles.agent, ["monasca-agent"]);
    assert!(!format!("{config:?}").contains("xyzzy"), "{config:?}");
    let config = load(None, &[HOME], &[("auth.mode", "tokens"), remote[0]]).unwrap();
    assert_eq!(config.auth.mode, AuthMode::Tokens);
    assert_eq!(config.auth.tokens_file.to_str(), Some("/home/u/.local/share/moneta/tokens.toml"));
}

#[test]
fn free_space_is_bytes_or_a_share() {
    let check = |text: &str, want: Option<FreeSpace>| {
        let loaded = load(None, &[HOME], &[("storage.free_space_min", text)]);
        assert_eq!(loaded.ok().map(|config| config.storage.free_space_min), want, "{text}");
    };
    check("0", Some(FreeSpace::Bytes(0)));
    check("1000", Some(FreeSpace::Bytes(1000)));
    check("512MiB", Some(FreeSpace::Bytes(512 << 20)));
    check("2 TiB", Some(FreeSpace::Bytes(2 << 40)));
    check("5%", Some(FreeSpace::Percent(5)));
    for wrong in ["", "MiB", "-1", "5MB", "0%", "100%", "1.5GiB", "99999999999999999999"] {
        check(wrong, None);
    }
    check("99999999999TiB", None);
}

#[test]
fn other_machines_are_served_only_when_asked_for() {
    let error = load(None, &[HOME], &[("server.listen", "0.0.0.0:8070")]).unwrap_err();
    assert!(error.contains("server.allow_remote_without_auth = true"), "{error}");
    let allowed = [("server.listen", "0.0.0.0:8070"), ("server.allow_remote_without_auth", "true")];
    assert!(load(None, &[HOME], &allowed).is_ok());
}

#[test]
fn the_data_directory_must_be_known() {
    assert!(load(None, &[], &[]).unwrap_err().starts_with("server.data_dir is not set"));
    assert!(load(None, &[], &[("server.data_dir", "/d")]).is_ok());
}

/// `UPDATE=1` writes the file anew.
#[test]
fn the_example_file_is_current_and_loads() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/moneta.example.toml");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, example()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), example());
    let uncommented: String = example()
        .lines()
        .filter(|line| !line.starts_with("# "))
        .map(|line| format!("{}\n", line.trim_start_matches('#')))
        .collect();
    let mut want = load(None, &[HOME], &[]).unwrap();
    want.server.data_dir = "…".into();
    want.auth.tokens_file = "…/tokens.toml".into();
    assert_eq!(load(Some(&uncommented), &[HOME], &[]).unwrap(), want);
}

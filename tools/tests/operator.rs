//! The commands of an operator, as processes, on a server with a real store and a clock that stands
//! still.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::{Command, Output};

use moneta_server::{Config, ConfigSources, Running, start};
use moneta_storage::clock::ManualClock;
use moneta_storage::model::Timestamp;
use serde_json::{Value, json};

/// 2026-11-20T09:24:00Z
const NOW: i64 = 1_795_166_640_000;

struct Server {
    running: Running,
    folder: PathBuf,
}

/// What a command has said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        self.out.parse().unwrap_or_else(|_| panic!("{}{}", self.out, self.err))
    }
}

impl Server {
    async fn start(name: &str) -> Server {
        let folder = std::env::temp_dir().join(format!("moneta-{name}-{}", std::process::id()));
        let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let config = Config::load(ConfigSources {
            overrides: vec![
                set("server.data_dir", folder.to_str().unwrap()),
                set("server.listen", "127.0.0.1:0"),
            ],
            ..ConfigSources::default()
        });
        let clock = ManualClock::at(Timestamp::from_millis(NOW));
        Server { running: start(config.unwrap(), clock).await.unwrap(), folder }
    }

    async fn stop(self) {
        self.running.shutdown().await.unwrap();
        std::fs::remove_dir_all(&self.folder).unwrap();
    }

    /// `moneta` with these arguments and of the environment only these variables.
    async fn run_as(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moneta"));
        command.args(arguments).env_clear().envs(variables.iter().copied());
        command.env("MONETA_URL", format!("http://{}", self.running.address()));
        let Output { status, stdout, stderr } =
            tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: status.code(), out: text(stdout), err: text(stderr) }
    }

    async fn run(&self, arguments: &[&str]) -> Said {
        self.run_as(&[], arguments).await
    }

    /// A command that has to succeed.
    async fn done(&self, arguments: &[&str]) -> Said {
        let said = self.run(arguments).await;
        assert_eq!(said.code, Some(0), "{arguments:?}: {}{}", said.out, said.err);
        said
    }

    /// A command that has to fail, and what it has to say.
    async fn fails(&self, arguments: &[&str], code: i32, text: &str) {
        let said = self.run(arguments).await;
        assert_eq!(said.code, Some(code), "{arguments:?}: {}{}", said.out, said.err);
        assert!(said.err.contains(text), "{arguments:?}: {}", said.err);
    }

    async fn write(&self, metric: &str, time: &str) {
        self.done(&["write", metric, "1.5", "-d", "host=a", "--time", time]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_set_with_their_rollups() {
    let server = Server::start("policies").await;
    server.write("cpu.idle", "2026-11-17T09:00:00Z").await;
    let rolled = ["--rollup", "1h=2y", "--rollup", "5m=90d"];
    let set = server.done(&[&["retention", "set", "cpu.*", "5d"][..], &rolled].concat()).await;
    assert!(set.out.contains("5m=90d 1h=730d"), "{}", set.out);
    let rollups = json!([{"step": "5m", "keep": "90d"}, {"step": "1h", "keep": "730d"}]);
    let policy = json!({"tenant": null, "metric": "cpu.*", "keep": "5d", "rollups": rollups});
    let shown = server.done(&["retention", "get", "-o", "json"]).await;
    assert_eq!(shown.json(), json!([policy]));
    let why = server.done(&["retention", "explain", "cpu.idle"]).await;
    assert!(why.out.contains("5m=90d 1h=730d") && why.err.contains("kept 5d"), "{}", why.out);

    // What was shown is a file that can be set.
    let file = server.folder.join("policies.json");
    std::fs::write(&file, shown.out).unwrap();
    server.done(&["retention", "unset", "cpu.*"]).await;
    server.done(&["retention", "set", "--file", file.to_str().unwrap()]).await;
    assert_eq!(server.done(&["retention", "get", "-o", "json"]).await.json(), json!([policy]));

    // What removes something has to be meant.
    let shorter = ["retention", "set", "cpu.*", "1d"];
    server.fails(&shorter, 1, "this removes 1 samples and 0 days of rollups for good").await;
    assert_eq!(server.done(&["retention", "get", "-o", "json"]).await.json(), json!([policy]));
    let plan = server.done(&["retention", "plan", "cpu.*", "1d", "-o", "json"]).await.json();
    assert_eq!(plan.pointer("/0/samples"), Some(&json!(1)), "{plan}");
    server.done(&[&shorter[..], &["--yes"]].concat()).await;
    server.done(&["retention", "apply"]).await;
    let tenants = server.done(&["tenant", "list", "-o", "json"]).await.json();
    assert_eq!(tenants, json!([{"name": "default", "series": 0}]));

    let set = ["retention", "set", "*", "30d", "--rollup"];
    let bad = "the step of a rollup is 5m or 1h, not \"10m\"";
    server.fails(&[&set[..], &["10m=1y"]].concat(), 1, bad).await;
    server.fails(&[&set[..], &["5m"]].concat(), 1, "as 1h=1y, not \"5m\"").await;
    server.fails(&["retention", "set", "*", "30"], 1, "keep must be a span").await;
    server.fails(&["retention", "set", "*"], 2, "required").await;
    server.fails(&["retention", "unset", "mem.*"], 1, "there is no such policy").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_says_who_has_removed_what() {
    let server = Server::start("records").await;
    let number = |status: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
        format!("uid {}", line.split_ascii_whitespace().next().unwrap())
    };
    let number = number(&std::fs::read_to_string("/proc/self/status").unwrap());
    let delete = ["delete", "cpu.idle", "--tenant", "default", "--yes"];
    for (variables, who) in [
        (&[("USER", "carol"), ("LOGNAME", "dave")][..], "carol"),
        (&[("LOGNAME", "dave")], "dave"),
        (&[("USER", "")], number.as_str()),
        (&[], number.as_str()),
    ] {
        server.write("cpu.idle", "2026-11-20T09:00:00Z").await;
        let said = server.run_as(variables, &[&delete[..], &["-o", "json"]].concat()).await;
        assert_eq!(said.json().pointer("/0/by"), Some(&json!(who)), "{variables:?}");
    }
    let nothing = ["delete", "cpu.user", "--tenant", "default"];
    server.fails(&[&nothing[..], &["--yes"]].concat(), 1, "no series with samples there").await;
    let said = server.done(&nothing).await;
    assert!(said.err.contains("no series with samples there is selected"), "{}", said.err);
    server.fails(&nothing[..1], 1, "name the tenant with --tenant").await;
    server.fails(&["delete", "--tenant", "default"], 1, "or say --all-series").await;
    server.fails(&["deletions", "9"], 1, "refused: 404 Not Found: there is no deletion 9").await;
    server.done(&["retention", "apply"]).await;
    server.fails(&["deletions", "1", "--cancel"], 1, "deletion 1 has ended").await;
    server.write("cpu.idle", "2026-11-20T09:00:00Z").await;
    server.fails(&["tenant", "delete", "nobody", "--yes"], 1, "no tenant is called nobody").await;
    server.done(&["tenant", "delete", "default"]).await;
    let all = server.done(&["deletions", "-o", "json"]).await.json();
    assert_eq!(all.as_array().unwrap().len(), 4, "without --yes nothing goes");
    server.done(&["tenant", "delete", "default", "--yes"]).await;
    let all = server.done(&["deletions", "-o", "json"]).await.json();
    assert_eq!(all.pointer("/4/by"), Some(&json!(number)), "{all}");
    server.stop().await;
}

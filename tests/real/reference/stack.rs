//! The reference: monasca-api 11 under gunicorn, monasca-persister 9, InfluxDB 1.6.7, MariaDB 10.11, and
//! the mock of Kafka that librdkafka brings along.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use moneta_tests::installed;
use moneta_tests::process::{free_port, terminate};
use moneta_tests::wait::until;
use tempfile::TempDir;

/// Serves the broker, and hands on what comes as lines of a topic, a tab and a record.
const KAFKA: &str = r#"
import sys, confluent_kafka
producer = confluent_kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "none"})
producer.poll(0)
for topic in sys.argv[1:]:
    metadata = producer.list_topics(topic=topic, timeout=30)
print(["%s:%d" % (broker.host, broker.port) for broker in metadata.brokers.values()][0], flush=True)
for line in sys.stdin:
    topic, record = line.rstrip("\n").split("\t", 1)
    producer.produce(topic, record)
    producer.flush(30)
"#;

/// The service without Keystone: who calls stands in the headers.
const PIPELINE: &str = "[DEFAULT]\nname = monasca_api\n[pipeline:main]\npipeline = request_id api\n\
    [app:api]\npaste.app_factory = monasca_api.api.server:launch\n[filter:request_id]\n\
    paste.filter_factory = oslo_middleware.request_id:RequestId.factory\n";

/// All processes of the reference, ended with the value.
pub(crate) struct Reference {
    url: String,
    records: ChildStdin,
    processes: Vec<Child>,
    folder: TempDir,
}

impl Drop for Reference {
    fn drop(&mut self) {
        // The last that came depends on the others.
        self.processes.iter_mut().rev().for_each(terminate);
    }
}

impl Reference {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path();
        let mut processes = vec![influxdb(place).await, mariadb(place).await];
        sql(place, "", "CREATE DATABASE mon CHARACTER SET utf8mb4");
        let topics = ["metrics", "events", "alarm-state-transitions"];
        let mut kafka = Command::new(python("python"))
            .args(["-c", KAFKA])
            .args(topics)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log(place, "kafka"))
            .spawn()
            .unwrap();
        let mut broker = String::new();
        BufReader::new(kafka.stdout.take().unwrap()).read_line(&mut broker).unwrap();
        let broker = broker.trim();
        assert!(!broker.is_empty(), "{}", said(place, "kafka"));
        let records = kafka.stdin.take().unwrap();
        processes.push(kafka);
        processes.push(api(place, broker));
        processes.push(persister(place, broker));
        let port = port_of(place, "api");
        let reference =
            Reference { url: format!("http://127.0.0.1:{port}"), records, processes, folder };
        wait_for("the API", || answers(port, "/healthcheck"), || said(reference.place(), "api"))
            .await;
        reference
    }

    fn place(&self) -> &Path {
        self.folder.path()
    }

    /// Where the API answers, without `/v2.0`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What the API and the persister wrote into their logs last.
    pub(crate) fn logs(&self) -> String {
        ["api", "persister"].map(|name| said(self.place(), name)).join("\n")
    }

    /// Runs statements in the database of alarms.
    pub(crate) fn sql(&self, statements: &str) {
        sql(self.place(), "mon", statements);
    }

    /// Publishes a record, JSON in one line.
    pub(crate) fn publish(&mut self, topic: &str, record: &str) {
        writeln!(self.records, "{topic}\t{record}").unwrap();
    }
}

/// A program of the Python environment of the reference.
fn python(name: &str) -> PathBuf {
    installed::program("reference-1", name)
}

fn log(place: &Path, name: &str) -> fs::File {
    fs::File::create(place.join(format!("{name}.log"))).unwrap()
}

/// The end of a log.
fn said(place: &Path, name: &str) -> String {
    let text = fs::read(place.join(format!("{name}.log"))).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    format!("{name}: {}", lines[lines.len().saturating_sub(30)..].join("\n"))
}

/// A free port, remembered under a name.
fn take_port(place: &Path, name: &str) -> u16 {
    let port = free_port();
    fs::write(place.join(format!("{name}.port")), port.to_string()).unwrap();
    port
}

fn port_of(place: &Path, name: &str) -> u16 {
    fs::read_to_string(place.join(format!("{name}.port"))).unwrap().parse().unwrap()
}

async fn wait_for(what: &str, done: impl Fn() -> bool, said: impl Fn() -> String) {
    until(what, async || if done() { Ok(()) } else { Err(said()) }).await;
}

/// Whether a GET is answered with a success.
fn answers(port: u16, path: &str) -> bool {
    exchange(port, "GET", path, "").is_some_and(|answer| answer.starts_with("HTTP/1.1 20"))
}

fn exchange(port: u16, method: &str, path: &str, body: &str) -> Option<String> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).ok()?;
    Some(answer)
}

async fn influxdb(place: &Path) -> Child {
    let port = take_port(place, "influxdb");
    let (rpc, folder) = (take_port(place, "influxdb-rpc"), place.display());
    let settings = format!(
        "bind-address = \"127.0.0.1:{rpc}\"\nreporting-disabled = true\n\
         [meta]\ndir = \"{folder}/influxdb/meta\"\n\
         [data]\ndir = \"{folder}/influxdb/data\"\nwal-dir = \"{folder}/influxdb/wal\"\n\
         [http]\nbind-address = \"127.0.0.1:{port}\"\nlog-enabled = false\n"
    );
    fs::write(place.join("influxdb.conf"), settings).unwrap();
    let process = Command::new(installed::program("peers/influxdb/usr", "influxd"))
        .arg("-config")
        .arg(place.join("influxdb.conf"))
        .stdout(Stdio::null())
        .stderr(log(place, "influxdb"))
        .spawn()
        .unwrap();
    wait_for("InfluxDB", || answers(port, "/ping"), || said(place, "influxdb")).await;
    let made = exchange(port, "POST", "/query", "q=CREATE DATABASE mon").unwrap();
    assert!(made.starts_with("HTTP/1.1 200"), "{made}");
    process
}

/// A program of MariaDB's packages, which are unpacked and not installed.
fn maria(program: &str) -> Command {
    let mut command = Command::new(installed::path(&format!("mariadb-1/usr/{program}")));
    command.env("LD_LIBRARY_PATH", libraries());
    command.arg("--no-defaults");
    command
}

/// The folder of its libraries, called by the kind of machine.
fn libraries() -> PathBuf {
    let mut folders = fs::read_dir(installed::path("mariadb-1/usr/lib")).unwrap().flatten();
    let of_machine = |name: &OsString| name.to_string_lossy().ends_with("-linux-gnu");
    folders.find(|entry| of_machine(&entry.file_name())).unwrap().path()
}

async fn mariadb(place: &Path) -> Child {
    let root = installed::path("mariadb-1");
    let options = [
        format!("--basedir={}/usr", root.display()),
        format!("--datadir={}/mariadb", place.display()),
        format!("--lc-messages-dir={}/usr/share/mysql", root.display()),
    ];
    let owner = Command::new("id").arg("-un").output().unwrap().stdout;
    let owner = format!("--user={}", String::from_utf8(owner).unwrap().trim());
    let made = maria("bin/mariadb-install-db")
        .args(&options[..2])
        .args([&owner, "--auth-root-authentication-method=normal", "--skip-test-db"])
        .stdout(Stdio::null())
        .stderr(log(place, "mariadb-install"))
        .status()
        .unwrap();
    assert!(made.success(), "{}", said(place, "mariadb-install"));
    let process = maria("sbin/mariadbd")
        .args(&options)
        .args([&owner, "--skip-networking"])
        .arg(format!("--socket={}/mariadb.sock", place.display()))
        .stdout(Stdio::null())
        .stderr(log(place, "mariadb"))
        .spawn()
        .unwrap();
    let socket = place.join("mariadb.sock");
    wait_for("MariaDB", || socket.exists(), || said(place, "mariadb")).await;
    process
}

#[track_caller]
fn sql(place: &Path, database: &str, statements: &str) {
    let output = maria("bin/mariadb")
        .args(["--user=root", &format!("--socket={}/mariadb.sock", place.display())])
        .args(["--execute", statements, database])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn api(place: &Path, broker: &str) -> Child {
    let (port, folder) = (take_port(place, "api"), place.display());
    let influxdb = port_of(place, "influxdb");
    let settings = format!(
        "[DEFAULT]\nregion = RegionOne\n[database]\n\
         connection = mysql+pymysql://root@localhost/mon?unix_socket={folder}/mariadb.sock\n\
         [influxdb]\ndatabase_name = mon\nip_address = 127.0.0.1\nport = {influxdb}\n\
         user = mon_api\npassword = password\n[kafka]\nuri = {broker}\n[messaging]\n\
         driver = monasca_api.common.messaging.kafka_publisher:KafkaPublisher\n\
         [security]\ndefault_authorized_roles = monasca-user\n"
    );
    fs::write(place.join("monasca-api.conf"), settings).unwrap();
    fs::write(place.join("api-config.ini"), PIPELINE).unwrap();
    let module = format!(
        "import sys\nsys.argv = ['monasca-api', '--config-file', '{folder}/monasca-api.conf']\n\
         from monasca_api.api.server import get_wsgi_app\n\
         application = get_wsgi_app(config_base_path='{folder}')\n"
    );
    fs::write(place.join("reference_api.py"), module).unwrap();
    let tables = Command::new(python("monasca_db"))
        .args(["--config-file", &format!("{folder}/monasca-api.conf"), "upgrade"])
        .current_dir(place)
        .stdout(Stdio::null())
        .stderr(log(place, "tables"))
        .status()
        .unwrap();
    assert!(tables.success(), "{}", said(place, "tables"));
    let types = "INSERT INTO notification_method_type VALUES ('EMAIL'), ('WEBHOOK'), ('PAGERDUTY')";
    sql(place, "mon", types);
    Command::new(python("gunicorn"))
        .args(["--bind", &format!("127.0.0.1:{port}"), "--workers", "1", "--threads", "4"])
        .args(["--graceful-timeout", "1", "reference_api:application"])
        .current_dir(place)
        .stdout(Stdio::null())
        .stderr(log(place, "api"))
        .spawn()
        .unwrap()
}

fn persister(place: &Path, broker: &str) -> Child {
    let port = port_of(place, "influxdb");
    let settings = format!(
        "[kafka]\nmax_wait_time_seconds = 1\n[kafka_metrics]\nuri = {broker}\nbatch_size = 5\n\
         [kafka_alarm_history]\nuri = {broker}\nbatch_size = 1\n[influxdb]\ndatabase_name = mon\n\
         ip_address = 127.0.0.1\nport = {port}\nuser = mon_persister\npassword = password\n"
    );
    fs::write(place.join("persister.conf"), settings).unwrap();
    Command::new(python("monasca-persister"))
        .args(["--config-file", &format!("{}/persister.conf", place.display())])
        .current_dir(place)
        .stdout(Stdio::null())
        .stderr(log(place, "persister"))
        .spawn()
        .unwrap()
}

//! A real Keystone 30 on SQLite, in a folder of its test.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use crate::process::{free_port, terminate};
use crate::{installed, wait};

const ENVIRONMENT: &str = "keystone-1";
/// Of the administrator, who has the role `admin` on the project `admin`.
const ADMIN_PASSWORD: &str = "adminpw";
/// Of every user that is made.
pub const PASSWORD: &str = "pw";

/// A Keystone, ended with its value.
///
/// Its methods panic when Keystone does not do what they ask: then no test can go on.
pub struct Keystone {
    /// Until it is stopped.
    process: Option<Child>,
    url: String,
    client: Client,
}

impl Drop for Keystone {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Keystone {
    /// Starts one, with files in `folder`, which exists, and waits until it answers. It knows the
    /// administrator, and a role for each of the defaults of Keystone.
    ///
    /// # Panics
    /// If it is not installed or does not start.
    pub async fn start(folder: &Path) -> Self {
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}/v3");
        for keys in ["fernet", "credential"] {
            fs::create_dir(folder.join(keys)).expect("a folder for keys");
        }
        let place = folder.display();
        let settings = format!(
            "[DEFAULT]\nlog_file = {place}/keystone.log\n\
             [database]\nconnection = sqlite:///{place}/keystone.db\n\
             [token]\nprovider = fernet\n[fernet_tokens]\nkey_repository = {place}/fernet\n\
             [fernet_receipts]\nkey_repository = {place}/fernet\n\
             [credential]\nkey_repository = {place}/credential\n\
             [identity]\npassword_hash_rounds = 4\n"
        );
        fs::write(folder.join("keystone.conf"), settings).expect("settings of Keystone");
        let owner = Command::new("id").arg("-un").output().expect("the user's name").stdout;
        let owner = String::from_utf8_lossy(&owner).trim().to_owned();
        let own = ["--keystone-user", &owner, "--keystone-group", &owner];
        for (command, arguments) in [
            ("db_sync", [].as_slice()),
            ("fernet_setup", &own),
            ("credential_setup", &own),
            ("bootstrap", &["--bootstrap-password", ADMIN_PASSWORD]),
        ] {
            let output = installed::command(ENVIRONMENT, "keystone-manage", folder)
                .args(["--config-file", &format!("{place}/keystone.conf"), command])
                .args(arguments)
                .output()
                .expect("keystone-manage");
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "keystone-manage {command}: {text}");
        }
        // Keystone reads the arguments of its process as its own, so that there may be none.
        let options = format!(
            "bind = '127.0.0.1:{port}'\nworkers = 2\ngraceful_timeout = 1\n\
             wsgi_app = 'keystone.wsgi.api:application'\n\
             raw_env = ['OS_KEYSTONE_CONFIG_DIR={place}']\n"
        );
        fs::write(folder.join("gunicorn.conf.py"), options).expect("settings of gunicorn");
        let log = fs::File::create(folder.join("gunicorn.log")).expect("a log of gunicorn");
        let process = installed::command(ENVIRONMENT, "gunicorn", folder)
            .env("GUNICORN_CMD_ARGS", format!("-c {place}/gunicorn.conf.py"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("gunicorn");
        // The client library needs a choice of cryptography, also where it speaks without.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(Duration::from_secs(30)).build().expect("a client");
        let keystone = Keystone { process: Some(process), url, client };
        wait::until("Keystone starts", async || {
            let answer = keystone.client.get(&keystone.url).send().await;
            let log = || fs::read_to_string(folder.join("gunicorn.log")).unwrap_or_default();
            answer.map(drop).map_err(|_| log())
        })
        .await;
        keystone
    }

    /// Its address, with the version.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it and its workers; it can be asked nothing any more.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        terminate(&mut process);
    }

    /// A token of a user, for a project or for none.
    ///
    /// # Panics
    /// If there is none for this user.
    pub async fn token(&self, user: &str, password: &str, project: Option<&str>) -> String {
        let domain = json!({"id": "default"});
        let user = json!({"name": user, "domain": domain, "password": password});
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        let scope = match project {
            Some(project) => json!({"project": {"name": project, "domain": domain}}),
            None => json!("unscoped"),
        };
        let body = json!({"auth": {"identity": identity, "scope": scope}});
        let request = self.client.post(format!("{}/auth/tokens", self.url)).json(&body);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 201, "a token");
        let token = answer.headers().get("x-subject-token").and_then(|token| token.to_str().ok());
        token.expect("a token in the header").to_owned()
    }

    /// A token of the administrator, as the next methods take it.
    pub async fn admin(&self) -> String {
        self.token("admin", ADMIN_PASSWORD, Some("admin")).await
    }

    /// Makes something, such as a `project`; its id.
    ///
    /// # Panics
    /// If it cannot be made.
    pub async fn make(&self, admin: &str, kind: &str, body: Value) -> String {
        let target = format!("/{kind}s");
        let answer = self.ask(admin, Method::POST, &target, Some(json!({kind: body})), 201).await;
        let body: Value = answer.json().await.expect("what was made");
        let id = body.get(kind).and_then(|made| made.get("id")).and_then(Value::as_str);
        id.expect("its id").to_owned()
    }

    /// Makes a user with roles on a project, these as ids; its id. Its password is [`PASSWORD`].
    ///
    /// # Panics
    /// If it cannot be made.
    pub async fn user(&self, admin: &str, name: &str, project: &str, roles: &[&str]) -> String {
        let user = self.make(admin, "user", json!({"name": name, "password": PASSWORD})).await;
        for role in roles {
            let target = format!("/projects/{project}/users/{user}/roles/{role}");
            self.ask(admin, Method::PUT, &target, None, 204).await;
        }
        user
    }

    /// The id of a role that is there from the beginning.
    ///
    /// # Panics
    /// If it is not.
    pub async fn role(&self, admin: &str, name: &str) -> String {
        let answer = self.ask(admin, Method::GET, &format!("/roles?name={name}"), None, 200).await;
        let body: Value = answer.json().await.expect("roles");
        let id = body.pointer("/roles/0/id").and_then(Value::as_str);
        id.expect("the id of the role").to_owned()
    }

    /// Revokes a token.
    ///
    /// # Panics
    /// If it cannot be revoked.
    pub async fn revoke(&self, admin: &str, token: &str) {
        let request = self.client.delete(format!("{}/auth/tokens", self.url));
        let request = request.header("x-auth-token", admin).header("x-subject-token", token);
        assert_eq!(request.send().await.expect("an answer").status(), 204, "revoked");
    }

    /// Revokes all tokens of a user, given by its id: it is shut out and let in again.
    ///
    /// # Panics
    /// If they cannot be revoked.
    pub async fn revoke_all(&self, admin: &str, user: &str) {
        for enabled in [false, true] {
            let body = json!({"user": {"enabled": enabled}});
            self.ask(admin, Method::PATCH, &format!("/users/{user}"), Some(body), 200).await;
        }
    }

    async fn ask(
        &self,
        admin: &str,
        method: Method,
        target: &str,
        body: Option<Value>,
        want: u16,
    ) -> Response {
        let request = self.client.request(method, format!("{}{target}", self.url));
        let mut request = request.header("x-auth-token", admin);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), want, "{target}");
        answer
    }
}

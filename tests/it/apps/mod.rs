//! Applications, as a stranger makes them from the README alone: its own pieces, and two shops, a migration and a form.

mod answers;
mod form;
mod migration;
mod pieces;
mod shop;
mod showing;
mod storefront;

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tokio::time::Instant;

use crate::harness::app::{WAIT_MAX, poll_delay};
use crate::harness::process::{Home, ServerProcess, reserve_port};
use crate::harness::token::SECRET;
use crate::harness::tool::{Tool, require};

const README: &str = include_str!("../../../README.md");

/// The sections that apps are made from.
fn sections() -> &'static str {
    let (_, sections) = README.split_once("\n## From an app\n").expect("they begin");
    sections.split_once("\n## Performance\n").expect("they end").0
}

/// The block of those sections that is called `name`, behind its language.
fn piece(name: &str) -> &'static str {
    let (_, block) = sections().split_once(&format!(" {name}\n")).unwrap_or_else(|| panic!("README has no {name}"));
    block.split_once("```").expect("it ends").0
}

/// What npm has installed for apps. None where it has not.
fn node_modules() -> Option<PathBuf> {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-servers/node/node_modules");
    let is_complete = ["jose", "standardwebhooks"].iter().all(|library| modules.join(library).is_dir());
    require(Tool::TestServers, is_complete.then_some(modules))
}

/// An app's directory: a server for it, started and told of the app by the README's commands.
struct Workshop {
    home: Home,
    server: ServerProcess,
    /// Where apps and pages reach the server, in place of port 8080.
    entrance: SocketAddr,
    /// Where the app is to listen, in place of port 5173.
    page: SocketAddr,
    /// What stands at the entrance, if the server itself doesn't.
    _gate: Option<Listening>,
}

impl Workshop {
    async fn open() -> Self {
        Self::open_with(&[]).await
    }

    async fn open_with(settings: &[(&str, &str)]) -> Self {
        Self::start(settings, false).await
    }

    /// One whose server is reached through `gate.mjs`, which counts what comes and can hold it back.
    async fn open_behind_a_gate() -> Self {
        Self::start(&[], true).await
    }

    async fn start(settings: &[(&str, &str)], has_gate: bool) -> Self {
        // Its first start makes the keys, and callbacks go nowhere unless the README's line has it so.
        let ours = [("PIXERVE_JWT_SECRET", ""), ("PIXERVE_CALLBACK_ALLOW", "")];
        let all: Vec<_> = ours.into_iter().chain(settings.iter().copied()).collect();
        let (home, page) = (Home::new(&all), reserve_port());
        put(&home.root().join("jwt.json"), json!({ "secret": SECRET }).to_string());
        let entrance = if has_gate { reserve_port() } else { home.addr };
        let start = adapted("start.sh", entrance, page);
        let start = start.trim().strip_suffix(" make run").expect("settings, and the command that starts it");
        let shown: Vec<_> = start.split(' ').map(|setting| setting.split_once('=').expect("a setting")).collect();
        let server = home.start_with(&shown).await;
        let mut workshop = Self { home, server, entrance, page, _gate: None };
        if has_gate {
            let gate = workshop.open_gate().await;
            workshop = Self { _gate: Some(gate), ..workshop };
        }
        workshop.run_piece("register.sh");
        workshop
    }

    async fn open_gate(&self) -> Listening {
        self.put("gate.mjs", include_str!("gate.mjs"));
        let mut gate = self.run("node");
        gate.args(["gate.mjs", &self.entrance.port().to_string(), &self.home.addr.to_string()]);
        self.listen(gate, self.entrance).await
    }

    /// Where the server is, as the README has it.
    fn base(&self) -> String {
        format!("http://localhost:{}", self.entrance.port())
    }

    /// A piece of the README with the ports of this test.
    fn adapted(&self, name: &str) -> String {
        adapted(name, self.entrance, self.page)
    }

    /// Runs a piece of the README that bash understands.
    fn run_piece(&self, name: &str) {
        self.run_bash(&self.adapted(name));
    }

    fn run_bash(&self, commands: &str) {
        let ended = self.run("bash").args(["-eu", "-c", commands]).output().expect("bash runs");
        assert!(ended.status.success(), "{commands}: {}", String::from_utf8_lossy(&ended.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.root().join(name)
    }

    /// Writes a file of the app.
    fn put(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        put(&path, contents);
        path
    }

    /// Gives the app these libraries.
    fn install(&self, node_modules: &Path) {
        symlink(node_modules, self.path("node_modules")).expect("made");
    }

    /// Gives the app's pages the file that draws placeholders.
    fn install_thumbhash(&self) {
        let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-servers/browser/node_modules/thumbhash");
        self.put("thumbhash.js", fs::read(library.join("thumbhash.js")).expect("npm has installed it"));
    }

    /// A program that is run in the app's directory, with what apps are told by the environment, and nothing else.
    #[expect(clippy::disallowed_methods, reason = "PATH is no setting")]
    fn run(&self, program: impl AsRef<OsStr>) -> Command {
        let pixerve = Path::new(env!("CARGO_BIN_EXE_pixerve")).parent().expect("a directory").display();
        let path = format!("{pixerve}:{}", std::env::var("PATH").expect("a PATH"));
        let mut command = Command::new(program);
        command.current_dir(self.home.root()).env_clear().env("PATH", path);
        command.env("PIXERVE", self.base()).env("PORT", self.page.port().to_string());
        command
    }

    /// Starts a program that listens at `page`, and waits until it does.
    async fn serve(&self, program: Command) -> Listening {
        self.listen(program, self.page).await
    }

    async fn listen(&self, mut program: Command, at: SocketAddr) -> Listening {
        let log = self.path(&format!("{}.log", at.port()));
        let output = fs::File::create(&log).expect("a file");
        let mut child = program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).spawn().expect("it starts");
        let started = Instant::now();
        while tokio::net::TcpStream::connect(at).await.is_err() {
            let told = || fs::read_to_string(&log).unwrap_or_default();
            assert!(child.try_wait().expect("its state").is_none(), "it ended: {}", told());
            assert!(started.elapsed() < WAIT_MAX, "it doesn't listen: {}", told());
            poll_delay().await;
        }
        Listening(child)
    }
}

/// A piece of the README with the server at this port, and the app at that.
fn adapted(name: &str, server: SocketAddr, page: SocketAddr) -> String {
    let ports = [(":8080", server.port()), (":5173", page.port())];
    ports.iter().fold(piece(name).to_owned(), |text, (from, to)| text.replace(from, &format!(":{to}")))
}

#[expect(clippy::disallowed_methods, reason = "durability is not what is tested")]
fn put(path: &Path, contents: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a directory")).and_then(|()| fs::write(path, contents)).expect("written");
}

/// A program that runs until this is dropped.
struct Listening(Child);

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of code between comments that say `Pixerve` and `the ...`.
fn glue(app: &str) -> usize {
    let (mut is_glue, mut lines) = (false, 0);
    for line in app.lines().map(str::trim) {
        let said = line.trim_matches(['/', '#', '<', '!', '-', '>', ' ']);
        match said {
            _ if line.is_empty() => {}
            "Pixerve" => is_glue = true,
            _ if said.starts_with("the ") && said != line => is_glue = false,
            _ if line.starts_with("//") || line.starts_with('#') => {}
            _ => lines += usize::from(is_glue),
        }
    }
    lines
}

#[test]
fn what_apps_have_to_say_to_pixerve_is_short() {
    let lines = [include_str!("shop.mjs"), include_str!("migrate.py"), include_str!("form.php")].map(glue);
    let storefront = [include_str!("storefront/store.mjs"), include_str!("storefront/page.js")].map(glue);
    println!(
        "lines of glue in the shop, the migration and the form: {lines:?}; in the storefront and its pages: {storefront:?}"
    );
    // Before jobs had `ref`, `redirect` and `onDuplicate`, and answers said what became of callbacks.
    let before = [105, 55, 30];
    assert!(lines.iter().zip(before).all(|(now, before)| *now < before), "{lines:?}");
}

#[test]
fn no_piece_of_the_sections_is_left_out_of_the_tests() {
    let fences = sections().lines().filter_map(|line| line.strip_prefix("```")).filter(|info| !info.is_empty());
    let names: Vec<_> = fences.map(|info| info.split_once(' ').map_or(info, |(_, name)| name)).collect();
    let run = ["start.sh", "register.sh"].iter().chain(&pieces::RUN).chain(&answers::SHOWN).chain(&["public.conf"]);
    // The manifest that is shown is no piece: what it says of files is cut short.
    let run = run.chain(&showing::SHOWN).chain(&["json"]);
    let mut run: Vec<_> = run.copied().collect();
    let mut shown = names.clone();
    run.sort_unstable();
    shown.sort_unstable();
    assert_eq!(shown, run);
}

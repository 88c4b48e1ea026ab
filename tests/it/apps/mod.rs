//! Applications, as a stranger makes them from the README alone: its own pieces, and a shop, a migration and a form.

mod answers;
mod form;
mod migration;
mod pieces;
mod shop;

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

/// The section that apps are made from.
fn section() -> &'static str {
    let (_, section) = README.split_once("\n## From an app\n").expect("it begins");
    section.split_once("\n## ").expect("it ends").0
}

/// The block of the section that is called `name`, behind its language.
fn piece(name: &str) -> &'static str {
    let (_, block) = section().split_once(&format!(" {name}\n")).unwrap_or_else(|| panic!("README has no {name}"));
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
    /// Where the app is to listen, in place of port 5173.
    page: SocketAddr,
}

impl Workshop {
    async fn open() -> Self {
        Self::open_with(&[]).await
    }

    async fn open_with(settings: &[(&str, &str)]) -> Self {
        let page = reserve_port();
        let start = piece("start.sh").replace(":5173", &format!(":{}", page.port()));
        let start = start.trim().strip_suffix(" make run").expect("settings, and the command that starts it");
        let shown = start.split(' ').map(|setting| setting.split_once('=').expect("a setting"));
        // Its first start makes the keys, and callbacks go nowhere unless the README's line has it so.
        let ours = [("PIXERVE_JWT_SECRET", ""), ("PIXERVE_CALLBACK_ALLOW", "")];
        let all: Vec<_> = ours.into_iter().chain(shown).chain(settings.iter().copied()).collect();
        let home = Home::new(&all);
        put(&home.root().join("jwt.json"), json!({ "secret": SECRET }).to_string());
        let server = home.start().await;
        let workshop = Self { home, server, page };
        let registered = workshop.run("bash").args(["-eu", "-c", &workshop.adapted("register.sh")]).output();
        let registered = registered.expect("bash runs");
        assert!(registered.status.success(), "{}", String::from_utf8_lossy(&registered.stderr));
        workshop
    }

    /// Where the server is, as the README has it.
    fn base(&self) -> String {
        format!("http://localhost:{}", self.home.addr.port())
    }

    /// A piece of the README with the ports of this test.
    fn adapted(&self, name: &str) -> String {
        let ports = [(":8080", self.home.addr.port()), (":5173", self.page.port())];
        ports.iter().fold(piece(name).to_owned(), |text, (from, to)| text.replace(from, &format!(":{to}")))
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
    async fn serve(&self, mut program: Command) -> Listening {
        let output = fs::File::create(self.path("app.log")).expect("a file");
        let mut child = program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).spawn().expect("it starts");
        let started = Instant::now();
        while tokio::net::TcpStream::connect(self.page).await.is_err() {
            let told = || fs::read_to_string(self.path("app.log")).unwrap_or_default();
            assert!(child.try_wait().expect("its state").is_none(), "it ended: {}", told());
            assert!(started.elapsed() < WAIT_MAX, "it doesn't listen: {}", told());
            poll_delay().await;
        }
        Listening(child)
    }
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
    println!("lines of glue in the shop, the migration and the form: {lines:?}");
    // Before jobs had `ref`, `redirect` and `onDuplicate`, and answers said what became of callbacks.
    let before = [105, 55, 30];
    assert!(lines.iter().zip(before).all(|(now, before)| *now < before), "{lines:?}");
}

#[test]
fn no_piece_of_the_section_is_left_out_of_the_tests() {
    let fences = section().lines().filter_map(|line| line.strip_prefix("```")).filter(|info| !info.is_empty());
    let names: Vec<_> = fences.map(|info| info.split_once(' ').map_or(info, |(_, name)| name)).collect();
    let run = ["start.sh", "register.sh"].iter().chain(&pieces::RUN).chain(&answers::SHOWN).chain(&["public.conf"]);
    let mut run: Vec<_> = run.copied().collect();
    let mut shown = names.clone();
    run.sort_unstable();
    shown.sort_unstable();
    assert_eq!(shown, run);
}

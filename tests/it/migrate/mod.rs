//! An installation that moves from one machine to many nodes, and back: the program itself, killed and run again, between servers in
//! processes of their own.

mod presets;
mod private;
mod refusals;
mod thousand;

use std::process::Output;

use pixerve::app::Destination;

use crate::harness::app::TestApp;
use crate::harness::cluster::Cluster;
use crate::harness::process::Home;

type Settings<'a> = &'a [(&'a str, &'a str)];

/// One machine, and what nodes would share.
struct Homes {
    cluster: Cluster,
    machine: Home,
}

impl Homes {
    /// Both, with nothing in either; none where Redis isn't installed.
    async fn new(settings: Settings<'_>) -> Option<Self> {
        Some(Self { cluster: Cluster::start().await?, machine: Home::new(settings) })
    }

    /// What every node is given: the sealing keys of the machine, and no directory of its own to serve.
    fn settings(&self) -> Vec<(&'static str, String)> {
        let of_machine = ["PIXERVE_SERVE_DIR", "PIXERVE_PRIVATE_DIR", "PIXERVE_VAULT_KEY_FILE"];
        let mut settings = self.cluster.settings();
        settings.retain(|(name, _)| !of_machine.contains(name));
        settings.push(("PIXERVE_VAULT_KEY_FILE", self.machine.data_dir().join("vault.key").display().to_string()));
        settings.push(("PIXERVE_SERVE", "bucket".to_owned()));
        settings
    }

    /// `pixerve migrate` beside the home of this machine.
    async fn migrate_by(&self, machine: &Home, to: Destination, arguments: &[&str], further: Settings<'_>) -> Output {
        let mut command = machine.command(&[&["migrate", "--to", to.as_str()], arguments].concat());
        command.envs(self.settings()).envs(further.iter().copied());
        tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("no panic")
    }

    async fn migrate(&self, to: Destination, further: Settings<'_>) -> Output {
        self.migrate_by(&self.machine, to, &[], further).await
    }

    /// The same, which has to succeed: what it said of itself.
    async fn moved(&self, to: Destination) -> String {
        let output = self.migrate(to, &[]).await;
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// A node in the test's process.
    async fn node(&self, further: Settings<'_>) -> TestApp {
        let settings = self.settings();
        let all: Vec<_> =
            settings.iter().map(|(name, value)| (*name, value.as_str())).chain(further.iter().copied()).collect();
        TestApp::start_with(&all).await
    }

    /// A place for a node in a process of its own.
    fn node_home(&self, further: Settings<'_>) -> Home {
        let settings = self.settings();
        let all: Vec<_> =
            settings.iter().map(|(name, value)| (*name, value.as_str())).chain(further.iter().copied()).collect();
        Home::new(&all)
    }
}

fn said(output: &Output) -> String {
    [String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout)].concat()
}

/// That a server of this home ends at once with the exit code of what needs somebody, and says these words.
async fn refuses_to_start(home: &Home, words: &[&str]) {
    let mut server = home.spawn(&[]);
    let status = server.exited().await;
    let said = home.terminal();
    assert_eq!(status.code(), Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "{word} in {said}");
    }
}

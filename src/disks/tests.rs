use std::fs;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

struct Roots {
    dirs: TempDir,
    health: DiskHealth,
    _running: tokio::task::JoinHandle<()>,
}

impl Roots {
    fn watched(floor_bytes: u64) -> Self {
        let dirs = TempDir::new().expect("a directory");
        let roots = RootKind::ALL.map(|kind| (kind, dirs.path().join(kind.name())));
        for (_, dir) in &roots {
            fs::create_dir(dir).expect("made");
        }
        let (health, monitor) = watch(roots, floor_bytes).expect("all can be written");
        Self { dirs, health, _running: tokio::spawn(monitor.run(CancellationToken::new())) }
    }

    async fn until(&self, is_so: impl Fn(&DiskHealth) -> bool) {
        let changed = self.health.wait(is_so);
        timeout(Duration::from_mins(1), changed).await.expect("it comes to that");
    }
}

#[tokio::test]
async fn a_directory_that_goes_is_noticed_and_so_is_its_return() {
    let roots = Roots::watched(0);
    assert!(roots.health.is_usable() && !roots.health.below_floor());
    for kind in [RootKind::Serve, RootKind::Private] {
        let directory = roots.dirs.path().join(kind.name());
        fs::remove_dir(&directory).expect("nothing is left in it");
        roots.health.recheck();
        roots.until(|health| !health.is_usable()).await;
        assert_eq!(roots.health.root(RootKind::Data).trouble, None);
        let trouble = roots.health.root(kind).trouble.expect("it is told");
        assert!(trouble.contains(kind.setting()), "{trouble}");

        fs::create_dir(&directory).expect("made");
        timeout(Duration::from_mins(1), roots.health.wait_usable()).await.expect("its return is noticed by itself");
        assert_eq!(fs::read_dir(&directory).expect("listed").count(), 0, "a probe leaves nothing");
    }
}

#[tokio::test]
async fn a_data_directory_in_the_place_of_another_is_not_used() {
    let roots = Roots::watched(0);
    let data = roots.dirs.path().join("data");
    crate::durable::rename(&data, &data.with_extension("away")).expect("moved");
    fs::create_dir(&data).expect("made");
    roots.health.recheck();
    roots.until(|health| !health.is_usable()).await;
    fs::remove_dir(&data).expect("nothing was written there");
    crate::durable::rename(&data.with_extension("away"), &data).expect("moved back");
    timeout(Duration::from_mins(1), roots.health.wait_usable()).await.expect("it is the old one again");
}

#[tokio::test]
async fn who_waits_for_room_waits_while_less_than_the_floor_is_free() {
    let roots = Roots::watched(u64::MAX);
    assert!(roots.health.is_usable() && roots.health.below_floor());
    assert!(futures_util::poll!(Box::pin(roots.health.wait_room())).is_pending());
    let roots = Roots::watched(1);
    roots.health.wait_room().await;
}

#[test]
fn a_look_that_does_not_end_counts_as_failed() {
    let dirs = TempDir::new().expect("a directory");
    let directory = ProbedDirectory::open(RootKind::Data, dirs.path().to_owned()).expect("it is there");
    let prober = Prober::start(directory, Ok(())).expect("a thread");
    let mut state = prober.state();
    assert_eq!(health_of(state.clone()).trouble, None);
    state.looking_since = tokio::time::Instant::now().checked_sub(ANSWER_TIMEOUT * 2);
    assert!(health_of(state).trouble.is_some());
    prober.stop();
}

#[test]
fn a_directory_that_is_not_there_is_an_error_that_says_which_and_what_to_do() {
    let dirs = TempDir::new().expect("a directory");
    let roots = [(RootKind::Data, dirs.path().to_owned()), (RootKind::Serve, dirs.path().join("gone"))];
    let error = watch(roots, 0).err().expect("an error").to_string();
    for word in ["serve directory", "gone", "PIXERVE_SERVE_DIR"] {
        assert!(error.contains(word), "{error}");
    }
}

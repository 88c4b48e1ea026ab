//! The `pixerve` command: command line in, exit code out.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use pixerve::app::{
    self, Destination, HealthOptions, MigrateOptions, NewKeys, ServeOptions, ServerHealth, StartError, TokenOptions,
};
use pixerve::auth::Scope;
use pixerve::config::{Config, ConfigErrors, Warning};
use pixerve::error_chain::ErrorChain;
use pixerve::failpoint;
use pixerve::job::job_schema;
use pixerve::sandbox;
use pixerve::telemetry::{self, TelemetryError, TraceExport};
use pixerve::version::VERSION_LINE;
use rustix::fs::Mode;
use secrecy::ExposeSecret;
use url::Url;

/// A self-hosted image-ingestion server: upload, convert, store, tell.
#[derive(Parser)]
#[command(name = "pixerve", version = VERSION_LINE, about)]
struct Cli {
    /// TOML file with settings; config/default.toml lists them all
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (the default)
    Serve(ServeArgs),
    /// Print a token signed with the key of this server
    Token(TokenArgs),
    /// Print the secret that callbacks of jobs signed with the keys of jwt.json are signed with
    WebhookSecret(WebhookSecretArgs),
    /// Make the keys that many nodes share: jwt.json, which signs tokens, and vault.key, which seals secrets
    Keys(KeysArgs),
    /// Move everything that one machine keeps to where many nodes keep it, or back, while no server runs on either; whatever stops it, run
    /// it again
    Migrate(MigrateArgs),
    /// Ask the running server how it is: exit code 0 if it is ready, 1 if not, 4 if it can't be reached
    Health(HealthArgs),
}

#[derive(Args, Default)]
struct ServeArgs {
    /// Show a page to try the server on, sign tokens for it, and print where it is, and a command that does the same
    #[arg(long, hide = true)]
    demo: bool,
}

#[derive(Args)]
struct WebhookSecretArgs {
    /// Make a new one first; the one before signs too for another day
    #[arg(long)]
    rotate: bool,
}

#[derive(Args)]
struct KeysArgs {
    /// Directory to make both files in; what is there already is never overwritten
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

#[derive(Args)]
struct MigrateArgs {
    /// Where to: nodes (PIXERVE_QUEUE_URL, PIXERVE_SPOOL_URL) or machine (PIXERVE_DATA_DIR); settings name both
    #[arg(long, value_name = "HOME", value_parser = destination)]
    to: Destination,
    /// Only say what there is to move, and whether it can be moved
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
struct HealthArgs {
    /// Only whether it answers; without this, whether it should be sent requests
    #[arg(long)]
    live: bool,
    /// Address of the server; by default the one it listens on by its settings
    #[arg(long, value_name = "URL", value_parser = server_url)]
    server: Option<Url>,
}

#[derive(Args)]
struct TokenArgs {
    /// Subject (`sub`) of the token: the owner of its jobs
    #[arg(long, value_name = "S", default_value = "local")]
    sub: String,
    /// Add the admin scope, which allows to register users and stores and to list records: --scope admin
    #[arg(long, conflicts_with = "scope")]
    admin: bool,
    /// Add a scope: manage (the subject's own jobs and callbacks), manage-user (those of every subject) or admin
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    /// Lifetime of the token
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// JSON file with the job of the token: formats, stores, callback; - reads it from the standard input
    #[arg(long, value_name = "FILE")]
    job: Option<PathBuf>,
    /// Print the JSON Schema of such a job instead, for editors and other checks
    #[arg(long, conflicts_with_all = ["sub", "admin", "ttl", "job"])]
    schema: bool,
}

/// The exit code of whatever another start may get past.
const EXIT_FAILED: u8 = 1;
/// The exit code of what stays until somebody changes a setting, or a file that a setting names: a service manager needn't
/// try again.
const EXIT_SETTINGS: u8 = 2;
/// The exit code where no server answers.
const EXIT_UNREACHABLE: u8 = 4;

/// For threads that are still at work when the server has stopped.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);

/// Threads that may wait for a disk at once. Each has a stack of 2 MiB: a thousand readers must not cost a gigabyte.
const BLOCKING_THREADS_MAX: usize = 96;

fn main() -> ExitCode {
    // A child reads no settings and no command line of a person's.
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(sandbox::SUBCOMMAND) {
        return sandbox::child_main(&arguments.collect::<Vec<_>>());
    }
    // What whoever started us left open is none of our children's business. Our own descriptors never are.
    close_fds::set_fds_cloexec(3, &[]);
    failpoint::arm();
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pixerve: {}", ErrorChain(error.as_ref()));
            let is_about_settings = error.is::<ConfigErrors>() || error.is::<TelemetryError>();
            ExitCode::from(if is_about_settings { EXIT_SETTINGS } else { EXIT_FAILED })
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let (config, warnings) = Config::from_process(cli.config.as_deref())?;
    match cli.command.unwrap_or(Command::Serve(ServeArgs::default())) {
        Command::Serve(args) => serve(config, &warnings, &args),
        Command::Token(args) => token(&config, &warnings, args),
        Command::WebhookSecret(args) => webhook_secret(&config, &warnings, &args),
        Command::Keys(args) => keys(&args),
        Command::Migrate(args) => migrate(&config, &warnings, &args),
        Command::Health(args) => health(&config, &warnings, args),
    }
}

fn serve(config: Config, warnings: &[Warning], args: &ServeArgs) -> anyhow::Result<ExitCode> {
    // What sled makes too is its owner's alone; what is served gets its permissions by itself.
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let log = telemetry::init(&config.log)?;
    for warning in warnings {
        tracing::warn!(warning = warning.to_string(), "setting ignored or changed");
    }
    let traces = TraceExport::start();
    let options = ServeOptions { demo: args.demo };
    let runtime = runtime()?;
    runtime.spawn(log.dropped_lines().log());
    let served = runtime.block_on(app::serve(config, options));
    traces.end();
    // An encoder in the middle of a picture can't be stopped; nobody waits for what it makes.
    runtime.shutdown_timeout(EXIT_TIMEOUT);
    match served {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            // Where logs go, the reason for the end belongs too.
            tracing::error!(error = %ErrorChain(error.as_ref()), "server failed");
            let is_about_settings = error.downcast_ref().is_some_and(StartError::is_about_settings);
            Ok(ExitCode::from(if is_about_settings { EXIT_SETTINGS } else { EXIT_FAILED }))
        }
    }
}

fn token(config: &Config, warnings: &[Warning], args: TokenArgs) -> anyhow::Result<ExitCode> {
    tell(warnings);
    let TokenArgs { sub, admin, scope, ttl, job, schema } = args;
    if schema {
        print(&format!("{:#}", job_schema())).context("writing the schema to standard output")?;
        return Ok(ExitCode::SUCCESS);
    }
    let scope = if admin { Some(Scope::Admin) } else { scope };
    let token = app::token(config, TokenOptions { sub, scope, ttl, job })?;
    print(&token).context("writing the token to standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn webhook_secret(config: &Config, warnings: &[Warning], args: &WebhookSecretArgs) -> anyhow::Result<ExitCode> {
    tell(warnings);
    let secret = runtime()?.block_on(app::webhook_secret(config, args.rotate))?;
    print(secret.expose_secret()).context("writing the secret to standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the settings that take them, as a file of variables has them.
fn keys(args: &KeysArgs) -> anyhow::Result<ExitCode> {
    let NewKeys { signing_keys, sealing_keys } = app::keys(&args.dir)?;
    let (signing_keys, sealing_keys) = (signing_keys.display(), sealing_keys.display());
    let said = format!(
        "# Give every node both files, and keep a backup of them.\nPIXERVE_JWT_FILE={signing_keys}\nPIXERVE_VAULT_KEY_FILE={sealing_keys}"
    );
    print(&said).context("writing to standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// Tells how far it is as a server tells what it does.
fn migrate(config: &Config, warnings: &[Warning], args: &MigrateArgs) -> anyhow::Result<ExitCode> {
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let _log = telemetry::init(&config.log)?;
    tell(warnings);
    let options = MigrateOptions { to: args.to, dry_run: args.dry_run };
    match runtime()?.block_on(app::migrate(config, options)) {
        Ok(migrated) => {
            print(&migrated.to_string()).context("writing to standard output")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            tracing::error!(error = %ErrorChain(&error), "migration stopped");
            Ok(ExitCode::from(if error.is_about_settings() { EXIT_SETTINGS } else { EXIT_FAILED }))
        }
    }
}

fn health(config: &Config, warnings: &[Warning], args: HealthArgs) -> anyhow::Result<ExitCode> {
    tell(warnings);
    let HealthArgs { live, server } = args;
    let health = match runtime()?.block_on(app::health(config, HealthOptions { server, live })) {
        Ok(health) => health,
        Err(error) => {
            // 1 would say that the server isn't ready.
            eprintln!("pixerve: {}", ErrorChain(error.as_ref()));
            return Ok(ExitCode::from(EXIT_SETTINGS));
        }
    };
    let (said, code) = match health {
        ServerHealth::Good if live => ("alive".to_owned(), ExitCode::SUCCESS),
        ServerHealth::Good => ("ready".to_owned(), ExitCode::SUCCESS),
        ServerHealth::Bad(said) => (format!("not ready: {said}"), ExitCode::from(EXIT_FAILED)),
        ServerHealth::Unreachable(why) => (format!("not reachable: {why}"), ExitCode::from(EXIT_UNREACHABLE)),
    };
    print(&said).context("writing to standard output")?;
    Ok(code)
}

fn destination(text: &str) -> Result<Destination, String> {
    let all = [Destination::Nodes, Destination::Machine];
    all.into_iter().find(|to| to.as_str() == text).ok_or_else(|| "must be nodes or machine".to_owned())
}

fn server_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| "must be such as http://127.0.0.1:8080".to_owned())
}

fn tell(warnings: &[Warning]) {
    for warning in warnings {
        eprintln!("pixerve: {warning}");
    }
}

/// `println!` would panic where a full disk or a closed pipe is at the other end.
fn print(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .context("the runtime can't be started")
}

//! The `pixerve` command: command line in, exit code out.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use pixerve::app::{self, Destination, MigrateOptions, NewKeys, ServeOptions, StartError};
use pixerve::auth::Scope;
use pixerve::cli::{self, CliError, ClientCommand, CompletionsArgs, Exit, ManArgs, TokenOptions};
use pixerve::config::{Config, ConfigErrors};
use pixerve::error_chain::ErrorChain;
use pixerve::failpoint;
use pixerve::job::job_schema;
use pixerve::sandbox;
use pixerve::telemetry::{self, TelemetryError, TraceExport};
use pixerve::version::VERSION_LINE;
use rustix::fs::Mode;
use secrecy::ExposeSecret;

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
    #[command(flatten)]
    Client(Box<ClientCommand>),
    /// Print what a shell completes this command line by
    Completions(CompletionsArgs),
    /// Print a page of the manual, or write all of them
    Man(ManArgs),
}

const SERVE_EXAMPLES: &str = "\
Examples:
  pixerve serve                                      with the settings of PIXERVE_... and the defaults
  pixerve serve --config /etc/pixerve/pixerve.toml   with those of a file
  PIXERVE_ADDR=127.0.0.1:9000 pixerve serve          where it listens";

#[derive(Args, Default)]
#[command(after_help = SERVE_EXAMPLES)]
struct ServeArgs {
    /// Show a page to try the server on, sign tokens for it, and print where it is, and a command that does the same
    #[arg(long, hide = true)]
    demo: bool,
}

const WEBHOOK_SECRET_EXAMPLES: &str = "\
Examples:
  pixerve webhook-secret             what a receiver checks callbacks with: whsec_...
  pixerve webhook-secret --rotate    a new one; callbacks bear both signatures for a day";

#[derive(Args)]
#[command(after_help = WEBHOOK_SECRET_EXAMPLES)]
struct WebhookSecretArgs {
    /// Make a new one first; the one before signs too for another day
    #[arg(long)]
    rotate: bool,
}

const KEYS_EXAMPLES: &str = "\
Examples:
  pixerve keys                       jwt.json and vault.key in this directory
  pixerve keys --dir /etc/pixerve    in another, to be copied to each node";

#[derive(Args)]
#[command(after_help = KEYS_EXAMPLES)]
struct KeysArgs {
    /// Directory to make both files in; what is there already is never overwritten
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

const MIGRATE_EXAMPLES: &str = "\
Examples:
  pixerve migrate --to nodes --dry-run    what there is to move from this machine
  pixerve migrate --to nodes              move it to Redis and the bucket
  pixerve migrate --to machine            move everything back";

#[derive(Args)]
#[command(after_help = MIGRATE_EXAMPLES)]
struct MigrateArgs {
    #[arg(
        long,
        value_name = "HOME",
        value_parser = destination,
        help = "Where to: nodes (PIXERVE_QUEUE_URL, PIXERVE_SPOOL_URL) or machine (PIXERVE_DATA_DIR); settings name both"
    )]
    to: Destination,
    /// Only say what there is to move, and whether it can be moved
    #[arg(long)]
    dry_run: bool,
}

const TOKEN_EXAMPLES: &str = "\
Examples:
  pixerve token --sub alice --job job.json             uploads what the job says, as alice
  pixerve token --sub alice --scope manage --ttl 5m    lists, retries and erases alice's jobs
  pixerve token --sub alice --read /private/...        reads that file of alice's; one that ends in / all below it
  pixerve token --schema > job.schema.json             what a job may say";

#[derive(Args)]
#[command(after_help = TOKEN_EXAMPLES)]
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
    /// Have it read private files of the subject, and do nothing else: a location (/private/...), or a prefix that ends in /; may be
    /// given up to 32 times
    #[arg(long, value_name = "PATH", conflicts_with_all = ["admin", "scope", "job"])]
    read: Vec<String>,
    /// Lifetime of the token
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// JSON file with the job of the token: formats, stores, callback; - reads it from the standard input
    #[arg(long, value_name = "FILE")]
    job: Option<PathBuf>,
    /// Print the JSON Schema of such a job instead, for editors and other checks
    #[arg(long, conflicts_with_all = ["sub", "admin", "read", "ttl", "job"])]
    schema: bool,
}

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
    let Cli { config, command } = Cli::parse();
    let ended = match command.unwrap_or(Command::Serve(ServeArgs::default())) {
        Command::Client(command) => client(*command, config),
        Command::Completions(args) => cli::completions(args, Cli::command()).map(|()| Exit::Done).map_err(Into::into),
        Command::Man(args) => cli::man(args, Cli::command()).map(|()| Exit::Done).map_err(Into::into),
        Command::Keys(args) => keys(&args),
        Command::Migrate(args) => migrate(config.as_deref(), &args),
        Command::Serve(args) => serve(config.as_deref(), &args),
        Command::Token(args) => token(config.as_deref(), args),
        Command::WebhookSecret(args) => webhook_secret(config.as_deref(), &args),
    };
    let exit = ended.unwrap_or_else(|error| {
        eprintln!("pixerve: {}", ErrorChain(error.as_ref()));
        let is_about_settings = error.is::<ConfigErrors>() || error.is::<TelemetryError>();
        let otherwise = if is_about_settings { Exit::Usage } else { Exit::Failed };
        error.downcast_ref().map_or(otherwise, CliError::exit)
    });
    exit.into()
}

/// The settings of the server, warnings told.
fn settings(file: Option<&Path>) -> anyhow::Result<Config> {
    let (config, warnings) = Config::from_process(file)?;
    for warning in warnings {
        eprintln!("pixerve: {warning}");
    }
    Ok(config)
}

fn serve(config: Option<&Path>, args: &ServeArgs) -> anyhow::Result<Exit> {
    let (config, warnings) = Config::from_process(config)?;
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
        Ok(()) => Ok(Exit::Done),
        Err(error) => {
            // Where logs go, the reason for the end belongs too.
            tracing::error!(error = %ErrorChain(error.as_ref()), "server failed");
            let is_about_settings = error.downcast_ref().is_some_and(StartError::is_about_settings);
            Ok(if is_about_settings { Exit::Usage } else { Exit::Failed })
        }
    }
}

fn token(config: Option<&Path>, args: TokenArgs) -> anyhow::Result<Exit> {
    let config = settings(config)?;
    let TokenArgs { sub, admin, scope, read, ttl, job, schema } = args;
    if schema {
        print(&format!("{:#}", job_schema())).context("writing the schema to standard output")?;
        return Ok(Exit::Done);
    }
    let scope = if admin { Some(Scope::Admin) } else { scope };
    let token = cli::token(&config, TokenOptions { sub, scope, read, ttl, job })?;
    print(&token).context("writing the token to standard output")?;
    Ok(Exit::Done)
}

fn webhook_secret(config: Option<&Path>, args: &WebhookSecretArgs) -> anyhow::Result<Exit> {
    let config = settings(config)?;
    let secret = runtime()?.block_on(app::webhook_secret(&config, args.rotate))?;
    print(secret.expose_secret()).context("writing the secret to standard output")?;
    Ok(Exit::Done)
}

/// Prints the settings that take them, as a file of variables has them.
fn keys(args: &KeysArgs) -> anyhow::Result<Exit> {
    let NewKeys { signing_keys, sealing_keys } = app::keys(&args.dir)?;
    let (signing_keys, sealing_keys) = (signing_keys.display(), sealing_keys.display());
    let said = format!(
        "# Give every node both files, and keep a backup of them.\nPIXERVE_JWT_FILE={signing_keys}\nPIXERVE_VAULT_KEY_FILE={sealing_keys}"
    );
    print(&said).context("writing to standard output")?;
    Ok(Exit::Done)
}

/// Tells how far it is as a server tells what it does.
fn migrate(config: Option<&Path>, args: &MigrateArgs) -> anyhow::Result<Exit> {
    let config = settings(config)?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let _log = telemetry::init(&config.log)?;
    let options = MigrateOptions { to: args.to, dry_run: args.dry_run };
    match runtime()?.block_on(app::migrate(&config, options)) {
        Ok(migrated) => {
            print(&migrated.to_string()).context("writing to standard output")?;
            Ok(Exit::Done)
        }
        Err(error) => {
            tracing::error!(error = %ErrorChain(&error), "migration stopped");
            Ok(if error.is_about_settings() { Exit::Usage } else { Exit::Failed })
        }
    }
}

fn destination(text: &str) -> Result<Destination, String> {
    let all = [Destination::Nodes, Destination::Machine];
    all.into_iter().find(|to| to.as_str() == text).ok_or_else(|| "must be nodes or machine".to_owned())
}

fn client(command: ClientCommand, config: Option<PathBuf>) -> anyhow::Result<Exit> {
    let runtime = runtime()?;
    let ended = runtime.block_on(cli::run(command, config));
    // What is left, such as a read of standard input, is nobody's business any more.
    runtime.shutdown_background();
    Ok(ended?)
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

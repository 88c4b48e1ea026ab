//! What the commands that talk to a server find in the environment. It is no setting of a server, which passes it over.

use std::env;

use secrecy::SecretString;

use super::error::ConfigErrors;
use super::sources::Sources;

const SERVER: &str = "PIXERVE_SERVER";
const TOKEN: &str = "PIXERVE_TOKEN";
/// All of them.
pub(super) const VARIABLES: [&str; 2] = [SERVER, TOKEN];

/// Which server to talk to, and as whom, where the command line doesn't say.
#[derive(Clone, Debug, Default)]
pub struct ClientVariables {
    /// The server's address.
    pub server: Option<String>,
    /// The token to send.
    pub token: Option<SecretString>,
    /// The name of whoever runs the command.
    pub user: Option<String>,
}

impl ClientVariables {
    /// Those of this process: `.env`, over it the environment; an empty one is as good as none.
    ///
    /// # Errors
    /// If `.env` can't be read.
    pub fn from_process() -> Result<Self, ConfigErrors> {
        let (sources, unreadable) = Sources::gather(None);
        if !unreadable.is_empty() {
            return Err(ConfigErrors::new(unreadable));
        }
        let user = ["USER", "LOGNAME"].into_iter().find_map(|name| env::var_os(name)?.into_string().ok());
        Ok(Self { user: user.filter(|user| !user.is_empty()), ..Self::of(&sources) })
    }

    fn of(sources: &Sources) -> Self {
        let find = |name: &str| {
            let given = sources.dotenv.iter().chain(&sources.env).rev();
            let values = given.filter(|(given, _)| given == name).map(|(_, value)| value.trim());
            values.filter(|value| !value.is_empty()).map(str::to_owned).next()
        };
        Self { server: find(SERVER), token: find(TOKEN).map(SecretString::from), user: None }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::config::Config;

    #[test]
    fn the_environment_outweighs_dotenv_and_no_server_is_warned_of_either() {
        let set = |server: &str, token: &str| {
            vec![("PIXERVE_SERVER".to_owned(), server.to_owned()), ("PIXERVE_TOKEN".to_owned(), token.to_owned())]
        };
        let sources =
            || Sources { dotenv: set("http://a", "of .env"), env: set("http://b", " "), ..Sources::default() };
        let found = ClientVariables::of(&sources());
        assert_eq!(found.server.as_deref(), Some("http://b"));
        assert_eq!(found.token.expect("that of .env").expose_secret(), "of .env");
        let (_, warnings) = Config::load(sources()).expect("good settings");
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}

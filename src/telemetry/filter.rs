//! Which events are logged.

use tracing_subscriber::EnvFilter;

/// The names of the levels.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Why a filter can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// A directive is neither a level nor `module=level`.
    #[error("{0:?} is neither a level nor module=level")]
    Directive(String),
    /// A directive can't be understood.
    #[error("the log filter can't be understood: {0}")]
    Parse(#[from] tracing_subscriber::filter::ParseError),
}

/// Understands a filter: directives with commas between, each a level or `module=level`.
///
/// # Errors
/// If a directive is neither. A lone module name, which the library takes for "everything of that module and nothing
/// else", is refused: it is far more often a level with a slip in it.
pub fn parse_filter(text: &str) -> Result<EnvFilter, FilterError> {
    let directives: Vec<_> = text.split(',').map(str::trim).collect();
    for directive in &directives {
        let is_level = LEVELS.iter().any(|level| directive.eq_ignore_ascii_case(level));
        // Inside `target[span{field=value}]=level` a comma separates fields.
        let is_compound = directive.contains(['=', '[', ']', '{', '}']);
        if !is_level && !is_compound {
            return Err(FilterError::Directive((*directive).to_owned()));
        }
    }
    Ok(EnvFilter::try_new(directives.join(","))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_modules_are_understood() {
        for text in ["info", "INFO", "off", "info,pixerve::worker=debug", "warn, hyper=error", "[attempt]=trace"] {
            assert!(parse_filter(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_level_with_a_slip_is_refused() {
        for text in ["inof", "info,wran", "pixerve=loud", "", "info,"] {
            assert!(parse_filter(text).is_err(), "{text}");
        }
    }
}

//! An error with everything that caused it, on one line: for logs, records and answers alike.

use std::error::Error;
use std::fmt;

/// Prints an error and its sources, outermost first, separated by colons. A source whose text the line holds already is
/// left out: many libraries repeat theirs in their own message.
#[derive(Clone, Copy, Debug)]
pub struct ErrorChain<'a>(pub &'a dyn Error);

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.0.to_string();
        let mut source = self.0.source();
        while let Some(error) = source {
            let text = error.to_string();
            if !line.contains(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            source = error.source();
        }
        f.write_str(&line)
    }
}

/// The first error of the type `E` in the chain of causes of `error`, itself included.
pub fn beneath<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut found = error;
    loop {
        if let Some(error) = found.downcast_ref() {
            return Some(error);
        }
        found = found.source()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn chain(texts: &[&'static str]) -> String {
        let layers = texts.iter().rev().fold(None, |source, text| Some(Box::new(Layer { text, source })));
        ErrorChain(&*layers.expect("a layer")).to_string()
    }

    #[test]
    fn every_source_is_printed_once() {
        assert_eq!(chain(&["can't write"]), "can't write");
        assert_eq!(chain(&["can't write", "fsync", "no space left"]), "can't write: fsync: no space left");
        assert_eq!(chain(&["can't write: no space left", "no space left"]), "can't write: no space left");
    }
}

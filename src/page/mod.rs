//! The page of `GET /`, on which a person tries the server and watches its jobs: static files, compiled in. They need no build step, and load
//! nothing but what stands here.

/// One of its files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageFile {
    name: &'static str,
    /// As `Content-Type` says it.
    pub(crate) media_type: &'static str,
    pub(crate) content: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The document itself.
pub(crate) const INDEX: PageFile =
    PageFile { name: "index.html", media_type: "text/html; charset=utf-8", content: include_str!("index.html") };

/// What it loads, by relative addresses: a proxy may show the server under a path of its own.
const LOADED: [PageFile; 17] = [
    PageFile { name: "page.css", media_type: STYLE, content: include_str!("page.css") },
    PageFile { name: "try.js", media_type: SCRIPT, content: include_str!("try.js") },
    PageFile { name: "watch.js", media_type: SCRIPT, content: include_str!("watch.js") },
    PageFile { name: "token.js", media_type: SCRIPT, content: include_str!("token.js") },
    PageFile { name: "job.js", media_type: SCRIPT, content: include_str!("job.js") },
    PageFile { name: "transfer.js", media_type: SCRIPT, content: include_str!("transfer.js") },
    PageFile { name: "comparison.js", media_type: SCRIPT, content: include_str!("comparison.js") },
    PageFile { name: "variants.js", media_type: SCRIPT, content: include_str!("variants.js") },
    PageFile { name: "embed.js", media_type: SCRIPT, content: include_str!("embed.js") },
    PageFile { name: "thumbhash.js", media_type: SCRIPT, content: include_str!("thumbhash.js") },
    PageFile { name: "trouble.js", media_type: SCRIPT, content: include_str!("trouble.js") },
    PageFile { name: "jobs.js", media_type: SCRIPT, content: include_str!("jobs.js") },
    PageFile { name: "story.js", media_type: SCRIPT, content: include_str!("story.js") },
    PageFile { name: "erasure.js", media_type: SCRIPT, content: include_str!("erasure.js") },
    PageFile { name: "question.js", media_type: SCRIPT, content: include_str!("question.js") },
    PageFile { name: "dom.js", media_type: SCRIPT, content: include_str!("dom.js") },
    PageFile { name: "text.js", media_type: SCRIPT, content: include_str!("text.js") },
];

/// The loaded file of this name.
pub(crate) fn loaded(name: &str) -> Option<PageFile> {
    LOADED.into_iter().find(|file| file.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The addresses that a text asks for, as `src`, `href` or imports of modules.
    fn asked_for(text: &str) -> Vec<&str> {
        let mut found = Vec::new();
        for (before, end) in [("src=\"", '"'), ("href=\"", '"'), ("from './", '\'')] {
            found.extend(text.split(before).skip(1).filter_map(|rest| rest.split(end).next()));
        }
        found
    }

    #[test]
    fn the_page_loads_what_is_compiled_in_and_all_of_it() {
        let mut loaded_names = Vec::new();
        for file in [INDEX].into_iter().chain(LOADED) {
            for address in asked_for(file.content)
                .into_iter()
                .filter(|address| !address.starts_with("data:") && !address.starts_with('#'))
            {
                let name = address.strip_prefix("page/").unwrap_or(address);
                assert!(loaded(name).is_some(), "{} asks for {address}", file.name);
                loaded_names.push(name.to_owned());
            }
        }
        for file in LOADED {
            assert!(loaded_names.iter().any(|name| name == file.name), "nobody asks for {}", file.name);
        }
    }
}

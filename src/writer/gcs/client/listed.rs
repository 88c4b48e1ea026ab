//! What a bucket has, page by page, by the JSON API.

use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use http::Method;
use http::header::{DATE, HeaderMap};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::stored::is_missing;
use super::{Gcs, of_transport};
use crate::error_chain::ErrorChain;
use crate::writer::{Failure, FileList, FoundFile, FoundFiles};

const FIELDS: &str = "name,size,updated";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListAnswer {
    #[serde(default)]
    items: Vec<ListedObject>,
    next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ListedObject {
    name: String,
    /// A number in quotes.
    #[serde(default)]
    size: String,
    /// When its bytes or what is known of it were written last.
    updated: String,
}

impl Gcs {
    /// Every object below the prefix.
    pub(super) fn listed(&self) -> FileList {
        let pages = stream::try_unfold((self.clone(), Some(None)), |(this, from)| async move {
            let Some(token) = from else { return Ok(None) };
            let prefix = this.prefix.join("");
            let page = this.page(&prefix, token).await;
            let (page, next) = page.map_err(|failure| failure.on(this.what("list what is below", &prefix)))?;
            Ok(Some((page, (this, next.map(Some)))))
        });
        pages.boxed()
    }

    async fn page(&self, prefix: &str, token: Option<String>) -> Result<(FoundFiles, Option<String>), Failure> {
        let mut url = self.url(&["storage", "v1", "b", &self.bucket, "o"]);
        url.query_pairs_mut()
            .append_pair("prefix", prefix)
            .append_pair("fields", &format!("items({FIELDS}),nextPageToken"))
            .extend_pairs(token.map(|token| ("pageToken", token)));
        let (answer, date) = self.asked::<ListAnswer>(url).await?;
        let (base, mut found) = (format!("gs://{}/{prefix}", self.bucket), FoundFiles::default());
        for object in answer.items {
            let Some(path) = self.prefix.strip(&object.name) else { continue };
            found.add(&base, path, object.bytes(), object.age(date)?);
        }
        Ok((found, answer.next_page_token.filter(|token| !token.is_empty())))
    }

    pub(super) async fn look_at(&self, key: &str, location: &str) -> Result<Option<FoundFile>, Failure> {
        let mut url = self.url(&["storage", "v1", "b", &self.bucket, "o", key]);
        url.query_pairs_mut().append_pair("fields", FIELDS);
        match self.asked::<ListedObject>(url).await {
            Ok((object, date)) => {
                let age = object.age(date)?;
                Ok(Some(FoundFile { location: location.to_owned(), bytes: object.bytes(), age }))
            }
            Err(failure) if is_missing(&failure) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// An answer, and when it was made by the store's clock.
    async fn asked<T: DeserializeOwned>(&self, url: url::Url) -> Result<(T, SystemTime), Failure> {
        let answer = self.ask(Method::GET, url).await?;
        // By our own clock a young object might be old.
        let date = date_of(answer.headers()).ok_or_else(|| Failure::transient("an answer without `Date`"))?;
        let bytes = self.within(0, async { answer.bytes().await.map_err(of_transport) }).await?;
        let unreadable = |error| Failure::transient(format!("an unreadable answer: {}", ErrorChain(&error)));
        Ok((serde_json::from_slice(&bytes).map_err(unreadable)?, date))
    }
}

impl ListedObject {
    fn bytes(&self) -> u64 {
        self.size.parse().unwrap_or(0)
    }

    /// How long before an answer of `date` it was written.
    fn age(&self, date: SystemTime) -> Result<Duration, Failure> {
        let updated = humantime::parse_rfc3339_weak(self.updated.trim_end_matches("+00:00"));
        let updated = updated.map_err(|_| Failure::transient(format!("an unreadable time {:?}", self.updated)))?;
        Ok(date.duration_since(updated).unwrap_or_default())
    }
}

fn date_of(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}
